// Open-addressing hash tables from words to a number, in typed arrays: no allocation and no strings on lookup.
// They grow at 5/8 full and never shrink; whoever fills them bounds them. Linear probing with backward-shift deletion,
// so that there are no graves to step over. The seed differs in each process: outsiders choose addresses.

import { randomInt } from 'node:crypto'

const SEED = randomInt(1, 2 ** 31) | 1
const MINIMUM = 64

/** What a table gives for a key that it does not have. */
export const NONE = -1

function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** One unsigned 32-bit word -> a number >= 0. */
export class WordTable {
  size = 0
  #mask = MINIMUM - 1
  #keys = new Uint32Array(MINIMUM)
  /** value + 1; 0 is a free slot. */
  #values = new Int32Array(MINIMUM)

  /** The value, or -1. */
  get(key: number): number {
    const keys = this.#keys
    const values = this.#values
    const mask = this.#mask
    let slot = mix(key ^ SEED) & mask
    for (;;) {
      const value = values[slot]!
      if (value === 0) return NONE
      if (keys[slot] === key) return value - 1
      slot = (slot + 1) & mask
    }
  }

  set(key: number, value: number): void {
    if ((this.size + 1) * 8 > (this.#mask + 1) * 5) this.#grow()
    let slot = mix(key ^ SEED) & this.#mask
    while (this.#values[slot] !== 0 && this.#keys[slot] !== key) slot = (slot + 1) & this.#mask
    if (this.#values[slot] === 0) this.size++
    this.#keys[slot] = key
    this.#values[slot] = value + 1
  }

  delete(key: number): void {
    const mask = this.#mask
    let slot = mix(key ^ SEED) & mask
    while (this.#keys[slot] !== key || this.#values[slot] === 0) {
      if (this.#values[slot] === 0) return
      slot = (slot + 1) & mask
    }
    this.size--
    let hole = slot
    for (let next = (hole + 1) & mask; this.#values[next] !== 0; next = (next + 1) & mask) {
      const home = mix(this.#keys[next]! ^ SEED) & mask
      if (((next - home) & mask) < ((next - hole) & mask)) continue
      this.#keys[hole] = this.#keys[next]!
      this.#values[hole] = this.#values[next]!
      hole = next
    }
    this.#values[hole] = 0
  }

  #grow(): void {
    const keys = this.#keys
    const values = this.#values
    const capacity = (this.#mask + 1) * 2
    this.#mask = capacity - 1
    this.#keys = new Uint32Array(capacity)
    this.#values = new Int32Array(capacity)
    this.size = 0
    for (let i = 0; i < keys.length; i++) if (values[i] !== 0) this.set(keys[i]!, values[i]! - 1)
  }
}

/** Five words (an address, and a qualifier such as port and protocol) -> a number >= 0. */
export class TupleTable {
  size = 0
  #mask = MINIMUM - 1
  #keys = new Uint32Array(MINIMUM * 5)
  #values = new Int32Array(MINIMUM)

  /** The value, or -1. */
  get(w0: number, w1: number, w2: number, w3: number, q: number): number {
    const keys = this.#keys
    const values = this.#values
    const mask = this.#mask
    let slot = hash(w0, w1, w2, w3, q) & mask
    for (;;) {
      const value = values[slot]!
      if (value === 0) return NONE
      const k = slot * 5
      if (
        keys[k + 3] === w3 &&
        keys[k + 4] === q &&
        keys[k + 2] === w2 &&
        keys[k + 1] === w1 &&
        keys[k] === w0
      )
        return value - 1
      slot = (slot + 1) & mask
    }
  }

  set(w0: number, w1: number, w2: number, w3: number, q: number, value: number): void {
    if ((this.size + 1) * 8 > (this.#mask + 1) * 5) this.#grow()
    let slot = hash(w0, w1, w2, w3, q) & this.#mask
    while (this.#values[slot] !== 0 && !this.#is(slot, w0, w1, w2, w3, q)) slot = (slot + 1) & this.#mask
    if (this.#values[slot] === 0) this.size++
    const k = slot * 5
    this.#keys[k] = w0
    this.#keys[k + 1] = w1
    this.#keys[k + 2] = w2
    this.#keys[k + 3] = w3
    this.#keys[k + 4] = q
    this.#values[slot] = value + 1
  }

  delete(w0: number, w1: number, w2: number, w3: number, q: number): void {
    const mask = this.#mask
    let slot = hash(w0, w1, w2, w3, q) & mask
    for (;;) {
      if (this.#values[slot] === 0) return
      if (this.#is(slot, w0, w1, w2, w3, q)) break
      slot = (slot + 1) & mask
    }
    this.size--
    let hole = slot
    for (let next = (hole + 1) & mask; this.#values[next] !== 0; next = (next + 1) & mask) {
      const k = next * 5
      const keys = this.#keys
      const home = hash(keys[k]!, keys[k + 1]!, keys[k + 2]!, keys[k + 3]!, keys[k + 4]!) & mask
      if (((next - home) & mask) < ((next - hole) & mask)) continue
      keys.copyWithin(hole * 5, k, k + 5)
      this.#values[hole] = this.#values[next]!
      hole = next
    }
    this.#values[hole] = 0
  }

  #is(slot: number, w0: number, w1: number, w2: number, w3: number, q: number): boolean {
    const keys = this.#keys
    const k = slot * 5
    return (
      keys[k] === w0 && keys[k + 1] === w1 && keys[k + 2] === w2 && keys[k + 3] === w3 && keys[k + 4] === q
    )
  }

  #grow(): void {
    const keys = this.#keys
    const values = this.#values
    const capacity = (this.#mask + 1) * 2
    this.#mask = capacity - 1
    this.#keys = new Uint32Array(capacity * 5)
    this.#values = new Int32Array(capacity)
    this.size = 0
    for (let i = 0; i < values.length; i++) {
      if (values[i] === 0) continue
      const k = i * 5
      this.set(keys[k]!, keys[k + 1]!, keys[k + 2]!, keys[k + 3]!, keys[k + 4]!, values[i]! - 1)
    }
  }
}

function hash(w0: number, w1: number, w2: number, w3: number, q: number): number {
  let h = mix(w3 ^ SEED)
  h = mix(h ^ Math.imul(q, 0x9e3779b1))
  if (w0 !== 0 || w1 !== 0) h = mix(h ^ Math.imul(w0, 0x9e3779b1) ^ Math.imul(w1, 0x85ebca77))
  return (h ^ w2) >>> 0
}
