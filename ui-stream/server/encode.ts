// Named flow columns to protobuf, byte for byte what protobufjs would write for the same message, several times faster:
// no object per record, names copied from bytes that were made once (name-bytes.ts). Field numbers are those of
// proto/vethflow/v1/flow.proto; a test holds both against each other.

import { type FlowBatch, FlowFlag } from '../../agent/capture/flow-batch.js'
import type { NamedBatch, ServiceName } from '../../agent/identity/names.js'
import { ProtocolNumber } from '../protocol/protocol-number.js'
import { ByteWriter, varintSize } from './byte-writer.js'
import type { EncodedBatch } from './encoded-batch.js'
import type { FlowRows } from './flow-rows.js'
import { HookBytes, type HookInterface } from './hook-bytes.js'
import { endpointTail, serviceParts } from './name-bytes.js'

/** All of a record that is not names or hooks: 29 fields of at most 10 bytes and nested heads, rounded up. */
const FIXED_BYTES = 640

export interface EncoderOptions {
  readonly nodeName: string
  readonly agentId: string
  readonly hookInterface: HookInterface
}

/** A batch as it travels, and the same rows as filters see them. */
export interface EncodedRows {
  readonly batch: EncodedBatch
  readonly rows: FlowRows
}

/** Encodes batches of one agent. Holds one scratch buffer; what it returns is the caller's. */
export class FlowEncoder {
  readonly #writer = new ByteWriter(256 * 1024)
  readonly #agentId: Uint8Array
  readonly #nodeName: Uint8Array
  readonly #hooks: HookBytes
  readonly #node: string

  constructor(options: EncoderOptions) {
    this.#agentId = textField(0x12, options.agentId)
    this.#nodeName = textField(0x3a, options.nodeName)
    this.#node = options.nodeName
    this.#hooks = new HookBytes(options.hookInterface)
  }

  /**
   * Encodes all rows; record r gets the sequence `firstSequence + r`. The rows that come with it are valid as long as
   * `named` is.
   */
  encode(named: NamedBatch, firstSequence: number): EncodedRows {
    const { count } = named.flows
    const writer = this.#writer
    const offsets = new Uint32Array(count + 1)
    const interfaces = new Array<readonly string[]>(count)
    const hooks = new Array<Uint8Array>(count)
    writer.position = 0
    this.#hooks.begin()
    for (let row = 0; row < count; row++) {
      offsets[row] = writer.position
      this.#record(named, row, firstSequence + row)
      interfaces[row] = this.#hooks.names
      hooks[row] = this.#hooks.bytes
    }
    offsets[count] = writer.position
    const timeUs = named.flows.timeUs.slice(0, count)
    const lastSequence = firstSequence + count - 1
    return {
      batch: { count, bytes: writer.take(), offsets, timeUs, lastSequence, shared: {} },
      rows: {
        count,
        columns: named.flows,
        source: named.source,
        destination: named.destination,
        service: named.service,
        direction: named.direction,
        nodeName: this.#node,
        interfaces,
        dropReason: undefined,
        own: { flows: named.flows, hooks },
      },
    }
  }

