// Puts the flows of many agents into one order: each waits for a moment, so that those of other nodes that were made
// before it, or are the same connection seen from there, can still come in front. Bounded in number and time.

import type { FlowMessage } from '../protocol/messages.js'

/** How long a flow waits, and how often is looked; together below the 250 ms within which the gateway merges. */
export const HOLD_MS = 150
const LOOK_MS = 20
/** Beyond this the oldest do not wait any longer. */
const MOST_WAITING = 65_536

/** Whoever makes it closes it. */
export class Reorder {
  readonly #release: (flows: FlowMessage[]) => void
  readonly #holdMs: number
  readonly #mostWaiting: number
  /** In the order in which they came; `#arrivedMs` beside it. */
  #waiting: FlowMessage[] = []
  #arrivedMs: number[] = []
  #timer: NodeJS.Timeout | undefined

  /** `release` gets flows by time; it may not keep the list. */
  constructor(
    release: (flows: FlowMessage[]) => void,
    { holdMs = HOLD_MS, mostWaiting = MOST_WAITING }: { holdMs?: number; mostWaiting?: number } = {},
  ) {
    this.#release = release
    this.#holdMs = holdMs
    this.#mostWaiting = mostWaiting
  }

  get waiting(): number {
    return this.#waiting.length
  }

  push(flows: readonly FlowMessage[]): void {
    const now = performance.now()
    for (const flow of flows) {
      this.#waiting.push(flow)
      this.#arrivedMs.push(now)
    }
    if (this.#waiting.length > this.#mostWaiting) this.#give(this.#waiting.length - this.#mostWaiting / 2)
    if (this.#waiting.length > 0) this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref()
  }

  /** Lets go of everything at once. */
  flush(): void {
    this.#give(this.#waiting.length)
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.flush()
  }

  #look(): void {
    const due = performance.now() - this.#holdMs
    let count = 0
    while (count < this.#arrivedMs.length && this.#arrivedMs[count]! <= due) count++
    this.#give(count)
    if (this.#waiting.length > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Releases the `count` that came first, and those of the others that were made before the last of them. */
  #give(count: number): void {
    if (count <= 0) return
    let latestUs = 0
    for (let i = 0; i < count; i++) latestUs = Math.max(latestUs, this.#waiting[i]!.timeUs ?? 0)
    const released: FlowMessage[] = []
    const waiting: FlowMessage[] = []
    const arrivedMs: number[] = []
    for (const [i, flow] of this.#waiting.entries()) {
      if (i < count || (flow.timeUs ?? 0) <= latestUs) released.push(flow)
      else {
        waiting.push(flow)
        arrivedMs.push(this.#arrivedMs[i]!)
      }
    }
    this.#waiting = waiting
    this.#arrivedMs = arrivedMs
    released.sort((a, b) => (a.timeUs ?? 0) - (b.timeUs ?? 0))
    this.#release(released)
  }
}
