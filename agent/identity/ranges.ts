// Address ranges: those that somebody has claimed, such as pod CIDRs (is this address inside any?), and those that have
// a value (inside which?).
// One probe per prefix length in use, however many ranges there are. No allocation on lookup.

import type { AddressRange, AddressWords } from './address.js'
import { NONE, TupleTable } from './word-table.js'

const EVERY = 0xffffffff

function maskWord(word: number, bits: number): number {
  if (bits >= 32) return word
  return bits <= 0 ? 0 : (word & (EVERY << (32 - bits))) >>> 0
}

function masked(words: AddressWords, bits: number): AddressWords {
  return [
    maskWord(words[0], bits),
    maskWord(words[1], bits - 32),
    maskWord(words[2], bits - 64),
    maskWord(words[3], bits - 96),
  ]
}

export class RangeSet {
  /** Prefix length (of 128) -> how often it is in use. */
  readonly #lengths = new Map<number, number>()
  #bits: number[] = []
  /** Masked address and length -> how many claim it. */
  readonly #claims = new TupleTable()

  add(range: AddressRange): void {
    const [w0, w1, w2, w3] = masked(range.words, range.bits)
    const count = this.#claims.get(w0, w1, w2, w3, range.bits)
    this.#claims.set(w0, w1, w2, w3, range.bits, Math.max(count, 0) + 1)
    this.#lengths.set(range.bits, (this.#lengths.get(range.bits) ?? 0) + 1)
    this.#bits = [...this.#lengths.keys()]
  }

  /** Takes back one `add` of the same range. */
  delete(range: AddressRange): void {
    const [w0, w1, w2, w3] = masked(range.words, range.bits)
    const count = this.#claims.get(w0, w1, w2, w3, range.bits)
    if (count < 1) return
    if (count === 1) this.#claims.delete(w0, w1, w2, w3, range.bits)
    else this.#claims.set(w0, w1, w2, w3, range.bits, count - 1)
    const uses = (this.#lengths.get(range.bits) ?? 1) - 1
    if (uses === 0) this.#lengths.delete(range.bits)
    else this.#lengths.set(range.bits, uses)
    this.#bits = [...this.#lengths.keys()]
  }

  has(w0: number, w1: number, w2: number, w3: number): boolean {
    for (let i = 0; i < this.#bits.length; i++) {
      const bits = this.#bits[i]!
      const found = this.#claims.get(
        maskWord(w0, bits),
        maskWord(w1, bits - 32),
        maskWord(w2, bits - 64),
        maskWord(w3, bits - 96),
        bits,
      )
      if (found > 0) return true
    }
    return false
  }
}

/** Ranges with a number for each; where ranges lie within each other the longest prefix counts. */
export class RangeMap {
  #bits: number[] = []
  readonly #values = new TupleTable()

  /** `value` is 0 or more; the later one counts where a range is set twice. */
  set(range: AddressRange, value: number): void {
    const [w0, w1, w2, w3] = masked(range.words, range.bits)
    this.#values.set(w0, w1, w2, w3, range.bits, value)
    if (!this.#bits.includes(range.bits)) this.#bits = [...this.#bits, range.bits].sort((a, b) => b - a)
  }

  /** The value of the narrowest range that the address is in, or NONE. */
  get(w0: number, w1: number, w2: number, w3: number): number {
    for (let i = 0; i < this.#bits.length; i++) {
      const bits = this.#bits[i]!
      const found = this.#values.get(
        maskWord(w0, bits),
        maskWord(w1, bits - 32),
        maskWord(w2, bits - 64),
        maskWord(w3, bits - 96),
        bits,
      )
      if (found !== NONE) return found
    }
    return NONE
  }
}
