// Records out of columns and packed bytes, byte for byte as they were before record-pack.ts took them apart.

import { FlowFlag } from '../../agent/capture/flow-batch.js'
import type { Name, ServiceName } from '../../agent/identity/names.js'
import { WireReader } from '../protocol/wire-reader.js'
import { type ByteWriter, varintSize } from './byte-writer.js'
import type { FlowColumns } from './flow-columns.js'
import { endpointTail, serviceParts } from './name-bytes.js'
import { Mask, More, unzigzag } from './record-pack.js'
import type { Place } from './vocabulary.js'

/** All of a record that is not names, place or rest, rounded up. */
const FIXED_BYTES = 512
const ALL = 0xffff_ffff

/** The names that a row's columns speak of. */
export interface RowNames {
  readonly source: Name
  readonly destination: Name
  readonly service: ServiceName | undefined
  readonly place: Place
}

/** Writes one record after the other. */
export class RecordUnpacker {
  readonly #reader = new WireReader()
  readonly #counters = new Float64Array(8)
  #restAt = 0
  #restEnd = 0

  /** Appends the record of `row`, whose packed bytes are `packed[from .. to]`, as a `flows` field of StreamMessage. */
  write(
    writer: ByteWriter,
    columns: FlowColumns,
    row: number,
    names: RowNames,
    packed: Uint8Array,
    from: number,
    to: number,
  ): void {
    const reader = this.#reader
    reader.begin(packed, from, to)
    const mask = packed[reader.at++]!
    const more = (mask & Mask.MORE) === 0 ? 0 : packed[reader.at++]!
    if ((more & More.WHOLE) !== 0) {
      writer.reserve(to - reader.at)
      writer.copy(packed.subarray(reader.at, to))
      return
    }
    const { place, service } = names
    const source = endpointTail(names.source)
    const destination = endpointTail(names.destination)
    const parts = service === undefined ? undefined : serviceParts(service)
    const shared =
      source.length +
      destination.length +
      (parts === undefined ? 0 : parts.head.length + parts.tail.length) +
      place.bytes.length
    writer.reserve(FIXED_BYTES + shared + to - from)

    const timeUs = columns.timeUs[row]!
    const version = columns.ipVersion[row]!
    const id = reader.varint()
    const start = (mask & Mask.START) === 0 ? 0 : timeUs - unzigzag(reader.varint())
    const end = (mask & Mask.END) === 0 ? 0 : timeUs - unzigzag(reader.varint())
    if ((mask & Mask.FORWARD) !== 0) this.#readCounters(0)
    if ((mask & Mask.REVERSE) !== 0) this.#readCounters(4)
    const tcp = (mask & Mask.TCP) === 0 ? 0 : packed[reader.at++]!
    const rtt = (mask & Mask.TCP) === 0 ? 0 : reader.varint()
    const icmpType = (more & More.ICMP) === 0 ? 0 : packed[reader.at++]!
    const icmpCode = (more & More.ICMP) === 0 ? 0 : packed[reader.at++]!
    this.#restEnd = (more & More.REST) === 0 ? 0 : reader.length()
    this.#restAt = reader.at

    writer.byte(0x0a)
    // Nearly all records take 128 to 16383 bytes: a length of two.
    writer.position += 2
    const body = writer.position
    writer.field(0x08, id)
    writer.copyRange(place.bytes, 0, place.nodeAt)
    writer.field(0x18, columns.event[row]!)
    writer.field(0x20, timeUs)
    writer.field(0x28, start)
    writer.field(0x30, end)
    writer.copyRange(place.bytes, place.nodeAt, place.hooksAt)
    writer.field(0x40, version)
    writer.field(0x48, columns.protocol[row]!)
    endpoint(
      writer,
      0x52,
      names.source.kind,
      columns,
      columns.sourceAddress[row]!,
      version,
      columns.sourcePort[row]!,
      source,
    )
    endpoint(
      writer,
      0x5a,
      names.destination.kind,
      columns,
      columns.destinationAddress[row]!,
      version,
      columns.destinationPort[row]!,
      destination,
    )
    if ((mask & Mask.SERVICE) !== 0) {
      writer.byte(0x62)
      const inner = ++writer.position
      if (parts !== undefined) writer.copy(parts.head)
      address(writer, 0x2a, columns, columns.serviceAddress[row]!, version)
      writer.field(0x30, columns.servicePort[row]!)
      if (parts !== undefined) writer.copy(parts.tail)
      writer.endMessage(inner, 1)
    } else this.#copyRest(writer, 12)
    if ((mask & Mask.TRANSLATED) !== 0) {
      writer.byte(0x6a)
      const inner = ++writer.position
      address(writer, 0x1a, columns, columns.destinationAddress[row]!, version)
      writer.field(0x20, columns.destinationPort[row]!)
      writer.endMessage(inner, 1)
    } else this.#copyRest(writer, 13)
    writer.field(0x70, columns.direction[row]!)
    if ((mask & Mask.FORWARD) !== 0) {
      writer.byte(0x7a)
      this.#writeCounters(writer, 0)
    } else this.#copyRest(writer, 15)
    if ((mask & Mask.REVERSE) !== 0) {
      writer.byte(0x82)
      writer.byte(1)
      this.#writeCounters(writer, 4)
    } else this.#copyRest(writer, 16)
    writer.wideField(0x88, columns.verdict[row]!)
    this.#copyRest(writer, 19)
    if ((mask & Mask.TCP) !== 0) {
      writer.byte(0xa2)
      writer.byte(1)
      const inner = ++writer.position
      writer.field(0x08, tcp >>> 4)
      const forward = columns.tcpFlagsForward[row]!
      const reverse = columns.tcpFlagsReverse[row]!
      if ((forward | reverse) !== 0) {
        writer.byte(0x12)
        const flags = ++writer.position
        writer.field(0x08, forward)
        writer.field(0x10, reverse)
        writer.bytes[flags - 1] = writer.position - flags
      }
      writer.field(0x18, rtt)
      writer.field(0x40, tcp & 15)
      writer.bytes[inner - 1] = writer.position - inner
    }
    this.#copyRest(writer, 21)
    if ((more & More.ICMP) !== 0) {
      writer.byte(0xb2)
      writer.byte(1)
      const inner = ++writer.position
      writer.field(0x08, icmpType)
      writer.field(0x10, icmpCode)
      writer.bytes[inner - 1] = writer.position - inner
    }
    this.#copyRest(writer, 23)
    writer.copyRange(place.bytes, place.hooksAt, place.bytes.length)
    this.#copyRest(writer, 25)
    if ((more & More.INFERRED) !== 0) writer.wideField(0xd0, 1)
    if ((columns.flags[row]! & FlowFlag.OWN) !== 0) writer.wideField(0xd8, 1)
    writer.wideField(0xe0, more & More.REASON)
    writer.wideField(0xe8, columns.firstSequence + row)
    this.#copyRest(writer, ALL)
    writer.endMessage(body, 2)
  }

