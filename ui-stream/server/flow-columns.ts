// What filters look at, row by row, as columns that are allocated once: numbers of a vocabulary for what records share,
// addresses in a word where they are IPv4. Knows nothing of a record's bytes.

import type { FlowRows } from './flow-rows.js'
import type { Vocabulary } from './vocabulary.js'

/** Bytes of all columns of one row. */
export const COLUMN_BYTES = 50

/** Rows 0 to count - 1, with the sequences from `firstSequence` on. */
export class FlowColumns {
  readonly firstSequence: number
  readonly capacity: number
  readonly vocabulary: Vocabulary
  count = 0
  /** Of its records. */
  earliestUs = Number.POSITIVE_INFINITY
  latestUs = 0

  readonly timeUs: Float64Array
  /** Numbers of the vocabulary's names, services (0: none) and places. */
  readonly source: Uint32Array
  readonly destination: Uint32Array
  readonly service: Uint32Array
  readonly place: Uint32Array
  /** IPv4 as one word; IPv6 as the index of the first of its four words in `wide`. */
  readonly sourceAddress: Uint32Array
  readonly destinationAddress: Uint32Array
  readonly serviceAddress: Uint32Array
  readonly sourcePort: Uint16Array
  readonly destinationPort: Uint16Array
  readonly servicePort: Uint16Array
  readonly event: Uint8Array
  readonly protocol: Uint8Array
  readonly ipVersion: Uint8Array
  /** FlowFlag bits. */
  readonly flags: Uint8Array
  readonly verdict: Uint8Array
  readonly direction: Uint8Array
  readonly tcpFlagsForward: Uint8Array
  readonly tcpFlagsReverse: Uint8Array
  wide = new Uint32Array(0)
  #wideWords = 0

  constructor(firstSequence: number, rows: number, vocabulary: Vocabulary) {
    this.firstSequence = firstSequence
    this.capacity = rows
    this.vocabulary = vocabulary
    this.timeUs = new Float64Array(rows)
    this.source = new Uint32Array(rows)
    this.destination = new Uint32Array(rows)
    this.service = new Uint32Array(rows)
    this.place = new Uint32Array(rows)
    this.sourceAddress = new Uint32Array(rows)
    this.destinationAddress = new Uint32Array(rows)
    this.serviceAddress = new Uint32Array(rows)
    this.sourcePort = new Uint16Array(rows)
    this.destinationPort = new Uint16Array(rows)
    this.servicePort = new Uint16Array(rows)
    this.event = new Uint8Array(rows)
    this.protocol = new Uint8Array(rows)
    this.ipVersion = new Uint8Array(rows)
    this.flags = new Uint8Array(rows)
    this.verdict = new Uint8Array(rows)
    this.direction = new Uint8Array(rows)
    this.tcpFlagsForward = new Uint8Array(rows)
    this.tcpFlagsReverse = new Uint8Array(rows)
  }

  /** Bytes of IPv6 addresses, beside COLUMN_BYTES for each row of the capacity. */
  get wideBytes(): number {
    return this.wide.byteLength
  }

  /** Takes over a row; there has to be room. `place` is a number of the vocabulary. */
  append(rows: FlowRows, row: number, place: number): void {
    const at = this.count
    const from = rows.columns
    const { vocabulary } = this
    const sequence = this.firstSequence + at
    const timeUs = from.timeUs[row]!
    this.timeUs[at] = timeUs
    const destination = rows.destination[row]!
    const service = rows.service[row]
    this.source[at] = vocabulary.names.number(rows.source[row]!, sequence)
    this.destination[at] = vocabulary.names.number(destination, sequence)
    if (service === undefined) this.service[at] = 0
    else {
      this.service[at] = vocabulary.services.number(service, sequence)
      vocabulary.answered(service, destination)
    }
    this.place[at] = place
    const version = from.ipVersion[row]!
    this.ipVersion[at] = version
    const word = row * 4 + 3
    if (version === 4) {
      this.sourceAddress[at] = from.source[word]!
      this.destinationAddress[at] = from.destination[word]!
      this.serviceAddress[at] = from.service[word]!
    } else {
      this.sourceAddress[at] = this.#keep(from.source, row)
      this.destinationAddress[at] = this.#keep(from.destination, row)
      // Most connections are not translated.
      this.serviceAddress[at] = sameWords(from.service, from.destination, row)
        ? this.destinationAddress[at]!
        : this.#keep(from.service, row)
    }
    this.sourcePort[at] = from.sourcePort[row]!
    this.destinationPort[at] = from.destinationPort[row]!
    this.servicePort[at] = from.servicePort[row]!
    this.event[at] = from.event[row]!
    this.protocol[at] = from.protocol[row]!
    this.flags[at] = from.flags[row]!
    this.verdict[at] = from.verdict[row]!
    this.direction[at] = rows.direction[row]!
    this.tcpFlagsForward[at] = from.tcpFlagsForward[row]!
    this.tcpFlagsReverse[at] = from.tcpFlagsReverse[row]!
    if (timeUs > this.latestUs) this.latestUs = timeUs
    if (timeUs < this.earliestUs) this.earliestUs = timeUs
    this.count = at + 1
  }

  #keep(words: Uint32Array, row: number): number {
    const at = this.#wideWords
    if (at + 4 > this.wide.length) {
      const larger = new Uint32Array(Math.max(256, this.wide.length * 2))
      larger.set(this.wide)
      this.wide = larger
    }
    for (let i = 0; i < 4; i++) this.wide[at + i] = words[row * 4 + i]!
    this.#wideWords = at + 4
    return at
  }
}

function sameWords(a: Uint32Array, b: Uint32Array, row: number): boolean {
  const at = row * 4
  return a[at] === b[at] && a[at + 1] === b[at + 1] && a[at + 2] === b[at + 2] && a[at + 3] === b[at + 3]
}
