// The connection table: what one flow is made of, as columns by slot, bounded. Holds state only; tracker.ts changes it.

import type { SocketOwner } from './flow-batch.js'

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
  /** `carryPackets` and `carryBytes` hold something; without it they are not looked at. */
  CARRIED: 1024,
  /** Its entries have been deleted from the kernel; it is kept for what comes late (forgetting.ts). */
  FORGOTTEN: 2048,
  /** A view that is part of it found no room; counted once. */
  UNJOINED: 4096,
} as const

/** Most views of one connection: its tuple, what it became, and what the latter was before. */
export const MAX_VIEWS = 4

/** In `chosen`: the view it was read from belongs to another connection now, what it had is carried. */
export const FROZEN = -2

/**
 * Bytes of a connection's row, and how far two rows lie apart in columns of 8, 4 and 1 bytes. Columns are windows on the
 * same rows, as in views.ts; `state` alone stands by itself, since all of it is looked through at each drain.
 */
const ROW = 128
export const C8 = ROW / 8
export const C4 = ROW / 4
export const C1 = ROW

/** Where each column begins in a row, bytes. */
const At = {
  id: 0,
  lastBoot: 8,
  toldBoot: 16,
  startBoot: 24,
  startUs: 32,
  verdict: 40,
  endReason: 41,
  icmpType: 42,
  icmpCode: 43,
  silence: 44,
  views: 48,
  root: 64,
  alias: 68,
  chosen: 72,
  tunnel: 80,
  toldPackets: 88,
  toldBytes: 104,
} as const

/**
 * A cell of slot c is at `c * C8`, `c * C4` or `c * C1`, by the column's width; of two cells by direction the second,
 * reverse, follows the first. Boot times are microseconds.
 */
export class Connections {
  readonly capacity: number
  /** By slot. */
  readonly state: Uint16Array
  /** C8, as are the times. */
  readonly id: Float64Array
  /** Wall clock, fixed when the connection was first seen. */
  readonly startUs: Float64Array
  readonly startBoot: Float64Array
  readonly lastBoot: Float64Array
  /** When the last record was made. */
  readonly toldBoot: Float64Array
  /** Totals in the last record: two cells, C8. */
  readonly toldPackets: Float64Array
  readonly toldBytes: Float64Array
  /** MAX_VIEWS cells, C4: the first free one is -1, and so are those behind it. */
  readonly views: Int32Array
  /** The view whose tuple the client used. It may have no entry in the kernel. C4. */
  readonly root: Int32Array
  /** The view of what it became, -1 when it is not translated. C4. */
  readonly alias: Int32Array
  /** The view that each direction is read from, -1 as long as none has counted it, or FROZEN. Two cells, C4. */
  readonly chosen: Int32Array
  /** Index into the tunnels, -1 for none. C4. */
  readonly tunnel: Int32Array
  /** C1, as are the next four. */
  readonly verdict: Uint8Array
  readonly endReason: Uint8Array
  readonly icmpType: Uint8Array
  readonly icmpCode: Uint8Array
  /** How long it may be silent: one of Silence (timeouts.ts). */
  readonly silence: Uint8Array
  /** What a direction had when it went over to another view: cells 2 * c and 2 * c + 1. Seldom used. */
  readonly carryPackets: Float64Array
  readonly carryBytes: Float64Array
  /** The process at each end, source and destination, as far as it is known; as long as the highest slot that has one. */
  readonly owner: (SocketOwner | undefined)[] = []
  #nextId = 1
  #fresh = 0
  #size = 0
  readonly #free: Int32Array
  #freeCount = 0

