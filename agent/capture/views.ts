// What the agent knows of each view (one tuple as it is on the wire): the kernel's counters as read last and where they
// began for the present connection. Columns by slot; IPv4 slots come first, IPv6 slots behind them.

import { view as viewLayout } from '../kernel/layout.gen.js'
import { TupleIndex } from './tuple-index.js'

/** Bits of `flags`. */
export const ViewFlag = {
  /** There is an entry for it in the kernel's map. */
  IN_KERNEL: 1,
  /** `forward` is known, by SYN or by conntrack. */
  ORIENTED: 2,
  /** Known only from packets that found the kernel's map full. */
  SPILLED: 4,
  /** Given to a new connection before the kernel has told that its tuple is used again. */
  STALE: 8,
} as const

export const SEEN_HOOKS = (viewLayout.generation - viewLayout.seen) / 4

const KEY4_WORDS = 4
const KEY6_WORDS = 10

/**
 * Bytes of a view's row, and how far two rows lie apart in columns of 8, 4 and 1 bytes. Columns are windows on the same
 * rows, since whoever looks at a view looks at most of it: what each drain compares lies together at a row's beginning.
 */
const ROW = 192
export const V8 = ROW / 8
export const V4 = ROW / 4
export const V1 = ROW

/** Where each column begins in a row, bytes. */
const At = {
  packets: 0,
  flags: 16,
  forward: 17,
  generation: 18,
  connection: 20,
  marks: 24,
  key: 32,
  bytes: 72,
  basePackets: 88,
  baseBytes: 104,
  last: 120,
  first: 136,
  owner: 152,
  other: 160,
  seen: 168,
} as const

/**
 * A cell of slot s is at `s * V8`, `s * V4` or `s * V1`, by the column's width; of two cells by dir the second follows
 * the first. Boot times are microseconds.
 */
export class Views {
  readonly index4: TupleIndex
  readonly index6: TupleIndex
  readonly capacity: number
  /** Slot of the connection it belongs to, -1 for none. V4. */
  readonly connection: Int32Array
  /** V1, as are the next two. */
  readonly flags: Uint8Array
  /** The dir of packets from source to destination. */
  readonly forward: Uint8Array
  readonly generation: Uint8Array
  /** V4. */
  readonly marks: Uint32Array
  /** Two cells by dir, V8, as are those up to `first`. */
  readonly packets: Float64Array
  readonly bytes: Float64Array
  /** Counters when the present connection began: its own are the difference. */
  readonly basePackets: Float64Array
  readonly baseBytes: Float64Array
  readonly last: Float64Array
  readonly first: Float64Array
  /** Two cells by dir, V4, as is `other`. */
  readonly owner: Uint32Array
  readonly other: Uint32Array
  /** SEEN_HOOKS cells, V4. */
  readonly seen: Uint32Array
  /** Key words, V4: of IPv4 the first four, of IPv6 ten. */
  readonly key: Uint32Array

  constructor(capacity4: number, capacity6: number) {
    const n = capacity4 + capacity6
    const rows = new ArrayBuffer(n * ROW)
    this.capacity = n
    this.connection = new Int32Array(rows, At.connection)
    this.flags = new Uint8Array(rows, At.flags)
    this.forward = new Uint8Array(rows, At.forward)
    this.generation = new Uint8Array(rows, At.generation)
    this.marks = new Uint32Array(rows, At.marks)
    this.packets = new Float64Array(rows, At.packets)
    this.bytes = new Float64Array(rows, At.bytes)
    this.basePackets = new Float64Array(rows, At.basePackets)
    this.baseBytes = new Float64Array(rows, At.baseBytes)
    this.last = new Float64Array(rows, At.last)
    this.first = new Float64Array(rows, At.first)
    this.owner = new Uint32Array(rows, At.owner)
    this.other = new Uint32Array(rows, At.other)
    this.seen = new Uint32Array(rows, At.seen)
    this.key = new Uint32Array(rows, At.key)
    this.index4 = new TupleIndex(KEY4_WORDS, capacity4, { keys: this.key, stride: V4 })
    this.index6 = new TupleIndex(KEY6_WORDS, capacity6, {
      keys: new Uint32Array(rows, capacity4 * ROW + At.key),
      stride: V4,
    })
  }

  get size(): number {
    return this.index4.size + this.index6.size
  }

  family(slot: number): 4 | 6 {
    return slot < this.index4.capacity ? 4 : 6
  }

  /** The slot of a key, or -1. */
  find(family: number, source: Uint32Array, offset: number): number {
    if (family === 4) return this.index4.find(source, offset)
    const slot = this.index6.find(source, offset)
    return slot < 0 ? -1 : slot + this.index4.capacity
  }

  /** A new view without connection, all zero. -1 when there is no room. */
  insert(family: number, source: Uint32Array, offset: number): number {
    let slot = family === 4 ? this.index4.insert(source, offset) : this.index6.insert(source, offset)
    if (slot < 0) return -1
    if (family !== 4) slot += this.index4.capacity
    const u = slot * V4
    const d = slot * V8
    const { packets, bytes, basePackets, baseBytes, last, first, owner, other, seen } = this
    this.connection[u] = -1
    this.flags[slot * V1] = 0
    this.forward[slot * V1] = 0
    this.generation[slot * V1] = 0
    this.marks[u] = 0
    for (let dir = 0; dir < 2; dir++) {
      packets[d + dir] = 0
      bytes[d + dir] = 0
      basePackets[d + dir] = 0
      baseBytes[d + dir] = 0
      last[d + dir] = 0
      first[d + dir] = 0
      owner[u + dir] = 0
      other[u + dir] = 0
    }
    for (let i = 0; i < SEEN_HOOKS; i++) seen[u + i] = 0
    return slot
  }

