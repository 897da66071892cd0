// One client: its subscription, where it is in history, what waits for it, and its socket. Whatever a client does or
// leaves undone touches nobody else. Publishes and encodes nothing.

import type { RawData, WebSocket } from 'ws'
import { describeError, VethflowError } from '../../agent/errors.js'
import { parseCursor } from '../protocol/cursor.js'
import type { LostMessage, StatusMessage } from '../protocol/messages.js'
import { CloseCode, ErrorCode, Subprotocol } from '../protocol/names.js'
import { follows, type Subscription, wantsHistory } from '../protocol/subscription.js'
import type { Chunk } from './chunk.js'
import { readClientMessage } from './client-message.js'
import { ClientQueue, endWithin, type QueuedRecords, type QueueLimits } from './client-queue.js'
import { type EncodedBatch, pickRecords } from './encoded-batch.js'
import { FlowFilter } from './filter.js'
import type { FlowRows } from './flow-rows.js'
import { type Frame, type FrameWriter, jsonFrames, protobufFrames, sequenceOf } from './frames.js'
import type { History } from './history.js'
import type { StreamMetrics } from './metrics.js'

/** What sessions share. */
export interface SessionContext {
  readonly agentId: string
  readonly nodeName: string
  readonly history: History
  readonly metrics: StreamMetrics
  readonly limits: QueueLimits
  readonly status: () => readonly StatusMessage[]
}

/** More than this in the socket's own buffer: wait. */
const SOCKET_BYTES = 1024 * 1024
/** Flows of one frame, about; far below what a client has to accept. */
const FRAME_BYTES = 512 * 1024
/** Written in one turn of the event loop before others get theirs. */
const TURN_BYTES = 1024 * 1024
const HISTORY_READ = { scan: 16_384, records: 1024 } as const
const STATUS_INTERVAL_MS = 10_000
/** Subscribe messages that a client may send within a window: each may go through all of history. */
const MAX_SUBSCRIBES = 50
const SUBSCRIBE_WINDOW_MS = 10_000
const LONGEST_TIMER_MS = 2 ** 31 - 1

type Mode = 'waiting' | 'history' | 'live' | 'ended'

export class ClientSession {
  readonly #context: SessionContext
  readonly #socket: WebSocket
  readonly #queue: ClientQueue
  readonly #frames: FrameWriter
  readonly #json: boolean
  #mode: Mode = 'waiting'
  #filter = FlowFilter.compile({ filters: [] })
  #labels = false
  /** Next sequence to read from history, the first that is not wanted, and what comes after. */
  #position = 0
  #end = 0
  #follow = false
  /** What waits was chosen by a filter that has been replaced since. */
  #mixed = false
  #statusTimer: NodeJS.Timeout | undefined
  #untilTimer: NodeJS.Timeout | undefined
  #scheduled: NodeJS.Immediate | undefined
  #closing: number | undefined
  #subscribes = 0
  #windowStart = 0
  /** Answered the last ping; kept by the server's heartbeat. */
  alive = true