  constructor(capacity: number) {
    this.capacity = capacity
    const rows = new ArrayBuffer(capacity * ROW)
    this.state = new Uint16Array(capacity)
    this.id = new Float64Array(rows, At.id)
    this.startUs = new Float64Array(rows, At.startUs)
    this.startBoot = new Float64Array(rows, At.startBoot)
    this.lastBoot = new Float64Array(rows, At.lastBoot)
    this.toldBoot = new Float64Array(rows, At.toldBoot)
    this.toldPackets = new Float64Array(rows, At.toldPackets)
    this.toldBytes = new Float64Array(rows, At.toldBytes)
    this.views = new Int32Array(rows, At.views)
    this.root = new Int32Array(rows, At.root)
    this.alias = new Int32Array(rows, At.alias)
    this.chosen = new Int32Array(rows, At.chosen)
    this.tunnel = new Int32Array(rows, At.tunnel)
    this.verdict = new Uint8Array(rows, At.verdict)
    this.endReason = new Uint8Array(rows, At.endReason)
    this.icmpType = new Uint8Array(rows, At.icmpType)
    this.icmpCode = new Uint8Array(rows, At.icmpCode)
    this.silence = new Uint8Array(rows, At.silence)
    this.carryPackets = new Float64Array(capacity * 2)
    this.carryBytes = new Float64Array(capacity * 2)
    this.#free = new Int32Array(capacity)
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
    const { views } = this
    const u = c * C4
    views[u] = view
    for (let i = u + 1; i < u + MAX_VIEWS; i++) views[i] = -1
    this.root[u] = view
    this.alias[u] = -1
    this.tunnel[u] = -1
    this.icmpType[c * C1] = 0
    this.icmpCode[c * C1] = 0
    this.#begin(c, ConnectionState.IN_USE)
    return c
  }

  /** The same tuples and views as another connection: a new id, nothing told. */
  renew(c: number): void {
    this.#begin(
      c,
      ConnectionState.IN_USE | ConnectionState.DIRTY | (this.state[c]! & ConnectionState.INFERRED),
    )
  }

  /** Notes the process at an end: 0 source, 1 destination. */
  own(c: number, end: number, owner: SocketOwner): void {
    const cell = c * 2 + end
    while (this.owner.length <= cell) this.owner.push(undefined)
    this.owner[cell] = owner
  }

  #disown(c: number): void {
    if (c * 2 >= this.owner.length) return
    this.owner[c * 2] = undefined
    this.owner[c * 2 + 1] = undefined
  }

  #begin(c: number, state: number): void {
    const d = c * C8
    const u = c * C4
    const b = c * C1
    const { toldPackets, toldBytes, chosen } = this
    this.id[d] = this.#nextId++
    this.state[c] = state
    chosen[u] = -1
    chosen[u + 1] = -1
    toldPackets[d] = 0
    toldPackets[d + 1] = 0
    toldBytes[d] = 0
    toldBytes[d + 1] = 0
    this.toldBoot[d] = 0
    this.verdict[b] = 0
    this.endReason[b] = 0
    this.silence[b] = 0
    this.#disown(c)
  }

  /** Calls `use` with the tunnel of every connection, -1 for none. */
  eachTunnel(use: (index: number) => void): void {
    for (let c = 0; c < this.#fresh; c++) if (this.state[c] !== 0) use(this.tunnel[c * C4]!)
  }

  free(c: number): void {
    this.state[c] = 0
    this.id[c * C8] = 0
    this.#disown(c)
    this.#free[this.#freeCount++] = c
    this.#size--
  }

  /** Makes a direction's carried counts good to be added to. */
  carry(c: number): void {
    if ((this.state[c]! & ConnectionState.CARRIED) !== 0) return
    this.state[c]! |= ConnectionState.CARRIED
    for (let cell = c * 2; cell < c * 2 + 2; cell++) {
      this.carryPackets[cell] = 0
      this.carryBytes[cell] = 0
    }
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
    for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
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
    let to = c * C4
    for (let i = to; i < c * C4 + MAX_VIEWS; i++) {
      const v = this.views[i]!
      if (v !== view) this.views[to++] = v
    }
    while (to < c * C4 + MAX_VIEWS) this.views[to++] = -1
  }

  /** Source and destination change places. */
  turn(c: number): void {
    // looked for again, the right way round
    this.#disown(c)
    swap(this.chosen, c * C4)
    swap(this.toldPackets, c * C8)
    swap(this.toldBytes, c * C8)
    if ((this.state[c]! & ConnectionState.CARRIED) === 0) return
    swap(this.carryPackets, c * 2)
    swap(this.carryBytes, c * 2)
  }
}

function swap(column: Int32Array | Float64Array, at: number): void {
  const forward = column[at]!
  column[at] = column[at + 1]!
  column[at + 1] = forward
}