  remove(slot: number): void {
    if (slot < this.index4.capacity) this.index4.remove(slot)
    else this.index6.remove(slot - this.index4.capacity)
  }

  /** Where a view's key stands in `key`. */
  keyOffset(slot: number): number {
    return slot * V4
  }

  protocol(slot: number): number {
    return this.key[slot * V4 + (slot < this.index4.capacity ? 3 : 9)]! & 0xff
  }

  /** Number of the namespace that a loopback address of it belongs to; 0: the node's. */
  netns(slot: number): number {
    return this.key[slot * V4 + (slot < this.index4.capacity ? 3 : 9)]! >>> 16
  }

  /** Port of end 0 or 1, host order. */
  port(slot: number, end: number): number {
    const word = this.key[slot * V4 + (slot < this.index4.capacity ? 2 : 8)]!
    const port = end === 0 ? word & 0xffff : word >>> 16
    return ((port & 0xff) << 8) | (port >>> 8)
  }

  /** Writes the address of end 0 or 1 as four host-order words (IPv4 mapped, see FlowBatch). */
  address(slot: number, end: number, out: Uint32Array, at: number): void {
    const from = slot * V4
    if (slot < this.index4.capacity) {
      out[at] = 0
      out[at + 1] = 0
      out[at + 2] = 0xffff
      out[at + 3] = swap32(this.key[from + end]!)
      return
    }
    for (let i = 0; i < 4; i++) out[at + i] = swap32(this.key[from + end * 4 + i]!)
  }

  /** Packets of the present connection counted for a dir. */
  counted(slot: number, dir: number): number {
    return this.packets[slot * V8 + dir]! - this.basePackets[slot * V8 + dir]!
  }

  /** Bytes of the present connection counted for a dir. */
  countedBytes(slot: number, dir: number): number {
    return this.bytes[slot * V8 + dir]! - this.baseBytes[slot * V8 + dir]!
  }

  /** What was counted so far belongs to an earlier connection. */
  rebase(slot: number): void {
    for (let cell = slot * V8; cell < slot * V8 + 2; cell++) {
      this.basePackets[cell] = this.packets[cell]!
      this.baseBytes[cell] = this.bytes[cell]!
    }
  }

  /**
   * The kernel's entry for this tuple starts again from zero, or there was none until now: what was counted so far
   * stays with the connection.
   */
  restart(slot: number): void {
    for (let cell = slot * V8; cell < slot * V8 + 2; cell++) {
      this.basePackets[cell] = this.basePackets[cell]! - this.packets[cell]!
      this.baseBytes[cell] = this.baseBytes[cell]! - this.bytes[cell]!
      this.packets[cell] = 0
      this.bytes[cell] = 0
    }
  }

  /**
   * Takes over an entry as the kernel has it, `words` being a struct view at `at`. Counters only grow; a snapshot that
   * is older than what was read last changes nothing. False when nothing changed.
   */
  read(slot: number, words: Uint32Array, at: number): boolean {
    const cell = slot * V8
    const u = slot * V4
    const { packets, bytes, last, first, owner, other, seen } = this
    const marks = words[at + W.marks]!
    const grown0 = (words[at + W.packets]! - (packets[cell]! >>> 0)) >>> 0
    const grown1 = (words[at + W.packets + 1]! - (packets[cell + 1]! >>> 0)) >>> 0
    if (grown0 === 0 && grown1 === 0 && marks === this.marks[u]) return false
    if (grown0 > 0x7fffffff || grown1 > 0x7fffffff) return false
    const bytes0 = u64(words, at + W.bytes)
    const bytes1 = u64(words, at + W.bytes + 2)
    // no wire carries nine petabytes: not an entry of ours, and beyond what is exact here
    if (bytes0 > Number.MAX_SAFE_INTEGER || bytes1 > Number.MAX_SAFE_INTEGER) return false
    packets[cell]! += grown0
    packets[cell + 1]! += grown1
    if (bytes0 > bytes[cell]!) bytes[cell] = bytes0
    if (bytes1 > bytes[cell + 1]!) bytes[cell + 1] = bytes1
    const last0 = u64(words, at + W.last) / 1000
    const last1 = u64(words, at + W.last + 2) / 1000
    if (last0 > last[cell]!) last[cell] = last0
    if (last1 > last[cell + 1]!) last[cell + 1] = last1
    first[cell] = u64(words, at + W.first) / 1000
    first[cell + 1] = u64(words, at + W.first + 2) / 1000
    owner[u] = words[at + W.owner]!
    owner[u + 1] = words[at + W.owner + 1]!
    other[u] = words[at + W.other]!
    other[u + 1] = words[at + W.other + 1]!
    this.marks[u] = marks
    for (let i = 0; i < SEEN_HOOKS; i++) seen[u + i] = words[at + W.seen + i]!
    return true
  }
}

/** Offsets of struct view in 32-bit words. */
export const W = {
  bytes: viewLayout.bytes / 4,
  last: viewLayout.last / 4,
  packets: viewLayout.packets / 4,
  owner: viewLayout.owner / 4,
  other: viewLayout.other / 4,
  marks: viewLayout.marks / 4,
  first: viewLayout.first / 4,
  seen: viewLayout.seen / 4,
  /** generation, icmp_type and icmp_code share a word. */
  generation: viewLayout.generation / 4,
  size: viewLayout.size / 4,
} as const

/** A little-endian 64-bit number as two words; exact below 2^53. */
export function u64(words: Uint32Array, at: number): number {
  return words[at + 1]! * 0x100000000 + words[at]!
}

/** Network to host order. */
export function swap32(word: number): number {
  return (((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0
}