  /** Copies those of the fields kept as they are whose number is at most `field`. */
  #copyRest(writer: ByteWriter, field: number): void {
    const reader = this.#reader
    while (this.#restAt < this.#restEnd) {
      reader.at = this.#restAt
      const tag = reader.varint()
      if (tag >>> 3 > field) return
      reader.skip(tag & 7)
      writer.copy(reader.bytes.subarray(this.#restAt, reader.at))
      this.#restAt = reader.at
    }
  }

  #readCounters(at: number): void {
    const counters = this.#counters
    const reader = this.#reader
    for (let i = at; i < at + 4; i++) counters[i] = reader.varint()
  }

  #writeCounters(writer: ByteWriter, at: number): void {
    const counters = this.#counters
    const start = ++writer.position
    const packets = counters[at]!
    const bytes = counters[at + 1]!
    writer.field(0x08, packets)
    writer.field(0x10, bytes)
    writer.field(0x18, packets + counters[at + 2]!)
    writer.field(0x20, bytes + counters[at + 3]!)
    writer.bytes[start - 1] = writer.position - start
  }
}

function address(
  writer: ByteWriter,
  tag: number,
  columns: FlowColumns,
  value: number,
  version: number,
): void {
  writer.byte(tag)
  if (version === 4) {
    writer.byte(4)
    word(writer, value)
    return
  }
  writer.byte(16)
  for (let i = 0; i < 4; i++) word(writer, columns.wide[value + i]!)
}

function word(writer: ByteWriter, value: number): void {
  const { bytes, position } = writer
  bytes[position] = value >>> 24
  bytes[position + 1] = value >>> 16
  bytes[position + 2] = value >>> 8
  bytes[position + 3] = value
  writer.position = position + 4
}

function endpoint(
  writer: ByteWriter,
  tag: number,
  kind: number,
  columns: FlowColumns,
  value: number,
  version: number,
  port: number,
  tail: Uint8Array,
): void {
  writer.byte(tag)
  const ip = version === 4 ? 6 : 18
  writer.varint((kind === 0 ? 0 : 2) + ip + (port === 0 ? 0 : 1 + varintSize(port)) + tail.length)
  writer.field(0x08, kind)
  address(writer, 0x12, columns, value, version)
  writer.field(0x18, port)
  writer.copy(tail)
}
