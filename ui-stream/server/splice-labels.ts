// Puts labels into records that were encoded without them, for the clients that ask for labels. Takes a `flows` field of
// StreamMessage apart no deeper than its endpoints; records are this server's own, so they are well formed.

import { ByteWriter } from './byte-writer.js'

const SOURCE_TAG = 0x52
const DESTINATION_TAG = 0x5a
const LABELS_FIELD = 10
const WIRE_VARINT = 0
const WIRE_BYTES = 2

/** Reads tags and lengths of one record. */
class Walker {
  at = 0
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  varint(): number {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#bytes[this.at++]!
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }

  /** Passes over the value of a field. */
  skip(wire: number): void {
    if (wire === WIRE_VARINT) this.varint()
    else if (wire === WIRE_BYTES) {
      const length = this.varint()
      this.at += length
    } else throw new Error(`a flow record holds wire type ${wire}`)
  }
}

/** The same record (tag, length, bytes) with the given label fields (bytes of Endpoint's field 10) in its endpoints. */
export function spliceLabels(record: Uint8Array, source: Uint8Array, destination: Uint8Array): Uint8Array {
  const writer = new ByteWriter(record.length + source.length + destination.length + 16)
  const walker = new Walker(record)
  walker.varint()
  walker.varint()
  writer.byte(0x0a)
  writer.position += 2
  const start = writer.position
  while (walker.at < record.length) {
    const from = walker.at
    const tag = walker.varint()
    const labels = tag === SOURCE_TAG ? source : tag === DESTINATION_TAG ? destination : undefined
    if (labels === undefined) {
      walker.skip(tag & 7)
      writer.copy(record.subarray(from, walker.at))
      continue
    }
    const length = walker.varint()
    const body = walker.at
    const end = body + length
    let split = body
    while (walker.at < end) {
      const inner = walker.varint()
      if (inner >>> 3 > LABELS_FIELD) break
      walker.skip(inner & 7)
      split = walker.at
    }
    walker.at = end
    writer.byte(tag)
    writer.varint(length + labels.length)
    writer.copy(record.subarray(body, split))
    writer.copy(labels)
    writer.copy(record.subarray(split, end))
  }
  writer.endMessage(start, 2)
  return writer.take()
}
