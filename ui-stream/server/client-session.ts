// One client: its subscription, where it is in history, what waits for it, and its socket. Whatever a client does or
// leaves undone touches nobody else. Publishes and encodes nothing.

import type { RawData, WebSocket } from 'ws'
import { describeError, VethflowError } from '../../agent/errors.js'
import type { LostMessage } from '../protocol/messages.js'
import { CloseCode, ErrorCode, Subprotocol } from '../protocol/names.js'
import { follows, type Subscription, wantsHistory } from '../protocol/subscription.js'
import type { Chunk } from './chunk.js'
import { readClientMessage } from './client-message.js'
import { ClientQueue, endWithin } from './client-queue.js'
import type { EncodedBatch } from './encoded-batch.js'
import type { Expression } from './filter/expression.js'
import type { FlowFilter } from './filter.js'
import { type FrameWriter, framesOf, sequenceOf } from './frames.js'
import type { Segment } from './history.js'
import { MessageRate } from './message-rate.js'
import { Replay } from './replay.js'
import { resumePoint } from './resume-point.js'
import type { SessionContext } from './session-context.js'
import { UntilTimer } from './until-timer.js'

/** More than this in the socket's own buffer: wait. */
const SOCKET_BYTES = 256 * 1024
/** Flows of one frame, about; far below what a client has to accept. */
const FRAME_BYTES = 256 * 1024
/** Written in one go before others get their turn. */
const TURN_BYTES = 1024 * 1024
/** One slice of a replay: records looked at, and records sent, by how long it takes to write one. */
const SCAN = 16_384
const SLICE = { scan: SCAN, records: 1024 } as const
const SLOW_SLICE = { scan: SCAN, records: 128 } as const
/** The same for records that an expression is asked about. */
const EVALUATED_BYTES = 32 * 1024
const STATUS_INTERVAL_MS = 10_000

type Mode = 'waiting' | 'replay' | 'live' | 'ended'

export class ClientSession {
  readonly #context: SessionContext
  readonly #socket: WebSocket
  readonly #queue: ClientQueue
  readonly #frames: FrameWriter
  readonly #json: boolean
  readonly #rate = new MessageRate()
  #mode: Mode = 'waiting'
  #filter: FlowFilter | undefined
  #labels = false
  #follow = false
  #replay: Replay | undefined
  #statusTimer: NodeJS.Timeout | undefined
  readonly #until = new UntilTimer(() => this.#endHere())
  #closing: number | undefined
  /** Answered the last ping; kept by the server's heartbeat. */
  alive = true

