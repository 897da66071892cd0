// A piece of history: encoded records with the columns that filters need, in memory that is allocated once and never
// moved. Grows until it is full; is dropped as a whole.

import type { Name, ServiceName } from '../../agent/identity/names.js'
import type { EncodedBatch } from './encoded-batch.js'
import type { FilterColumns, FlowRows } from './flow-rows.js'

/** Bytes of all columns of one row: typed arrays, and six references. */
export const ROW_BYTES = 75 + 48

/** Records `firstSequence` to `firstSequence + count - 1`. Implements FlowRows over what it holds. */
export class Chunk implements FlowRows {
  readonly firstSequence: number
  readonly capacity: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  readonly timeUs: Float64Array
  readonly columns: FilterColumns
  readonly source: Name[] = []
  readonly destination: Name[] = []
  readonly service: (ServiceName | undefined)[] = []
  readonly direction: Uint8Array
  readonly nodeName: string[] = []
  readonly interfaces: (readonly string[])[] = []
  readonly dropReason: (string | undefined)[] = []
  /** Distinct names that it holds on to. */
  readonly names = new Set<Name | ServiceName>()
  count = 0
  /** Of its records. */
  latestUs = 0

  constructor(firstSequence: number, rows: number, bytes: number) {
    this.firstSequence = firstSequence
    this.capacity = rows
    this.bytes = new Uint8Array(bytes)
    this.offsets = new Uint32Array(rows + 1)
    this.timeUs = new Float64Array(rows)
    this.direction = new Uint8Array(rows)
    this.columns = {
      event: new Uint8Array(rows),
      timeUs: this.timeUs,
      ipVersion: new Uint8Array(rows),
      protocol: new Uint8Array(rows),
      flags: new Uint8Array(rows),
      source: new Uint32Array(rows * 4),
      sourcePort: new Uint16Array(rows),
      destination: new Uint32Array(rows * 4),
      destinationPort: new Uint16Array(rows),
      service: new Uint32Array(rows * 4),
      servicePort: new Uint16Array(rows),
      verdict: new Uint8Array(rows),
      tcpFlagsForward: new Uint8Array(rows),
      tcpFlagsReverse: new Uint8Array(rows),
    }
  }

  /** What it takes in memory, names apart. */
  get allocated(): number {
    return this.bytes.length + this.capacity * ROW_BYTES
  }

  /** True when a record of `length` bytes finds room. */
  fits(length: number): boolean {
    return this.count < this.capacity && this.offsets[this.count]! + length <= this.bytes.length
  }

  /** Copies a record; `fits` has to be true. Returns the names that were new to it. */
  append(batch: EncodedBatch, rows: FlowRows, row: number): void {
    const at = this.count
    const start = this.offsets[at]!
    const record = batch.bytes.subarray(batch.offsets[row]!, batch.offsets[row + 1]!)
    this.bytes.set(record, start)
    this.offsets[at + 1] = start + record.length
    const { columns: to } = this
    const { columns: from } = rows
    to.event[at] = from.event[row]!
    to.timeUs[at] = from.timeUs[row]!
    to.ipVersion[at] = from.ipVersion[row]!
    to.protocol[at] = from.protocol[row]!
    to.flags[at] = from.flags[row]!
    for (let i = 0; i < 4; i++) {
      to.source[at * 4 + i] = from.source[row * 4 + i]!
      to.destination[at * 4 + i] = from.destination[row * 4 + i]!
      to.service[at * 4 + i] = from.service[row * 4 + i]!
    }
    to.sourcePort[at] = from.sourcePort[row]!
    to.destinationPort[at] = from.destinationPort[row]!
    to.servicePort[at] = from.servicePort[row]!
    to.verdict[at] = from.verdict[row]!
    to.tcpFlagsForward[at] = from.tcpFlagsForward[row]!
    to.tcpFlagsReverse[at] = from.tcpFlagsReverse[row]!
    this.source.push(rows.source[row]!)
    this.destination.push(rows.destination[row]!)
    this.service.push(rows.service[row])
    this.direction[at] = rows.direction[row]!
    this.nodeName.push(typeof rows.nodeName === 'string' ? rows.nodeName : rows.nodeName[row]!)
    this.interfaces.push(rows.interfaces[row]!)
    this.dropReason.push(rows.dropReason?.[row])
    this.latestUs = Math.max(this.latestUs, this.timeUs[at]!)
    this.count++
  }
}
