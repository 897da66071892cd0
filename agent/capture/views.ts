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

/** Columns with two cells a slot are by dir: cell 2 * slot + dir. Boot times are microseconds. */
export class Views {
  readonly index4: TupleIndex
  readonly index6: TupleIndex
  readonly capacity: number
  /** Slot of the connection it belongs to, -1 for none. */
  readonly connection: Int32Array
  readonly flags: Uint8Array
  /** The dir of packets from source to destination. */
  readonly forward: Uint8Array
  readonly generation: Uint8Array
  readonly marks: Uint32Array
  readonly packets: Float64Array
  readonly bytes: Float64Array
  /** Counters when the present connection began: its own are the difference. */
  readonly basePackets: Float64Array
  readonly baseBytes: Float64Array
  readonly last: Float64Array
  readonly first: Float64Array
  readonly owner: Uint32Array
  readonly other: Uint32Array
  readonly seen: Uint32Array

  constructor(capacity4: number, capacity6: number) {
    this.index4 = new TupleIndex(KEY4_WORDS, capacity4)
    this.index6 = new TupleIndex(KEY6_WORDS, capacity6)
    const n = capacity4 + capacity6
    this.capacity = n
    this.connection = new Int32Array(n)
    this.flags = new Uint8Array(n)
    this.forward = new Uint8Array(n)
    this.generation = new Uint8Array(n)
    this.marks = new Uint32Array(n)
    this.packets = new Float64Array(n * 2)
    this.bytes = new Float64Array(n * 2)
    this.basePackets = new Float64Array(n * 2)
    this.baseBytes = new Float64Array(n * 2)
    this.last = new Float64Array(n * 2)
    this.first = new Float64Array(n * 2)
    this.owner = new Uint32Array(n * 2)
    this.other = new Uint32Array(n * 2)
    this.seen = new Uint32Array(n * SEEN_HOOKS)
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
    this.connection[slot] = -1
    this.flags[slot] = 0
    this.forward[slot] = 0
    this.generation[slot] = 0
    this.marks[slot] = 0
    this.packets.fill(0, slot * 2, slot * 2 + 2)
    this.bytes.fill(0, slot * 2, slot * 2 + 2)
    this.basePackets.fill(0, slot * 2, slot * 2 + 2)
    this.baseBytes.fill(0, slot * 2, slot * 2 + 2)
    this.last.fill(0, slot * 2, slot * 2 + 2)
    this.first.fill(0, slot * 2, slot * 2 + 2)
    this.owner.fill(0, slot * 2, slot * 2 + 2)
    this.other.fill(0, slot * 2, slot * 2 + 2)
    this.seen.fill(0, slot * SEEN_HOOKS, (slot + 1) * SEEN_HOOKS)
    return slot
  }

  remove(slot: number): void {
    if (slot < this.index4.capacity) this.index4.remove(slot)
    else this.index6.remove(slot - this.index4.capacity)
  }

  /** Where a view's key stands: `keys(slot)[keyOffset(slot)…]`. */
  keys(slot: number): Uint32Array {
    return slot < this.index4.capacity ? this.index4.keys : this.index6.keys
  }

  keyOffset(slot: number): number {
    return slot < this.index4.capacity ? slot * KEY4_WORDS : (slot - this.index4.capacity) * KEY6_WORDS
  }

  protocol(slot: number): number {
    return this.keys(slot)[this.keyOffset(slot) + (slot < this.index4.capacity ? 3 : 9)]! & 0xff
  }

  /** Port of end 0 or 1, host order. */
  port(slot: number, end: number): number {
    const word = this.keys(slot)[this.keyOffset(slot) + (slot < this.index4.capacity ? 2 : 8)]!
    const port = end === 0 ? word & 0xffff : word >>> 16
    return ((port & 0xff) << 8) | (port >>> 8)
  }

  /** Writes the address of end 0 or 1 as four host-order words (IPv4 mapped, see FlowBatch). */
  address(slot: number, end: number, out: Uint32Array, at: number): void {
    if (slot < this.index4.capacity) {
      out[at] = 0
      out[at + 1] = 0
      out[at + 2] = 0xffff
      out[at + 3] = swap32(this.index4.keys[slot * KEY4_WORDS + end]!)
      return
    }
    const from = (slot - this.index4.capacity) * KEY6_WORDS + end * 4
    for (let i = 0; i < 4; i++) out[at + i] = swap32(this.index6.keys[from + i]!)
  }

  /** Packets of the present connection counted for a dir. */
  counted(slot: number, dir: number): number {
    return this.packets[slot * 2 + dir]! - this.basePackets[slot * 2 + dir]!
  }

  /** Bytes of the present connection counted for a dir. */
  countedBytes(slot: number, dir: number): number {
    return this.bytes[slot * 2 + dir]! - this.baseBytes[slot * 2 + dir]!
  }

  /** What was counted so far belongs to an earlier connection. */
  rebase(slot: number): void {
    for (let cell = slot * 2; cell < slot * 2 + 2; cell++) {
      this.basePackets[cell] = this.packets[cell]!
      this.baseBytes[cell] = this.bytes[cell]!
    }
  }

  /**
   * The kernel's entry for this tuple starts again from zero, or there was none until now: what was counted so far
   * stays with the connection.
   */
  restart(slot: number): void {
    for (let cell = slot * 2; cell < slot * 2 + 2; cell++) {
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
    const cell = slot * 2
    const marks = words[at + W.marks]!
    const grown0 = (words[at + W.packets]! - (this.packets[cell]! >>> 0)) >>> 0
    const grown1 = (words[at + W.packets + 1]! - (this.packets[cell + 1]! >>> 0)) >>> 0
    if (grown0 === 0 && grown1 === 0 && marks === this.marks[slot]) return false
    if (grown0 > 0x7fffffff || grown1 > 0x7fffffff) return false
    const bytes0 = u64(words, at + W.bytes)
    const bytes1 = u64(words, at + W.bytes + 2)
    // no wire carries nine petabytes: not an entry of ours, and beyond what is exact here
    if (bytes0 > Number.MAX_SAFE_INTEGER || bytes1 > Number.MAX_SAFE_INTEGER) return false
    this.packets[cell]! += grown0
    this.packets[cell + 1]! += grown1
    this.bytes[cell] = Math.max(this.bytes[cell]!, bytes0)
    this.bytes[cell + 1] = Math.max(this.bytes[cell + 1]!, bytes1)
    this.last[cell] = Math.max(this.last[cell]!, u64(words, at + W.last) / 1000)
    this.last[cell + 1] = Math.max(this.last[cell + 1]!, u64(words, at + W.last + 2) / 1000)
    this.first[cell] = u64(words, at + W.first) / 1000
    this.first[cell + 1] = u64(words, at + W.first + 2) / 1000
    this.owner[cell] = words[at + W.owner]!
    this.owner[cell + 1] = words[at + W.owner + 1]!
    this.other[cell] = words[at + W.other]!
    this.other[cell + 1] = words[at + W.other + 1]!
    this.marks[slot] = marks
    for (let i = 0; i < SEEN_HOOKS; i++) this.seen[slot * SEEN_HOOKS + i] = words[at + W.seen + i]!
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
