// What a feed gives to whoever reads it. Values only; runs in browsers.

import type {
  ErrorMessage,
  FlowMessage,
  HistoryMessage,
  LostMessage,
  StatusMessage,
} from '../protocol/messages.js'

/** Flows of one frame, in the order of the stream. `cursor` stands behind the last of them; '' when there is none. */
export interface FlowsReceived {
  readonly type: 'flows'
  readonly flows: readonly FlowMessage[]
  readonly cursor: string
}
/** Something was lost, on the way to the server or on the way from it to here. */
export interface LostReceived {
  readonly type: 'lost'
  readonly lost: LostMessage
}
export interface StatusReceived {
  readonly type: 'status'
  readonly status: StatusMessage
  /** Everything before it has come; '' when the server does not say so. */
  readonly cursor: string
}
/** Where the server's history begins; comes once for each connection, if asked for. */
export interface HistoryReceived {
  readonly type: 'history'
  readonly history: HistoryMessage
}
/** The server has something to complain of; the connection may go on. */
export interface ErrorReceived {
  readonly type: 'error'
  readonly error: ErrorMessage
}
/** A connection stands. `resumed` when it goes on behind the last flow of the one before. */
export interface Connected {
  readonly type: 'connected'
  readonly server: string
  readonly resumed: boolean
}
/** The connection broke, or could not be made; there will be another try. */
export interface Disconnected {
  readonly type: 'disconnected'
  readonly server: string
  /** One sentence without a trailing period. */
  readonly reason: string
  /** Until the next try, ms. */
  readonly retryInMs: number
}
/** Between two connections flows were missed, nobody can say how many. */
export interface Gap {
  readonly type: 'gap'
  readonly reason: string
  /**
   * Microseconds since the epoch: when the last flow before the gap was made or the old connection ended (0: not known),
   * and when the server's new run began or the new connection stood.
   */
  readonly sinceUs: number
  readonly untilUs: number
}

export type FeedMessage =
  | FlowsReceived
  | LostReceived
  | StatusReceived
  | HistoryReceived
  | ErrorReceived
  | Connected
  | Disconnected
  | Gap
