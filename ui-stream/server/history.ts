// The flows of the last while, bounded in bytes: oldest out first, in chunks. Every published record is in it once, under
// its sequence; readers go through it by sequence and hold no piece of it between two reads.
//
//     evicted ... | chunk | chunk | ... | open chunk | next
//                 firstSequence                      nextSequence

import type { Name, ServiceName } from '../../agent/identity/names.js'
import { Chunk, ROW_BYTES } from './chunk.js'
import { type EncodedBatch, pickRecords } from './encoded-batch.js'
import type { FlowFilter } from './filter.js'
import type { FlowRows } from './flow-rows.js'
import { endpointTail } from './name-bytes.js'

/** Chunks are large enough to cost little each, and small enough that dropping one loses little. */
const CHUNK_BYTES = 512 * 1024
const CHUNKS = 16
/** What a record takes, to size the columns of the first chunk; after that the last full chunk says it. */
const RECORD_BYTES = 224
/** Below this nothing is kept at all. */
const SMALLEST = 16 * 1024
/** What a Name object takes beside its encoded bytes, its strings counted by those. */
const NAME_BYTES = 256

/** What one read gives: records that pass, and where to go on. */
export interface HistoryPiece {
  readonly batch: EncodedBatch | undefined
  readonly next: number
}

export interface ReadLimits {
  /** Records looked at, and records given back, at most. */
  readonly scan: number
  readonly records: number
}

export class History {
  readonly limit: number
  readonly #chunkSize: number
  #recordBytes = RECORD_BYTES
  readonly #chunks: Chunk[] = []
  /** How many chunks hold on to a name. */
  readonly #names = new Map<Name | ServiceName, number>()
  readonly #onEvict: (chunk: Chunk) => void
  #bytes = 0
  #next: number

  /**
   * @param limit bytes in all, 0 for no history
   * @param onEvict sees a chunk just before its records are gone
   */
  constructor(limit: number, onEvict: (chunk: Chunk) => void = () => {}, firstSequence = 1) {
    this.limit = limit
    this.#chunkSize = Math.min(CHUNK_BYTES, Math.floor(limit / CHUNKS))
    this.#onEvict = onEvict
    this.#next = firstSequence
  }

  /** Bytes in use, names included; never above the limit after a push, but for a single newest chunk. */
  get bytes(): number {
    return this.#bytes
  }

  get records(): number {
    return this.#next - this.firstSequence
  }

  /** Of the oldest record; nextSequence when there is none. */
  get firstSequence(): number {
    return this.#chunks[0]?.firstSequence ?? this.#next
  }

  /** Of the record that will come next. */
  get nextSequence(): number {
    return this.#next
  }

  /** Copies a batch whose first record has the sequence `nextSequence`. */
  push(batch: EncodedBatch, rows: FlowRows): void {
    if (this.limit < SMALLEST) {
      this.#next += batch.count
      return
    }
    for (let row = 0; row < batch.count; row++) {
      const length = batch.offsets[row + 1]! - batch.offsets[row]!
      let chunk = this.#chunks.at(-1)
      if (chunk === undefined || !chunk.fits(length)) chunk = this.#open(length)
      chunk.append(batch, rows, row)
      this.#next++
      this.#retain(chunk, rows.source[row]!)
      this.#retain(chunk, rows.destination[row]!)
      const service = rows.service[row]
      if (service !== undefined) this.#retain(chunk, service)
    }
    while (this.#bytes > this.limit && this.#chunks.length > 1) this.#evict()
  }

  /**
   * Records from `from` on that pass, at most up to `to` (not included), as a batch of their own. `next` is where the
   * next read goes on; nothing more is to be had when it reaches `to`.
   */
  read(from: number, to: number, filter: FlowFilter, labels: boolean, limits: ReadLimits): HistoryPiece {
    const start = Math.max(from, this.firstSequence)
    const chunk = this.#chunkOf(start)
    if (chunk === undefined || start >= to) return { batch: undefined, next: Math.max(start, to) }
    const first = start - chunk.firstSequence
    const end = Math.min(chunk.count, to - chunk.firstSequence, first + limits.scan)
    const rows: number[] = []
    let row = first
    for (; row < end && rows.length < limits.records; row++) if (filter.passes(chunk, row)) rows.push(row)
    return {
      batch: rows.length === 0 ? undefined : pickRecords(chunk, rows, labels),
      next: chunk.firstSequence + row,
    }
  }

  /** The sequence from which exactly `count` records pass, or the first one when there are fewer. */
  startOfLast(count: number, filter: FlowFilter): number {
    let left = count
    if (left <= 0) return this.#next
    for (let i = this.#chunks.length - 1; i >= 0; i--) {
      const chunk = this.#chunks[i]!
      for (let row = chunk.count - 1; row >= 0; row--) {
        if (filter.passes(chunk, row) && --left === 0) return chunk.firstSequence + row
      }
    }
    return this.firstSequence
  }

  /** The first sequence that may hold a record of `us` or later: whole chunks that ended before are passed over. */
  startOfSince(us: number): number {
    return this.#chunks.find((chunk) => chunk.latestUs >= us)?.firstSequence ?? this.#next
  }

  #chunkOf(sequence: number): Chunk | undefined {
    let low = 0
    let high = this.#chunks.length - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const chunk = this.#chunks[middle]!
      if (sequence < chunk.firstSequence) high = middle - 1
      else if (sequence >= chunk.firstSequence + chunk.count) low = middle + 1
      else return chunk
    }
    return undefined
  }

  #open(length: number): Chunk {
    const last = this.#chunks.at(-1)
    if (last !== undefined) this.#recordBytes = Math.ceil(last.offsets[last.count]! / last.count)
    const rows = Math.max(1, Math.floor(this.#chunkSize / (this.#recordBytes + ROW_BYTES)))
    const bytes = Math.max(this.#chunkSize - rows * ROW_BYTES, length)
    while (this.#chunks.length > 0 && this.#bytes + bytes + rows * ROW_BYTES > this.limit) this.#evict()
    const chunk = new Chunk(this.#next, rows, bytes)
    this.#chunks.push(chunk)
    this.#bytes += chunk.allocated
    return chunk
  }

  #evict(): void {
    const chunk = this.#chunks[0]!
    this.#onEvict(chunk)
    this.#chunks.shift()
    this.#bytes -= chunk.allocated
    for (const name of chunk.names) this.#release(name)
  }

  #retain(chunk: Chunk, name: Name | ServiceName): void {
    if (chunk.names.has(name)) return
    chunk.names.add(name)
    const holders = this.#names.get(name) ?? 0
    this.#names.set(name, holders + 1)
    if (holders === 0) this.#bytes += nameBytes(name)
  }

  #release(name: Name | ServiceName): void {
    const holders = this.#names.get(name)! - 1
    if (holders > 0) this.#names.set(name, holders)
    else {
      this.#names.delete(name)
      this.#bytes -= nameBytes(name)
    }
  }
}

function nameBytes(name: Name | ServiceName): number {
  if (!('kind' in name)) return NAME_BYTES * 2
  let labels = 0
  for (const key in name.labels) labels += key.length + name.labels[key]!.length + 32
  return NAME_BYTES + 2 * endpointTail(name).length + labels
}
