// A piece of history: columns, and what they do not hold of each record packed behind one another, in memory that is
// allocated once and never moved. Grows until it is full; is dropped as a whole.

import type { Name } from '../../agent/identity/names.js'
import { ByteWriter } from './byte-writer.js'
import { type EncodedBatch, withLabels } from './encoded-batch.js'
import { COLUMN_BYTES, FlowColumns } from './flow-columns.js'
import type { FlowRows } from './flow-rows.js'
import { packOwn } from './own-pack.js'
import { RecordPacker, writeWhole } from './record-pack.js'
import { RecordUnpacker, type RowNames } from './record-unpack.js'
import type { Place, Vocabulary } from './vocabulary.js'

/** Bytes of one row, packed bytes apart. */
export const ROW_BYTES = COLUMN_BYTES + 4

const UNKNOWN: Name = Object.freeze({ kind: 0 })
const NOWHERE: Place = Object.freeze({
  nodeName: '',
  interfaces: [],
  dropReason: undefined,
  bytes: new Uint8Array(0),
  nodeAt: 0,
  hooksAt: 0,
  key: '',
})

const packer = new RecordPacker()
const unpacker = new RecordUnpacker()
const scratch = new ByteWriter(4096)
const output = new ByteWriter(256 * 1024)
/** More than this is not kept for the next read. */
const MOST_OUTPUT = 1024 * 1024

/** Records `firstSequence` to `firstSequence + count - 1`. */
export class Chunk extends FlowColumns {
  readonly #packed: Uint8Array
  readonly #offsets: Uint32Array
  /** The place that each list of interfaces led to last. */
  readonly #lately = new Map<readonly string[], number>()
  /** The place of each list of observations of this node that has come by. */
  readonly #places = new Map<Uint8Array, number>()

  constructor(firstSequence: number, rows: number, bytes: number, vocabulary: Vocabulary) {
    super(firstSequence, rows, vocabulary)
    this.#packed = new Uint8Array(bytes)
    this.#offsets = new Uint32Array(rows + 1)
  }

  /** What it takes in memory, the vocabulary apart. */
  get allocated(): number {
    return this.#packed.length + this.capacity * ROW_BYTES + this.wideBytes
  }

  /** Bytes that its records take beside their columns. */
  get packedBytes(): number {
    return this.#offsets[this.count]!
  }

  /** Takes over a record. Says 0, or, when it finds no room, the bytes that it would need. */
  add(batch: EncodedBatch, rows: FlowRows, row: number): number {
    const { bytes, offsets } = batch
    const from = offsets[row]!
    const to = offsets[row + 1]!
    scratch.position = 0
    const own = rows.own
    const hooks = own?.hooks[row]
    const place = hooks === undefined ? undefined : this.#places.get(hooks)
    const direct = place !== undefined && own !== undefined && packOwn(scratch, own, rows, row)
    if (!direct) {
      const taken = packer.read(bytes, from, to, rows, row, this.firstSequence + this.count)
      if (taken) packer.write(scratch, bytes, rows.columns.timeUs[row]!)
      else writeWhole(scratch, bytes, from, to)
    }
    const length = scratch.position
    const at = this.#offsets[this.count]!
    if (this.count >= this.capacity || at + length > this.#packed.length) return length
    const packed = this.#packed
    const source = scratch.bytes
    if (length > 64) packed.set(source.subarray(0, length), at)
    else for (let i = 0; i < length; i++) packed[at + i] = source[i]!
    this.#offsets[this.count + 1] = at + length
    if (direct) {
      this.vocabulary.places.use(place, this.firstSequence + this.count)
      this.append(rows, row, place)
    } else {
      const number = this.#place(batch, rows, row)
      if (hooks !== undefined && packer.hooksEnd - packer.hooksStart === hooks.length) {
        if (this.#places.size >= 1024) this.#places.clear()
        this.#places.set(hooks, number)
      }
      this.append(rows, row, number)
    }
    return 0
  }

  /** The number of the place that the record just read speaks of. */
  #place({ bytes }: EncodedBatch, rows: FlowRows, row: number): number {
    const { places } = this.vocabulary
    const interfaces = rows.interfaces[row]!
    const reason = rows.dropReason?.[row]
    const sequence = this.firstSequence + this.count
    const lately = this.#lately.get(interfaces)
    const known = lately === undefined ? undefined : places.values[lately]
    const nodeName = typeof rows.nodeName === 'string' ? rows.nodeName : rows.nodeName[row]!
    if (
      known !== undefined &&
      known.nodeName === nodeName &&
      known.dropReason === reason?.toUpperCase() &&
      packer.isPlace(known, bytes)
    ) {
      return places.number(known, sequence)
    }
    const { agentStart, agentEnd, nodeStart, nodeEnd, hooksStart, hooksEnd } = packer
    const text = (start: number, end: number): string =>
      Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1')
    // A record that is kept whole has no bytes here: what filters look at makes the key.
    const key = [
      text(agentStart, agentEnd),
      text(nodeStart, nodeEnd),
      text(hooksStart, hooksEnd),
      reason?.toUpperCase() ?? '',
      ...(agentEnd === 0 || hooksEnd === 0 ? [nodeName, ...interfaces] : []),
    ].join('\n')
    const place = this.vocabulary.place(key, () => ({
      nodeName,
      interfaces,
      dropReason: reason?.toUpperCase(),
      ...packer.placeBytes(bytes),
      key,
    }))
    const number = places.number(place, sequence)
    if (this.#lately.size >= 1024) this.#lately.clear()
    this.#lately.set(interfaces, number)
    return number
  }

  /** The names that a row speaks of. */
  names(row: number): RowNames {
    const { names, services, places } = this.vocabulary
    return {
      source: names.values[this.source[row]!] ?? UNKNOWN,
      destination: names.values[this.destination[row]!] ?? UNKNOWN,
      service: services.values[this.service[row]!],
      place: places.values[this.place[row]!] ?? NOWHERE,
    }
  }

  /** The records of these rows (ascending) as they were, with labels if asked for. */
  unpack(rows: ArrayLike<number>, labels: boolean): EncodedBatch {
    const count = rows.length
    const offsets = new Uint32Array(count + 1)
    const timeUs = new Float64Array(count)
    output.position = 0
    for (let i = 0; i < count; i++) {
      const row = rows[i]!
      const names = this.names(row)
      const start = output.position
      unpacker.write(output, this, row, names, this.#packed, this.#offsets[row]!, this.#offsets[row + 1]!)
      if (labels) withLabels(output, start, names.source, names.destination)
      offsets[i + 1] = output.position
      timeUs[i] = this.timeUs[row]!
    }
    const bytes = output.take()
    if (output.bytes.length > MOST_OUTPUT) output.bytes = new Uint8Array(256 * 1024)
    const lastSequence = count === 0 ? 0 : this.firstSequence + rows[count - 1]!
    return { count, bytes, offsets, timeUs, lastSequence, shared: {} }
  }
}