  /** The session ends with its socket; whoever made the socket calls `ended` then. */
  constructor(socket: WebSocket, subprotocol: Subprotocol, context: SessionContext) {
    this.#socket = socket
    this.#context = context
    this.#json = subprotocol === Subprotocol.JSON
    this.#frames = framesOf(subprotocol, context.agentId)
    this.#queue = new ClientQueue(context.limits, context.nodeName, context.budget)
    socket.on('message', (data, binary) => this.#message(data, binary))
    socket.on('ping', () => this.#pinged())
    socket.on('pong', () => {
      this.alive = true
    })
  }

  /** Bytes that wait here. */
  get queuedBytes(): number {
    return this.#queue.bytes
  }

  /** Starts with what the query asked for; a query that cannot be served ends the connection. */
  start(query: () => Subscription, wait: boolean): void {
    try {
      const subscription = query()
      if (!wait) this.#subscribe(subscription)
      else this.#context.filters.give(this.#context.filters.take(subscription))
    } catch (error) {
      this.refuse(error, CloseCode.POLICY)
    }
  }

  /** Takes what passes of what was just published. */
  publish(segment: Segment): void {
    if (this.#mode !== 'live' || this.#closing !== undefined) return
    const batch = this.#filter?.pick(segment, this.#labels)
    if (batch === undefined) return
    if (!this.#queue.overflows(batch) || !this.#fallBack(batch)) {
      const before = this.#queue.dropped
      this.#queue.push(batch)
      this.#context.metrics.dropped.inc(this.#queue.dropped - before)
    }
    this.#pump()
  }

  /** Makes room for others: what waits is read from history later, or the older half of it goes. */
  shed(): void {
    if (this.#fallBack(undefined)) {
      this.#pump()
      return
    }
    const before = this.#queue.dropped
    this.#queue.shed()
    this.#context.metrics.dropped.inc(this.#queue.dropped - before)
  }

  /**
   * A client that lags, or a burst larger than the queue: reads on from history instead, as long as that goes back far
   * enough. Nothing is lost then before history drops it, which is counted as exactly (`evicted`).
   */
  #fallBack(batch: EncodedBatch | undefined): boolean {
    const oldest = this.#queue.oldest ?? (batch === undefined ? undefined : { batch, start: 0 })
    if (oldest === undefined || this.#filter === undefined || this.#mode !== 'live') return false
    const { history } = this.#context
    const from = sequenceOf(oldest.batch, oldest.start)
    if (from < history.firstSequence) return false
    this.#queue.forget()
    this.#replayFrom({ from, to: Number.POSITIVE_INFINITY })
    return true
  }

  #replayFrom(range: { from: number; to: number; last?: number | undefined }): void {
    this.#mode = 'replay'
    this.#replay = new Replay(this.#context.history, this.#filter!, { ...range, labels: this.#labels })
  }

  /** Passes on what was lost elsewhere. */
  lost(losses: readonly LostMessage[]): void {
    if (this.#mode === 'waiting' || this.#mode === 'ended') return
    for (const loss of losses) this.#queue.addLoss(loss)
    this.#pump()
  }

  /** History is about to drop a chunk: what this client had still to read of it is lost to it. */
  evicted(chunk: Chunk): void {
    const unread = this.#mode === 'replay' ? this.#replay?.evicted(chunk) : undefined
    if (unread === undefined) return
    this.#queue.addDropped(unread.count, unread.sinceUs, unread.untilUs)
    this.#context.metrics.dropped.inc(unread.count)
  }

  /** Sends an error frame and closes. */
  refuse(error: unknown, code: number): void {
    this.#sendError(error)
    this.#closing = code
    this.#socket.close(code)
  }

  /** Sends what waits, then closes; whoever calls it bounds the time. */
  close(code: number): void {
    this.#closing = code
    this.#pump()
  }

  ping(): void {
    this.alive = false
    this.#socket.ping()
  }

  terminate(): void {
    this.#socket.terminate()
  }

  /** The socket is gone: stops timers, gives back what is shared. */
  ended(): void {
    this.#context.demand?.delete(this)
    this.#mode = 'ended'
    clearInterval(this.#statusTimer)
    this.#until.set(undefined)
    this.#context.turns.remove(this)
    this.#queue.forget()
    if (this.#filter !== undefined) this.#context.filters.give(this.#filter)
    this.#filter = undefined
    this.#replay = undefined
  }

  #subscribe(subscription: Subscription): void {
    const { history, filters } = this.#context
    const filter = filters.take(subscription)
    if (this.#filter !== undefined) filters.give(this.#filter)
    this.#context.demand?.set(this, subscription)
    this.#filter = filter
    // What still waits was chosen by what was asked before; behind a cursor it is read again as it is wanted now.
    const before = this.#queue.dropped
    const resumed = resumePoint(subscription.cursor, this.#context)
    if (resumed.whole) this.#queue.forget()
    else this.#queue.abandon()
    this.#context.metrics.dropped.inc(this.#queue.dropped - before)
    this.#labels = subscription.labels ?? false
    this.#follow = follows(subscription)
    this.#replay = undefined
    this.#mode = 'live'
    if (resumed.missing !== undefined) {
      this.#queue.addLoss(resumed.missing)
      this.#queue.dropped += resumed.missing.count ?? 0
    }
    if (subscription.history) {
      const { beginsUs, records } = history
      const { startedUs } = this.#context
      for (const frame of this.#frames.history({
        beginsUs: beginsUs ?? 0,
        records,
        startedUs,
        resumed: resumed.whole,
      }))
        this.#socket.send(frame)
    }
    if (wantsHistory(subscription)) {
      const { sinceUs, last } = subscription
      const since = sinceUs === undefined ? 0 : history.startOfSince(sinceUs)
      const from = Math.max(history.firstSequence, resumed.from, since)
      const to = this.#follow ? Number.POSITIVE_INFINITY : history.nextSequence
      this.#replayFrom({ from, to, last: last === 0 ? undefined : last })
      if (last === 0) this.#replayFrom({ from: history.nextSequence, to })
    }
    this.#until.set(this.#follow ? subscription.untilUs : undefined)
    clearInterval(this.#statusTimer)
    if (subscription.status) {
      this.#statusTimer = setInterval(() => this.#sendStatus(), STATUS_INTERVAL_MS).unref()
      this.#sendStatus()
    }
    this.#pump()
  }

  /** The time up to which a stream that follows was wanted has passed. */
  #endHere(): void {
    this.#replay?.endHere()
    if (this.#mode === 'live') this.#mode = 'ended'
    this.#follow = false
    this.#pump()
  }

  #message(data: RawData, binary: boolean): void {
    if (this.#closing !== undefined) return
    try {
      this.#rate.count(Date.now())
      this.#subscribe(readClientMessage(data, binary, this.#json, Date.now()))
    } catch (error) {
      if (error instanceof VethflowError && error.code !== ErrorCode.BAD_MESSAGE) this.#sendError(error)
      else this.refuse(error, CloseCode.PROTOCOL_ERROR)
    }
  }

  /** ws answers pings by itself: whoever sends them without end and reads nothing fills the socket's buffer. */
  #pinged(): void {
    if (this.#socket.bufferedAmount > 2 * (SOCKET_BYTES + TURN_BYTES)) this.terminate()
  }

  #sendError(error: unknown): void {
    const known = error instanceof VethflowError
    const message = known ? [error.message, error.hint].filter(Boolean).join('. ') : describeError(error)
    this.#socket.send(this.#frames.error(known ? error.code : ErrorCode.BAD_MESSAGE, message))
    // Somebody who sends nonsense and reads none of the answers.
    if (this.#socket.bufferedAmount > 2 * (SOCKET_BYTES + TURN_BYTES)) this.terminate()
  }

  #sendStatus(): void {
    if (this.#socket.bufferedAmount > SOCKET_BYTES) return
    const { history, status } = this.#context
    const current = this.#mode === 'live' && this.#queue.empty
    const sequence = current ? history.nextSequence - 1 : undefined
    for (const frame of this.#frames.status(status(), sequence)) this.#socket.send(frame)
  }

  /** One slice of what takes its time; called by `Turns`. */
  turn(): void {
    if (this.#socket.bufferedAmount <= SOCKET_BYTES) {
      const { expression } = this.#filter ?? {}
      if (expression !== undefined && this.#queue.oldest !== undefined) this.#evaluate(expression)
      else if (this.#replay !== undefined && this.#queue.empty) {
        const slow = this.#json || expression !== undefined
        const batch = this.#replay.step(slow ? SLOW_SLICE : SLICE)
        if (batch !== undefined) this.#send(batch, 0, batch.count)
      }
    }
    this.#pump()
  }

  /** Sends what an expression lets through of the oldest that waits. */
  #evaluate(expression: Expression): void {
    const { batch, start, end } = this.#queue.shift(EVALUATED_BYTES)!
    const picked = expression.pick(batch, start, end)
    if (picked !== undefined) this.#send(picked, 0, picked.count)
  }

  /** Sends what there is while the socket takes it; goes on when it has drained. */
  #pump(): void {
    let sent = 0
    while (this.#socket.readyState === this.#socket.OPEN && this.#socket.bufferedAmount <= SOCKET_BYTES) {
      if (!this.#queue.empty) {
        const expressed = this.#filter?.expression !== undefined && this.#queue.oldest !== undefined
        if (sent >= TURN_BYTES || expressed) break
        const records = this.#queue.shift(FRAME_BYTES)
        sent += this.#send(records?.batch, records?.start ?? 0, records?.end ?? 0)
      } else if (this.#closing !== undefined) this.#socket.close(this.#closing)
      else if (this.#mode === 'ended') this.#socket.close(CloseCode.DONE)
      else if (this.#replay === undefined) return
      else if (this.#replay.done) {
        this.#replay = undefined
        this.#mode = this.#follow ? 'live' : 'ended'
      } else break
    }
    const writable =
      this.#socket.readyState === this.#socket.OPEN && this.#socket.bufferedAmount <= SOCKET_BYTES
    if (writable) this.#context.turns.add(this)
  }

  /** Writes records, and before them the losses that wait to be told. Returns bytes. */
  #send(batch: EncodedBatch | undefined, start: number, end: number): number {
    let bytes = 0
    let at = start
    do {
      const cut = batch === undefined ? 0 : endWithin(batch, at, end, FRAME_BYTES)
      const records = batch === undefined ? undefined : { batch, start: at, end: cut }
      const frames = this.#frames.flows(records, this.#queue.takeLosses())
      for (const [i, frame] of frames.entries()) {
        bytes += frame.length
        if (i < frames.length - 1) this.#socket.send(frame)
        else this.#socket.send(frame, this.#drained)
      }
      at = cut
    } while (at < end)
    this.#context.metrics.sent.inc(end - start)
    return bytes
  }

  readonly #drained = (): void => {
    this.#pump()
  }
}
