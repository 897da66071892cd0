// All clients of a server: who is let in, who is alive, what goes to everybody, and how they are seen off. Knows sockets,
// not requests.

import type { WebSocket } from 'ws'
import { VethflowError } from '../../agent/errors.js'
import type { LostMessage } from '../protocol/messages.js'
import { CloseCode, ErrorCode, PING_INTERVAL_MS, type Subprotocol } from '../protocol/names.js'
import { parseQuery } from '../protocol/subscription.js'
import type { Grant } from './auth/grant.js'
import type { Chunk } from './chunk.js'
import { ClientSession } from './client-session.js'
import type { Segment } from './history.js'
import type { StreamMetrics } from './metrics.js'
import type { StreamLog } from './server.js'
import type { SessionContext } from './session-context.js'

const CLIENTS = 128
/** Somebody whose access is revoked is cut off within this time and what asking takes. */
const REVIEW_MS = 10_000
/** How long closing waits for clients to take what is theirs, and then for their close frames. */
const FLUSH_MS = 2000
const CLOSE_MS = 1000

export interface SessionsOptions {
  readonly log: StreamLog
  /** 128 unless given. */
  readonly maxClients?: number
  /** 30 s unless given. */
  readonly pingIntervalMs?: number
  /** 10 s unless given. */
  readonly reviewIntervalMs?: number
}

/** The sessions of one server, which closes them. */
export class Sessions {
  /** Most clients at a time. */
  readonly most: number
  readonly #sessions = new Map<ClientSession, Grant>()
  readonly #context: SessionContext
  readonly #metrics: StreamMetrics
  readonly #log: StreamLog
  readonly #heartbeat: NodeJS.Timeout
  readonly #reviews: NodeJS.Timeout
  #onEmpty: (() => void) | undefined

  constructor(options: SessionsOptions, metrics: StreamMetrics, context: SessionContext) {
    this.most = options.maxClients ?? CLIENTS
    this.#context = context
    this.#metrics = metrics
    this.#log = options.log
    this.#heartbeat = setInterval(() => this.#ping(), options.pingIntervalMs ?? PING_INTERVAL_MS).unref()
    this.#reviews = setInterval(() => this.review(), options.reviewIntervalMs ?? REVIEW_MS).unref()
  }

  /** How many clients are connected. */
  get size(): number {
    return this.#sessions.size
  }

  /** Makes a session of an open socket, or says why not and closes it. */
  admit(socket: WebSocket, subprotocol: Subprotocol, query: URLSearchParams, grant: Grant): void {
    const session = new ClientSession(socket, subprotocol, this.#context)
    socket.on('error', (error) => this.#log.debug({ err: error }, 'stream client'))
    if (this.#sessions.size >= this.most) {
      this.#metrics.rejected.inc({ reason: 'clients' })
      const message = `There are ${this.most} clients already; try again later`
      session.refuse(new VethflowError(ErrorCode.TOO_MANY_CLIENTS, message), CloseCode.TRY_LATER)
      return
    }
    this.#sessions.set(session, grant)
    socket.on('close', () => {
      session.ended()
      this.#sessions.delete(session)
      if (this.#sessions.size === 0) this.#onEmpty?.()
    })
    const wait = ['true', '', '1'].includes(query.get('wait') ?? 'false')
    session.start(() => parseQuery(query, Date.now()), wait)
  }

  /** Ends the streams of those who may see less than when they came. */
  review(): void {
    for (const [session, grant] of this.#sessions) {
      void grant.holds().then((holds) => {
        if (holds || !this.#sessions.has(session)) return
        this.#log.info({ subject: grant.subject }, 'access revoked')
        const message = 'What you may see has changed; connect again for what is left'
        session.refuse(new VethflowError(ErrorCode.ACCESS_REVOKED, message), CloseCode.POLICY)
      })
    }
  }

  /** Hands what was just published to everybody. One client's trouble is not the others'. */
  publish(segment: Segment): void {
    for (const session of this.#sessions.keys()) {
      try {
        session.publish(segment)
      } catch (error) {
        this.#log.warn({ err: error }, 'stream client dropped')
        session.terminate()
      }
    }
    while (this.#context.budget.exceeded) this.#largest()?.shed()
  }

  /** The session for which most waits. */
  #largest(): ClientSession | undefined {
    let largest: ClientSession | undefined
    for (const session of this.#sessions.keys()) {
      if (largest === undefined || session.queuedBytes > largest.queuedBytes) largest = session
    }
    return largest
  }

  /** Tells everybody what was lost elsewhere. */
  lost(losses: readonly LostMessage[]): void {
    for (const session of this.#sessions.keys()) session.lost(losses)
  }

  /** History is about to drop a chunk. */
  evicted(chunk: Chunk): void {
    for (const session of this.#sessions.keys()) session.evicted(chunk)
  }

  /** Ends the timers; sessions stay. */
  stop(): void {
    clearInterval(this.#heartbeat)
    clearInterval(this.#reviews)
  }

  /** Sends clients what waits for them and closes them (1001); those that do not follow in time are cut off. */
  async close(): Promise<void> {
    this.stop()
    for (const session of this.#sessions.keys()) session.close(CloseCode.GOING_AWAY)
    await this.#empty(FLUSH_MS)
    for (const session of this.#sessions.keys()) session.terminate()
    await this.#empty(CLOSE_MS)
  }

  #ping(): void {
    for (const session of this.#sessions.keys()) {
      if (session.alive) session.ping()
      else session.terminate()
    }
  }

  /** Resolves when the last session has ended or the time is over. */
  #empty(ms: number): Promise<void> {
    if (this.#sessions.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#onEmpty = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
