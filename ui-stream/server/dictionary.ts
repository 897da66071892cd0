// Numbers for things that many records share (names, services, places), so that a record holds four bytes in place of
// them and a filter asks about each of them once. A number may be given to something else after what it stood for has
// been swept; `epoch` moves on then, and whoever keeps answers by number begins anew.

/** Numbers count from 1; 0 stands for nothing. */
export class Dictionary<T extends object> {
  /** By number. */
  readonly values: (T | undefined)[] = [undefined]
  /** Moves on when a number may have come to mean something else. */
  epoch = 0
  /** What the values take in memory, by the estimate given. */
  bytes = 0
  readonly #numbers = new Map<T, number>()
  readonly #size: (value: T) => number
  readonly #swept: (value: T) => void
  readonly #free: number[] = []
  /** By number: the last sequence of a record that uses it. */
  #used = new Float64Array(1024)
  /** No value was last used before this sequence. */
  #oldest = Number.POSITIVE_INFINITY

  /** @param size bytes that a value takes, its place in here included; the same whenever it is asked */
  constructor(size: (value: T) => number, swept: (value: T) => void = () => {}) {
    this.#size = size
    this.#swept = swept
  }

  /** How many things have numbers. */
  get size(): number {
    return this.#numbers.size
  }

  /** The number of a value, used by the record with this sequence (sequences ascend). */
  number(value: T, sequence: number): number {
    let number = this.#numbers.get(value)
    if (number === undefined) {
      number = this.#add(value)
      if (sequence < this.#oldest) this.#oldest = sequence
    }
    this.#used[number] = sequence
    return number
  }

  /** A record with this sequence uses the number of something that is there. */
  use(number: number, sequence: number): void {
    this.#used[number] = sequence
  }

  /** Forgets everything that no record from `firstSequence` on uses. */
  sweep(firstSequence: number): void {
    if (firstSequence <= this.#oldest) return
    let swept = false
    let oldest = Number.POSITIVE_INFINITY
    for (let number = 1; number < this.values.length; number++) {
      const value = this.values[number]
      if (value === undefined) continue
      const used = this.#used[number]!
      if (used >= firstSequence) {
        if (used < oldest) oldest = used
        continue
      }
      this.#numbers.delete(value)
      this.values[number] = undefined
      this.#free.push(number)
      this.bytes -= this.#size(value)
      this.#swept(value)
      swept = true
    }
    if (swept) this.epoch++
    this.#oldest = oldest
  }

  #add(value: T): number {
    const number = this.#free.pop() ?? this.values.length
    if (number >= this.#used.length) {
      const larger = new Float64Array(this.#used.length * 2)
      larger.set(this.#used)
      this.#used = larger
    }
    this.values[number] = value
    this.#numbers.set(value, number)
    this.bytes += this.#size(value)
    return number
  }
}
