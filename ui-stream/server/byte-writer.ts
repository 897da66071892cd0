// A growing byte buffer with the few protobuf primitives that the encoder needs
// (https://protobuf.dev/programming-guides/encoding). Knows nothing of messages.

const TWO_32 = 0x1_0000_0000
const utf8 = new TextEncoder()

/**
 * Appends to one buffer. Callers make room with `reserve` before they write; the methods do not check it themselves
 * (writes beyond a typed array's end would be dropped silently, so the bound given to `reserve` has to be true).
 */
export class ByteWriter {
  bytes: Uint8Array
  position = 0

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity)
  }

  /** Makes sure that `count` more bytes fit; what has been written stays. */
  reserve(count: number): void {
    const needed = this.position + count
    if (needed <= this.bytes.length) return
    const larger = new Uint8Array(Math.max(needed, this.bytes.length * 2))
    larger.set(this.bytes.subarray(0, this.position))
    this.bytes = larger
  }

  byte(value: number): void {
    this.bytes[this.position++] = value
  }

  /** A whole number from 0 to 2^53 - 1, at most 8 bytes. */
  varint(value: number): void {
    const bytes = this.bytes
    let position = this.position
    let rest = value
    if (value >= TWO_32) {
      const low = value >>> 0
      const high = (value - low) / TWO_32
      bytes[position++] = (low & 127) | 128
      bytes[position++] = ((low >>> 7) & 127) | 128
      bytes[position++] = ((low >>> 14) & 127) | 128
      bytes[position++] = ((low >>> 21) & 127) | 128
      rest = high * 16 + (low >>> 28)
    }
    while (rest > 127) {
      bytes[position++] = (rest & 127) | 128
      rest = rest >>> 7
    }
    bytes[position++] = rest
    this.position = position
  }

  /** A number field with a one-byte tag; zero is left out (proto3). */
  field(tag: number, value: number): void {
    if (value === 0) return
    if (value < 128) {
      const position = this.position
      this.bytes[position] = tag
      this.bytes[position + 1] = value
      this.position = position + 2
      return
    }
    this.bytes[this.position++] = tag
    this.varint(value)
  }

  /** A number field with a two-byte tag (fields 16 to 31); zero is left out. */
  wideField(tag: number, value: number): void {
    if (value === 0) return
    const position = this.position
    this.bytes[position] = tag
    this.bytes[position + 1] = 1
    this.position = position + 2
    this.varint(value)
  }

  /** Copies bytes as they are. */
  copy(source: Uint8Array): void {
    const length = source.length
    const bytes = this.bytes
    let position = this.position
    // Below about 50 bytes a loop costs less than TypedArray.set.
    if (length > 48) bytes.set(source, position)
    else for (let i = 0; i < length; i++) bytes[position + i] = source[i]!
    position += length
    this.position = position
  }

  /** Copies bytes `from` to `to - 1` as they are. */
  copyRange(source: Uint8Array, from: number, to: number): void {
    const { bytes } = this
    let { position } = this
    for (let i = from; i < to; i++) bytes[position++] = source[i]!
    this.position = position
  }

  /** A text field with a one-byte tag; the empty text is left out. Makes its own room. */
  text(tag: number, value: string | undefined): void {
    if (value === undefined || value === '') return
    const encoded = utf8.encode(value)
    this.reserve(encoded.length + 12)
    this.byte(tag)
    this.varint(encoded.length)
    this.copy(encoded)
  }

  /**
   * Ends a message whose body began at `start`, where `lengthBytes` had been left free before it: writes the length
   * there, and moves the body when its length takes another number of bytes.
   */
  endMessage(start: number, lengthBytes: number): void {
    const length = this.position - start
    const needed = varintSize(length)
    if (needed !== lengthBytes) {
      this.reserve(needed)
      this.bytes.copyWithin(start - lengthBytes + needed, start, this.position)
    }
    this.position = start - lengthBytes
    this.varint(length)
    this.position += length
  }

  /** A copy of what has been written. */
  take(): Uint8Array {
    return this.bytes.slice(0, this.position)
  }
}

/** Bytes that a number from 0 to 2^53 - 1 takes as a varint. */
export function varintSize(value: number): number {
  if (value < 128) return 1
  if (value < 16384) return 2
  let size = 3
  for (let bound = 2097152; value >= bound; bound *= 128) size++
  return size
}
