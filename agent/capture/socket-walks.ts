// When to look at all sockets that are open: at the start, and when ends of this node are told without a process, which is
// what UDP needs. The longer a walk takes and the less it finds, the rarer it is.

import type { Sockets } from './sockets.js'
import type { DrainSource } from './source.js'

const SHORTEST_WAIT_MS = 2_000
const LONGEST_WAIT_MS = 60_000
/** A walk may take this part of the time. */
const SHARE = 1 / 50

export class SocketWalks {
  readonly #source: Pick<DrainSource, 'walkSockets'>
  readonly #sockets: Sockets
  readonly #now: () => number
  #walking = false
  #dueMs = Number.NEGATIVE_INFINITY
  #waitMs = SHORTEST_WAIT_MS
  /** What the last walk took, by the wall clock: with whatever else the machine did meanwhile. */
  #tookMs = 0
  /** Misses when the last walk began. */
  #missed = -1

  constructor(
    source: Pick<DrainSource, 'walkSockets'>,
    sockets: Sockets,
    now: () => number = () => performance.now(),
  ) {
    this.#source = source
    this.#sockets = sockets
    this.#now = now
  }

  /** Begins a walk if it is time for one. `missed`: ends of this node told without a process, since the start. */
  consider(missed: number): void {
    if (this.#walking || missed === this.#missed || this.#now() < this.#dueMs) return
    this.#missed = missed
    void this.#walk()
  }

  async #walk(): Promise<void> {
    this.#walking = true
    const before = this.#sockets.found
    this.#sockets.walkBegins()
    // what goes wrong is said in status; the next one may go right
    const took = (await this.#source.walkSockets?.(this.#sockets).catch(() => undefined)) ?? 0
    this.#walking = false
    const useful = this.#sockets.found > before
    this.#waitMs = useful ? SHORTEST_WAIT_MS : Math.min(LONGEST_WAIT_MS, this.#waitMs * 2)
    // the faster one of two is nearer to what it costs
    this.#dueMs = this.#now() + Math.max(this.#waitMs, Math.min(took, this.#tookMs) / SHARE)
    this.#tookMs = took
  }
}
