// One connection as a queue that is read at the consumer's pace. Bounded: a consumer that is slow makes the line hold the
// peer back where the platform can, so that the server's queue fills and the server tells what is lost; where it cannot,
// the oldest frames go and are counted here.

import { StreamMessage } from '../protocol/messages.js'
import type { Connection, ConnectionEnd, Dial, DialRequest } from './transport.js'

/** Bytes in the queue from which the peer is held back, and below which it may go on. */
const HOLD_BYTES = 1 << 20
const RELEASE_BYTES = 1 << 18
/** Bytes beyond which the oldest frames are let go, where the peer cannot be held back. */
const DROP_BYTES = 16 << 20

export type LineItem =
  | { readonly type: 'opened' }
  | { readonly type: 'frame'; readonly bytes: Uint8Array }
  /** Flows of frames that were let go. */
  | { readonly type: 'dropped'; readonly flows: number }
  | { readonly type: 'closed'; readonly end: ConnectionEnd }

/** Reads one connection. Whoever made it calls `close`. */
export class Line {
  readonly #connection: Connection
  readonly #frames: Uint8Array[] = []
  /** Frames before this one have been read. */
  #head = 0
  #bytes = 0
  #dropped = 0
  #held = false
  #opened = false
  #end: ConnectionEnd | undefined
  #wake: (() => void) | undefined

  constructor(dial: Dial, request: DialRequest) {
    this.#connection = dial(request, {
      opened: () => {
        this.#opened = true
        this.#wake?.()
      },
      frame: (bytes) => this.#take(bytes),
      closed: (end) => {
        this.#end = end
        this.#wake?.()
      },
    })
  }

  /** The next thing that happened; undefined once `signal` is aborted. */
  async next(signal: AbortSignal | undefined): Promise<LineItem | undefined> {
    for (;;) {
      if (signal?.aborted) return undefined
      const item = this.#poll()
      if (item !== undefined) return item
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#wake = undefined
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        this.#wake = wake
        signal?.addEventListener('abort', wake)
      })
    }
  }

  send(frame: Uint8Array): void {
    this.#connection.send(frame)
  }

  close(): void {
    this.#connection.close()
  }

  #poll(): LineItem | undefined {
    if (this.#opened) {
      this.#opened = false
      return { type: 'opened' }
    }
    if (this.#dropped > 0) {
      const flows = this.#dropped
      this.#dropped = 0
      return { type: 'dropped', flows }
    }
    const bytes = this.#shift()
    if (bytes !== undefined) return { type: 'frame', bytes }
    return this.#end === undefined ? undefined : { type: 'closed', end: this.#end }
  }

  #take(bytes: Uint8Array): void {
    this.#frames.push(bytes)
    this.#bytes += bytes.length
    if (this.#connection.canPause) {
      if (!this.#held && this.#bytes > HOLD_BYTES) {
        this.#held = true
        this.#connection.pause()
      }
    } else {
      while (this.#bytes > DROP_BYTES) {
        const oldest = this.#shift()
        if (oldest === undefined) break
        this.#dropped += countFlows(oldest)
      }
    }
    this.#wake?.()
  }

  #shift(): Uint8Array | undefined {
    const bytes = this.#frames[this.#head]
    if (bytes === undefined) return undefined
    this.#head++
    if (this.#head === this.#frames.length || this.#head > 1024) {
      this.#frames.splice(0, this.#head)
      this.#head = 0
    }
    this.#bytes -= bytes.length
    if (this.#held && this.#bytes < RELEASE_BYTES) {
      this.#held = false
      this.#connection.resume()
    }
    return bytes
  }
}

function countFlows(frame: Uint8Array): number {
  try {
    return StreamMessage.decode(frame).flows.length
  } catch {
    return 0
  }
}
