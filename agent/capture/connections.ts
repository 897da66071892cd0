// The connection table: what one flow is made of, as columns by slot, bounded. Holds state only; tracker.ts changes it.

/** Bits of `state`. */
export const ConnectionState = {
  IN_USE: 1,
  OPENED_SENT: 2,
  CLOSED_SENT: 4,
  /** Who opened it is a guess. */
  INFERRED: 8,
  /** OPENED waits for the next drain: who opened it, or what it was before NAT, is about to be known. */
  HELD: 16,
  /** Its end was seen. */
  ENDING: 32,
  /** An ICMP error refused it. */
  REFUSED: 64,
  /** A view was read that has changed since the last record. */
  DIRTY: 128,
  /** What a record says besides counters has changed: told at once. */
  CHANGED: 256,
  /** A direction's view seems to be silent while another one goes on. */
  SUSPECT: 512,
} as const

/** Most views of one connection: its tuple, what it became, and what the latter was before. */
export const MAX_VIEWS = 4

/** In `chosen`: the view it was read from belongs to another connection now, what it had is carried. */
export const FROZEN = -2

/** Columns with two cells a slot are forward, reverse. Boot times are microseconds. */
export class Connections {
  readonly capacity: number
  readonly id: Float64Array
  readonly state: Uint16Array
  readonly views: Int32Array
  /** The view whose tuple the client used. It may have no entry in the kernel. */
  readonly root: Int32Array
  /** The view of what it became, -1 when it is not translated. */
  readonly alias: Int32Array
  /** The view that each direction is read from, -1 as long as none has counted it, or FROZEN. */
  readonly chosen: Int32Array
  /** What a direction had when it went over to another view. */
  readonly carryPackets: Float64Array
  readonly carryBytes: Float64Array
  /** Totals in the last record. */
  readonly toldPackets: Float64Array
  readonly toldBytes: Float64Array
  /** Wall clock, fixed when the connection was first seen. */
  readonly startUs: Float64Array
  readonly startBoot: Float64Array
  readonly lastBoot: Float64Array
  /** When the last record was made. */
  readonly toldBoot: Float64Array
  readonly verdict: Uint8Array
  readonly endReason: Uint8Array
  readonly icmpType: Uint8Array
  readonly icmpCode: Uint8Array
  /** Index into the tracker's tunnels, -1 for none. */
  readonly tunnel: Int32Array
  #nextId = 1
  #fresh = 0
  #size = 0
  readonly #free: Int32Array
  #freeCount = 0

  constructor(capacity: number) {
    this.capacity = capacity
    const n = capacity
    this.id = new Float64Array(n)
    this.state = new Uint16Array(n)
    this.views = new Int32Array(n * MAX_VIEWS)
    this.root = new Int32Array(n)
    this.alias = new Int32Array(n)
    this.chosen = new Int32Array(n * 2)
    this.carryPackets = new Float64Array(n * 2)
    this.carryBytes = new Float64Array(n * 2)
    this.toldPackets = new Float64Array(n * 2)
    this.toldBytes = new Float64Array(n * 2)
    this.startUs = new Float64Array(n)
    this.startBoot = new Float64Array(n)
    this.lastBoot = new Float64Array(n)
    this.toldBoot = new Float64Array(n)
    this.verdict = new Uint8Array(n)
    this.endReason = new Uint8Array(n)
    this.icmpType = new Uint8Array(n)
    this.icmpCode = new Uint8Array(n)
    this.tunnel = new Int32Array(n)
    this.#free = new Int32Array(n)
  }

  get size(): number {
    return this.#size
  }

  /** Slots from here on have never been used. */
  get highWater(): number {
    return this.#fresh
  }

  /** A connection with one view. -1 when the table is full. */
  open(view: number): number {
    if (this.#size >= this.capacity) return -1
    const c = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#fresh++
    this.#size++
    this.id[c] = this.#nextId++
    this.state[c] = ConnectionState.IN_USE
    this.views.fill(-1, c * MAX_VIEWS, (c + 1) * MAX_VIEWS)
    this.views[c * MAX_VIEWS] = view
    this.root[c] = view
    this.alias[c] = -1
    this.chosen.fill(-1, c * 2, c * 2 + 2)
    this.carryPackets.fill(0, c * 2, c * 2 + 2)
    this.carryBytes.fill(0, c * 2, c * 2 + 2)
    this.toldPackets.fill(0, c * 2, c * 2 + 2)
    this.toldBytes.fill(0, c * 2, c * 2 + 2)
    this.toldBoot[c] = 0
    this.verdict[c] = 0
    this.endReason[c] = 0
    this.icmpType[c] = 0
    this.icmpCode[c] = 0
    this.tunnel[c] = -1
    return c
  }

  /** The same tuples and views as another connection: a new id, nothing told. */
  renew(c: number): void {
    this.id[c] = this.#nextId++
    this.state[c] =
      ConnectionState.IN_USE | ConnectionState.DIRTY | (this.state[c]! & ConnectionState.INFERRED)
    this.chosen.fill(-1, c * 2, c * 2 + 2)
    this.carryPackets.fill(0, c * 2, c * 2 + 2)
    this.carryBytes.fill(0, c * 2, c * 2 + 2)
    this.toldPackets.fill(0, c * 2, c * 2 + 2)
    this.toldBytes.fill(0, c * 2, c * 2 + 2)
    this.toldBoot[c] = 0
    this.verdict[c] = 0
    this.endReason[c] = 0
  }

  free(c: number): void {
    this.state[c] = 0
    this.id[c] = 0
    this.#free[this.#freeCount++] = c
    this.#size--
  }

  is(c: number, state: number): boolean {
    return (this.state[c]! & state) !== 0
  }

  set(c: number, state: number): void {
    this.state[c]! |= state
  }

  clear(c: number, state: number): void {
    this.state[c]! &= ~state
  }

  /** Adds a view. False when it has as many as it can. */
  addView(c: number, view: number): boolean {
    for (let i = c * MAX_VIEWS; i < (c + 1) * MAX_VIEWS; i++) {
      if (this.views[i] === view) return true
      if (this.views[i] === -1) {
        this.views[i] = view
        return true
      }
    }
    return false
  }

  /** Takes a view away; the others move up. */
  removeView(c: number, view: number): void {
    let to = c * MAX_VIEWS
    for (let i = to; i < (c + 1) * MAX_VIEWS; i++) {
      const v = this.views[i]!
      if (v !== view) this.views[to++] = v
    }
    while (to < (c + 1) * MAX_VIEWS) this.views[to++] = -1
  }

  /** Source and destination change places. */
  turn(c: number): void {
    for (const column of [
      this.chosen,
      this.carryPackets,
      this.carryBytes,
      this.toldPackets,
      this.toldBytes,
    ]) {
      const forward = column[c * 2]!
      column[c * 2] = column[c * 2 + 1]!
      column[c * 2 + 1] = forward
    }
  }
}