  #record(named: NamedBatch, row: number, sequence: number): void {
    const writer = this.#writer
    const flows = named.flows
    const source = endpointTail(named.source[row]!)
    const destination = endpointTail(named.destination[row]!)
    const service = named.service[row]
    const hooks = this.#hooks.row(flows, row)
    const parts = service === undefined ? undefined : serviceParts(service)
    const names = source.length + destination.length + (parts ? parts.head.length + parts.tail.length : 0)
    writer.reserve(FIXED_BYTES + names + hooks + this.#agentId.length + this.#nodeName.length)

    const flags = flows.flags[row]!
    const version = flows.ipVersion[row]!
    const protocol = flows.protocol[row]!
    writer.byte(0x0a)
    // Nearly all records take 128 to 16383 bytes: a length of two.
    writer.position += 2
    const start = writer.position
    writer.field(0x08, flows.id[row]!)
    writer.copy(this.#agentId)
    writer.field(0x18, flows.event[row]!)
    writer.field(0x20, flows.timeUs[row]!)
    writer.field(0x28, flows.startUs[row]!)
    writer.field(0x30, flows.endUs[row]!)
    writer.copy(this.#nodeName)
    writer.field(0x40, version)
    writer.field(0x48, protocol)
    endpoint(
      writer,
      0x52,
      named.source[row]!.kind,
      flows.source,
      row,
      version,
      flows.sourcePort[row]!,
      source,
    )
    endpoint(
      writer,
      0x5a,
      named.destination[row]!.kind,
      flows.destination,
      row,
      version,
      flows.destinationPort[row]!,
      destination,
    )
    if (service !== undefined || (flags & FlowFlag.DESTINATION_TRANSLATED) !== 0) {
      serviceField(writer, flows, row, version, service)
    }
    if ((flags & (FlowFlag.SOURCE_TRANSLATED | FlowFlag.DESTINATION_TRANSLATED)) !== 0) {
      translation(writer, flows, row, version, flags)
    }
    writer.field(0x70, named.direction[row]!)
    writer.byte(0x7a)
    counters(
      writer,
      flows.forwardPackets[row]!,
      flows.forwardBytes[row]!,
      flows.forwardTotalPackets[row]!,
      flows.forwardTotalBytes[row]!,
    )
    writer.byte(0x82)
    writer.byte(1)
    counters(
      writer,
      flows.reversePackets[row]!,
      flows.reverseBytes[row]!,
      flows.reverseTotalPackets[row]!,
      flows.reverseTotalBytes[row]!,
    )
    writer.wideField(0x88, flows.verdict[row]!)
    if (protocol === ProtocolNumber.TCP) tcp(writer, flows, row)
    else if (protocol === ProtocolNumber.ICMP || protocol === ProtocolNumber.ICMPv6) icmp(writer, flows, row)
    if (flows.tunnel[row] !== undefined) tunnel(writer, flows, row)
    this.#hooks.write(writer)
    if ((flags & FlowFlag.INITIATOR_INFERRED) !== 0) writer.wideField(0xd0, 1)
    if ((flags & FlowFlag.OWN) !== 0) writer.wideField(0xd8, 1)
    writer.wideField(0xe0, flows.endReason[row]!)
    writer.wideField(0xe8, sequence)
    if ((flags & (FlowFlag.FORWARD_UNSEEN | FlowFlag.REVERSE_UNSEEN)) !== 0)
      writer.wideField(0xf0, (flags & FlowFlag.FORWARD_UNSEEN) !== 0 ? 1 : 2)
    writer.endMessage(start, 2)
  }
}

function textField(tag: number, text: string): Uint8Array {
  const writer = new ByteWriter(64)
  writer.text(tag, text)
  return writer.take()
}

/** An address as a bytes field: its last word for IPv4, all four for IPv6. */
function addressField(
  writer: ByteWriter,
  tag: number,
  words: Uint32Array,
  row: number,
  version: number,
): void {
  writer.byte(tag)
  writer.byte(version === 4 ? 4 : 16)
  const { bytes } = writer
  let position = writer.position
  for (let i = version === 4 ? row * 4 + 3 : row * 4; i < row * 4 + 4; i++) {
    const word = words[i]!
    bytes[position++] = word >>> 24
    bytes[position++] = word >>> 16
    bytes[position++] = word >>> 8
    bytes[position++] = word
  }
  writer.position = position
}

function endpoint(
  writer: ByteWriter,
  tag: number,
  kind: number,
  words: Uint32Array,
  row: number,
  version: number,
  port: number,
  tail: Uint8Array,
): void {
  writer.byte(tag)
  const address = version === 4 ? 6 : 18
  writer.varint((kind === 0 ? 0 : 2) + address + (port === 0 ? 0 : 1 + varintSize(port)) + tail.length)
  writer.field(0x08, kind)
  addressField(writer, 0x12, words, row, version)
  writer.field(0x18, port)
  writer.copy(tail)
}

function serviceField(
  writer: ByteWriter,
  flows: FlowBatch,
  row: number,
  version: number,
  service: ServiceName | undefined,
): void {
  writer.byte(0x62)
  const start = ++writer.position
  const parts = service === undefined ? undefined : serviceParts(service)
  if (parts !== undefined) writer.copy(parts.head)
  addressField(writer, 0x2a, flows.service, row, version)
  writer.field(0x30, flows.servicePort[row]!)
  if (parts !== undefined) writer.copy(parts.tail)
  writer.endMessage(start, 1)
}

function translation(
  writer: ByteWriter,
  flows: FlowBatch,
  row: number,
  version: number,
  flags: number,
): void {
  writer.byte(0x6a)
  const start = ++writer.position
  if ((flags & FlowFlag.SOURCE_TRANSLATED) !== 0) {
    addressField(writer, 0x0a, flows.translatedSource, row, version)
    writer.field(0x10, flows.translatedSourcePort[row]!)
  }
  if ((flags & FlowFlag.DESTINATION_TRANSLATED) !== 0) {
    addressField(writer, 0x1a, flows.destination, row, version)
    writer.field(0x20, flows.destinationPort[row]!)
  }
  writer.endMessage(start, 1)
}

function counters(
  writer: ByteWriter,
  packets: number,
  bytes: number,
  allPackets: number,
  allBytes: number,
): void {
  const start = ++writer.position
  writer.field(0x08, packets)
  writer.field(0x10, bytes)
  writer.field(0x18, allPackets)
  writer.field(0x20, allBytes)
  writer.bytes[start - 1] = writer.position - start
}

function tcp(writer: ByteWriter, flows: FlowBatch, row: number): void {
  const state = flows.tcpState[row]!
  const forward = flows.tcpFlagsForward[row]!
  const reverse = flows.tcpFlagsReverse[row]!
  const rtt = flows.handshakeRttUs[row]!
  const resetBy = flows.tcpResetBy[row]!
  if ((state | forward | reverse | rtt | resetBy) === 0) return
  writer.byte(0xa2)
  writer.byte(1)
  const start = ++writer.position
  writer.field(0x08, state)
  if ((forward | reverse) !== 0) {
    writer.byte(0x12)
    const inner = ++writer.position
    writer.field(0x08, forward)
    writer.field(0x10, reverse)
    writer.bytes[inner - 1] = writer.position - inner
  }
  writer.field(0x18, rtt)
  writer.field(0x40, resetBy)
  writer.bytes[start - 1] = writer.position - start
}

function icmp(writer: ByteWriter, flows: FlowBatch, row: number): void {
  writer.byte(0xb2)
  writer.byte(1)
  const start = ++writer.position
  writer.field(0x08, flows.icmpType[row]!)
  writer.field(0x10, flows.icmpCode[row]!)
  writer.bytes[start - 1] = writer.position - start
}

function tunnel(writer: ByteWriter, flows: FlowBatch, row: number): void {
  const { type, id, source, destination } = flows.tunnel[row]!
  writer.byte(0xba)
  writer.byte(1)
  const start = ++writer.position
  writer.field(0x08, type)
  writer.field(0x10, id)
  for (const [tag, address] of [
    [0x1a, source],
    [0x22, destination],
  ] as const) {
    if (address.length === 0 || address.length > 16) continue
    writer.byte(tag)
    writer.byte(address.length)
    writer.copy(address)
  }
  writer.bytes[start - 1] = writer.position - start
}
