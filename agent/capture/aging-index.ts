// A TupleIndex that never refuses a key: when it is full, the key that came first makes room. Grows into its capacity, so
// that what is not used takes no memory.

import { TupleIndex } from './tuple-index.js'

const FIRST = 512

export class AgingIndex {
  readonly #words: number
  readonly #capacity: number
  #index: TupleIndex
  /** Slots in the order in which they came. */
  #queue: Int32Array
  #head = 0

  constructor(words: number, capacity: number) {
    this.#words = words
    this.#capacity = capacity
    this.#index = new TupleIndex(words, Math.min(FIRST, capacity))
    this.#queue = new Int32Array(this.#index.capacity)
  }

  get size(): number {
    return this.#index.size
  }

  /** The slot of a key, or -1. Slots are below the capacity and keep their numbers. */
  find(key: Uint32Array): number {
    return this.#index.find(key, 0)
  }

  /** The slot of the key at `source[offset…]`, or -1. */
  findAt(source: Uint32Array, offset: number): number {
    return this.#index.find(source, offset)
  }

  /** Adds a key that is not in it and gives its slot, which may have been another key's. */
  put(key: Uint32Array): number {
    if (this.#index.size === this.#index.capacity && this.#index.capacity < this.#capacity) this.#grow()
    if (this.#index.size < this.#index.capacity) {
      // nobody has gone yet: behind the last one
      const slot = this.#index.insert(key, 0)
      this.#queue[this.#index.size - 1] = slot
      return slot
    }
    this.#index.remove(this.#queue[this.#head]!)
    const slot = this.#index.insert(key, 0)
    this.#queue[this.#head] = slot
    this.#head = (this.#head + 1) % this.#capacity
    return slot
  }

  /** Slots are given in the order of insertion, and nothing has been removed yet: they stay what they are. */
  #grow(): void {
    const old = this.#index
    const capacity = Math.min(old.capacity * 2, this.#capacity)
    this.#index = new TupleIndex(this.#words, capacity)
    for (let slot = 0; slot < old.size; slot++) this.#index.insert(old.keys, slot * this.#words)
    const queue = new Int32Array(capacity)
    queue.set(this.#queue)
    this.#queue = queue
  }
}