  /** The session ends with its socket; whoever made the socket calls `ended` then. */
  constructor(socket: WebSocket, subprotocol: Subprotocol, context: SessionContext) {
    this.#socket = socket
    this.#context = context
    this.#json = subprotocol === Subprotocol.JSON
    this.#frames = this.#json ? jsonFrames(context.agentId) : protobufFrames(context.agentId)
    this.#queue = new ClientQueue(context.limits, context.nodeName)
    socket.on('message', (data, binary) => this.#message(data, binary))
    socket.on('pong', () => {
      this.alive = true
    })
  }

  /** Starts with what the query asked for; a query that cannot be served ends the connection. */
  start(query: () => Subscription, wait: boolean): void {
    try {
      const subscription = query()
      if (!wait) this.#subscribe(subscription)
      else FlowFilter.compile(subscription)
    } catch (error) {
      this.refuse(error, CloseCode.POLICY)
    }
  }

  /** Takes what passes of a fresh batch. */
  publish(batch: EncodedBatch, rows: FlowRows, firstSequence: number): void {
    if (this.#mode !== 'live' || this.#closing !== undefined) return
    const selected = this.#filter.select(rows)
    if (selected === 'all' && !this.#labels) this.#push(batch)
    else if (selected === 'all' || selected.length > 0) {
      const which = selected === 'all' ? Uint32Array.from({ length: rows.count }, (_, row) => row) : selected
      const { bytes, offsets, timeUs } = batch
      const { source, destination } = rows
      this.#push(
        pickRecords({ bytes, offsets, timeUs, firstSequence, source, destination }, which, this.#labels),
      )
    }
  }

  #push(batch: EncodedBatch): void {
    if (this.#queue.overflows(batch) && this.#fallBack(batch)) {
      this.#pump()
      return
    }
    const before = this.#queue.dropped
    this.#queue.push(batch)
    this.#context.metrics.dropped.inc(this.#queue.dropped - before)
    this.#pump()
  }

  /**
   * A client that lags, or a burst larger than the queue: reads on from history instead, as long as that goes back far
   * enough. Nothing is lost then before history drops it, which is counted as exactly (`evicted`).
   */
  #fallBack(batch: EncodedBatch): boolean {
    const oldest = this.#queue.oldest ?? { batch, start: 0 }
    const sequence = sequenceOf(oldest.batch, oldest.start)
    if (this.#mixed || sequence < this.#context.history.firstSequence) return false
    this.#queue.forget()
    this.#mode = 'history'
    this.#position = sequence
    this.#end = Number.POSITIVE_INFINITY
    return true
  }

  /** Passes on what was lost elsewhere. */
  lost(losses: readonly LostMessage[]): void {
    if (this.#mode === 'waiting' || this.#mode === 'ended') return
    for (const loss of losses) this.#queue.addLoss(loss)
    this.#pump()
  }

  /** History is about to drop a chunk: what this client had still to read of it is lost to it. */
  evicted(chunk: Chunk): void {
    const end = Math.min(chunk.firstSequence + chunk.count, this.#end)
    if (this.#mode !== 'history' || end <= this.#position) return
    let count = 0
    let since = Number.POSITIVE_INFINITY
    let until = 0
    for (let row = this.#position - chunk.firstSequence; row < end - chunk.firstSequence; row++) {
      if (row < 0 || !this.#filter.passes(chunk, row)) continue
      count++
      since = Math.min(since, chunk.timeUs[row]!)
      until = Math.max(until, chunk.timeUs[row]!)
    }
    this.#position = end
    if (count === 0) return
    this.#queue.addDropped(count, since, until)
    this.#context.metrics.dropped.inc(count)
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

  /** The socket is gone: stops timers. */
  ended(): void {
    this.#mode = 'ended'
    clearInterval(this.#statusTimer)
    clearTimeout(this.#untilTimer)
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled)
    this.#scheduled = undefined
  }

  #subscribe(subscription: Subscription): void {
    const filter = FlowFilter.compile(subscription)
    const { history, agentId } = this.#context
    this.#filter = filter
    this.#mixed = this.#queue.oldest !== undefined
    this.#labels = subscription.labels ?? false
    this.#follow = follows(subscription)
    this.#mode = 'live'
    if (wantsHistory(subscription)) {
      this.#mode = 'history'
      this.#end = this.#follow ? Number.POSITIVE_INFINITY : history.nextSequence
      let from = history.firstSequence
      const { last, sinceUs, cursor } = subscription
      const resume = cursor === undefined ? undefined : parseCursor(cursor)
      if (resume !== undefined && resume.agentId === agentId) {
        const wanted = resume.sequence + 1
        const now = Date.now() * 1000
        if (wanted < from) this.#queue.addDropped(from - wanted, now, now)
        from = Math.max(from, wanted)
      }
      if (sinceUs !== undefined) from = Math.max(from, history.startOfSince(sinceUs))
      if (last !== undefined) from = Math.max(from, history.startOfLast(last, filter))
      this.#position = from
    }
    this.#watchUntil(subscription.untilUs)
    clearInterval(this.#statusTimer)
    if (subscription.status) {
      this.#statusTimer = setInterval(() => this.#sendStatus(), STATUS_INTERVAL_MS).unref()
      this.#sendStatus()
    }
    this.#pump()
  }

  /** Ends a stream that follows when the time up to which it was wanted has passed. */
  #watchUntil(untilUs: number | undefined): void {
    clearTimeout(this.#untilTimer)
    if (untilUs === undefined || !this.#follow) return
    const left = Math.max(0, untilUs / 1000 - Date.now())
    this.#untilTimer = setTimeout(
      () => {
        if (left > LONGEST_TIMER_MS) this.#watchUntil(untilUs)
        else {
          this.#end = Math.min(this.#end, this.#context.history.nextSequence)
          if (this.#mode === 'live') this.#mode = 'ended'
          this.#follow = false
          this.#pump()
        }
      },
      Math.min(left + 1, LONGEST_TIMER_MS),
    ).unref()
  }

  #message(data: RawData, binary: boolean): void {
    if (this.#closing !== undefined) return
    const now = Date.now()
    if (now - this.#windowStart > SUBSCRIBE_WINDOW_MS) {
      this.#windowStart = now
      this.#subscribes = 0
    }
    try {
      if (++this.#subscribes > MAX_SUBSCRIBES) {
        throw new VethflowError(
          ErrorCode.BAD_MESSAGE,
          `More than ${MAX_SUBSCRIBES} messages within ${SUBSCRIBE_WINDOW_MS / 1000} seconds`,
        )
      }
      this.#subscribe(readClientMessage(data, binary, this.#json, now))
    } catch (error) {
      if (error instanceof VethflowError && error.code !== ErrorCode.BAD_MESSAGE) this.#sendError(error)
      else this.refuse(error, CloseCode.PROTOCOL_ERROR)
    }
  }

  #sendError(error: unknown): void {
    const known = error instanceof VethflowError
    const message = known ? [error.message, error.hint].filter(Boolean).join('. ') : describeError(error)
    this.#socket.send(this.#frames.error(known ? error.code : ErrorCode.BAD_MESSAGE, message))
    // Somebody who sends nonsense and reads none of the answers.
    if (this.#socket.bufferedAmount > 2 * SOCKET_BYTES) this.terminate()
  }

  #sendStatus(): void {
    if (this.#socket.bufferedAmount > SOCKET_BYTES) return
    for (const frame of this.#frames.status(this.#context.status())) this.#socket.send(frame)
  }

  readonly #resume = (): void => {
    this.#scheduled = undefined
    this.#pump()
  }

  /** Sends what there is while the socket takes it; goes on when it has drained. */
  #pump(): void {
    if (this.#scheduled !== undefined || this.#socket.readyState !== this.#socket.OPEN) return
    let turn = 0
    while (this.#socket.bufferedAmount <= SOCKET_BYTES) {
      if (turn >= TURN_BYTES) {
        this.#scheduled = setImmediate(this.#resume)
        return
      }
      if (this.#queue.oldest === undefined) this.#mixed = false
      if (!this.#queue.empty) turn += this.#sendRecords(this.#queue.shift(FRAME_BYTES))
      else if (this.#closing !== undefined) {
        this.#socket.close(this.#closing)
        return
      } else if (this.#mode === 'history') turn += this.#readHistory()
      else if (this.#mode === 'ended') {
        this.#socket.close(CloseCode.DONE)
        return
      } else return
    }
  }

  /** Returns how much of the turn it took. */
  #readHistory(): number {
    const { history } = this.#context
    const end = Math.min(this.#end, history.nextSequence)
    if (this.#position >= end) {
      this.#mode = this.#follow ? 'live' : 'ended'
      return 0
    }
    const { batch, next } = history.read(this.#position, end, this.#filter, this.#labels, HISTORY_READ)
    this.#position = next
    // Looking through rows takes its time as well: about as much as writing 16 bytes for each.
    if (batch === undefined) return HISTORY_READ.scan * 16
    let bytes = 0
    for (let start = 0; start < batch.count; ) {
      const end = endWithin(batch, start, batch.count, FRAME_BYTES)
      bytes += this.#sendRecords({ batch, start, end })
      start = end
    }
    return bytes
  }

  #sendRecords(records: QueuedRecords | undefined): number {
    const frames: Frame[] = this.#frames.flows(records, this.#queue.takeLosses())
    let bytes = 0
    for (const [i, frame] of frames.entries()) {
      bytes += frame.length
      if (i < frames.length - 1) this.#socket.send(frame)
      else this.#socket.send(frame, this.#sent)
    }
    if (records !== undefined) this.#context.metrics.sent.inc(records.end - records.start)
    return bytes
  }

  readonly #sent = (): void => {
    this.#pump()
  }
}
