// Reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding) byte by byte, without making anything.
// Of damaged bytes it says so (`bad`) and goes on at the end.
// Runs in browsers.

const TWO_32 = 0x1_0000_0000

/** Stands at `at` within bytes that end at `end`. */
export class WireReader {
  bytes: Uint8Array = new Uint8Array(0)
  at = 0
  /** Something was not as it should be: a number beyond 2^53 or longer than it need be, bytes beyond the end. */
  bad = false
  #end = 0

  begin(bytes: Uint8Array, at: number, end: number): void {
    this.bytes = bytes
    this.at = at
    this.bad = false
    this.#end = end
  }

  /** A whole number from 0 to 2^53 - 1, in as few bytes as it takes. */
  varint(): number {
    const { bytes } = this
    const first = bytes[this.at++]!
    if (first < 128) return first
    let value = first & 127
    let factor = 128
    for (let i = 1; i < 8; i++, factor *= 128) {
      const byte = bytes[this.at++]!
      value += (byte & 127) * factor
      if (byte >= 128) continue
      if (byte === 0 || value > Number.MAX_SAFE_INTEGER || this.at > this.#end) this.#fail()
      return value
    }
    this.#fail()
    return 0
  }

  /** A number whose field proto3 would leave out if it were zero. */
  positive(): number {
    const value = this.varint()
    if (value === 0) this.#fail()
    return value
  }

  /** The length of what follows; where it ends. */
  length(): number {
    const length = this.varint()
    const end = this.at + length
    if (end <= this.#end) return end
    this.#fail()
    return this.#end
  }

  /** Passes over a value. */
  skip(wire: number): void {
    if (wire === 0) {
      while (this.at < this.#end && this.bytes[this.at]! >= 128) this.at++
      this.at++
    } else if (wire === 1) this.at += 8
    else if (wire === 2) this.at = this.length()
    else if (wire === 5) this.at += 4
    else this.#fail()
    if (this.at > this.#end) this.#fail()
  }

  /** Passes over this byte if it is the next. */
  is(byte: number): boolean {
    if (this.bytes[this.at] !== byte) return false
    this.at++
    return true
  }

  /** Passes over four bytes if they are this word in network order. */
  isWord(word: number): boolean {
    const { bytes, at } = this
    this.at = at + 4
    const found = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
    return found >>> 0 === word % TWO_32
  }

  /** Passes over these bytes if they are the next. */
  matches(wanted: Uint8Array): boolean {
    const { bytes, at } = this
    for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false
    this.at = at + wanted.length
    return true
  }

  #fail(): void {
    this.bad = true
    this.at = this.#end
  }
}
