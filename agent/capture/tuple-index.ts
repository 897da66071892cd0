// Finds the slot of a tuple: open addressing over the key's words, for one address family. Holds keys and nothing else.
// Slot numbers are stable while a key is in it, and reused after it has been removed. The seed differs in each process:
// outsiders choose tuples.

import { randomInt } from 'node:crypto'

const SEED = randomInt(1, 2 ** 31)

/** A bounded map from keys of `words` 32-bit words to slot numbers below `capacity`. */
export class TupleIndex {
  readonly words: number
  readonly capacity: number
  /** Key words: those of a slot begin at `slot * stride`. */
  readonly keys: Uint32Array
  readonly stride: number
  #size = 0
  #fresh = 0
  readonly #buckets: Int32Array
  readonly #mask: number
  readonly #free: Int32Array
  #freeCount = 0

  /** @param rows where keys are kept, if not in memory of its own: the first slot's begins at rows.keys[0] */
  constructor(
    words: number,
    capacity: number,
    rows: { readonly keys: Uint32Array; readonly stride: number } = {
      keys: new Uint32Array(words * capacity),
      stride: words,
    },
  ) {
    this.words = words
    this.capacity = capacity
    this.keys = rows.keys
    this.stride = rows.stride
    let buckets = 16
    while (buckets < capacity * 2) buckets *= 2
    this.#buckets = new Int32Array(buckets)
    this.#mask = buckets - 1
    this.#free = new Int32Array(capacity)
  }

  get size(): number {
    return this.#size
  }

  /** Slots from here on have never been used. */
  get highWater(): number {
    return this.#fresh
  }

  #hash(source: Uint32Array, offset: number): number {
    let h = SEED
    for (let i = offset; i < offset + this.words; i++) {
      h = Math.imul(h ^ source[i]!, 0x85ebca6b)
      h ^= h >>> 15
    }
    h = Math.imul(h, 0xc2b2ae35)
    return (h ^ (h >>> 16)) & this.#mask
  }

  #same(slot: number, source: Uint32Array, offset: number): boolean {
    const { keys } = this
    const at = slot * this.stride
    for (let i = 0; i < this.words; i++) if (keys[at + i] !== source[offset + i]) return false
    return true
  }

  /** The slot of the key at `source[offset…]`, or -1. */
  find(source: Uint32Array, offset: number): number {
    for (let bucket = this.#hash(source, offset); ; bucket = (bucket + 1) & this.#mask) {
      const entry = this.#buckets[bucket]!
      if (entry === 0) return -1
      if (this.#same(entry - 1, source, offset)) return entry - 1
    }
  }

  /** Adds a key that is not in it. The new slot, or -1 when it is full. */
  insert(source: Uint32Array, offset: number): number {
    if (this.#size >= this.capacity) return -1
    const slot = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#fresh++
    const { keys } = this
    const at = slot * this.stride
    for (let i = 0; i < this.words; i++) keys[at + i] = source[offset + i]!
    let bucket = this.#hash(source, offset)
    while (this.#buckets[bucket] !== 0) bucket = (bucket + 1) & this.#mask
    this.#buckets[bucket] = slot + 1
    this.#size++
    return slot
  }

  /** Removes a slot's key; the entries behind it move up, so no tombstones pile up. */
  remove(slot: number): void {
    let hole = this.#hash(this.keys, slot * this.stride)
    while (this.#buckets[hole] !== slot + 1) {
      if (this.#buckets[hole] === 0) return
      hole = (hole + 1) & this.#mask
    }
    for (let next = (hole + 1) & this.#mask; ; next = (next + 1) & this.#mask) {
      const entry = this.#buckets[next]!
      if (entry === 0) break
      const home = this.#hash(this.keys, (entry - 1) * this.stride)
      // it may move into the hole unless its home lies between the hole and where it stands
      if (((next - home) & this.#mask) >= ((next - hole) & this.#mask)) {
        this.#buckets[hole] = entry
        hole = next
      }
    }
    this.#buckets[hole] = 0
    this.#free[this.#freeCount++] = slot
    this.#size--
  }
}
