// The flows of the last while, bounded in bytes: oldest out first, in chunks. Every published record is in it once, under
// its sequence; readers go through it by sequence and hold no piece of it between two reads.
//
//     evicted ... | chunk | chunk | ... | open chunk | next
//                 firstSequence                      nextSequence

import { Chunk, ROW_BYTES } from './chunk.js'
import { type EncodedBatch, sliceRecords } from './encoded-batch.js'
import type { FlowFilter } from './filter.js'
import type { FlowRows } from './flow-rows.js'
import { Vocabulary } from './vocabulary.js'

/** Chunks are large enough to cost little each, and small enough that dropping one loses little. */
const CHUNK_BYTES = 512 * 1024
const CHUNKS = 16
/** What a record takes beside its columns, to size the first chunk; after that the last full chunk says it. */
const PACKED_BYTES = 32
/** Below this nothing is kept at all. */
const SMALLEST = 16 * 1024
/** Records are handed on in pieces of about this size, which all clients share. */
const SEGMENT_BYTES = 256 * 1024
/** Names that are kept without a history, for filters to remember what they said of them. */
const MOST_NAMES = 4096

/** Records that were published together: as rows `from` to `to - 1` of a chunk, and as bytes. */
export interface Segment {
  readonly chunk: Chunk
  readonly from: number
  readonly to: number
  readonly batch: EncodedBatch
}

/** What one read gives: records that pass, and where to go on. */
export interface HistoryPiece {
  readonly batch: EncodedBatch | undefined
  readonly next: number
}

/** One slice of the way back. */
export interface Sought {
  /** Where it ends. */
  readonly from: number
  /** How many pass in it, and how many are still to be found. */
  readonly found: number
  readonly left: number
}

export interface ReadLimits {
  /** Records looked at, and records given back, at most. */
  readonly scan: number
  readonly records: number
}

export class History {
  readonly limit: number
  readonly vocabulary = new Vocabulary()
  readonly #chunkSize: number
  #packedBytes = PACKED_BYTES
  readonly #chunks: Chunk[] = []
  readonly #onEvict: (chunk: Chunk) => void
  /** Bytes of all chunks but the open one. */
  #closedBytes = 0
  /** Of the vocabulary, when the open chunk was opened. */
  #vocabularyBytes = 0
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
    if (this.limit < SMALLEST) return 0
    return this.#closedBytes + (this.#chunks.at(-1)?.allocated ?? 0) + this.vocabulary.bytes
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

  /** The time of the oldest record, microseconds; undefined when there is none. */
  get beginsUs(): number | undefined {
    return this.#chunks[0]?.earliestUs
  }

  /**
   * Takes over a batch whose first record has the sequence `nextSequence`. `published` sees it piece by piece, each as
   * soon as it is in.
   */
  push(batch: EncodedBatch, rows: FlowRows, published: (segment: Segment) => void = () => {}): void {
    if (this.limit < SMALLEST) {
      this.#pass(batch, rows, published)
      return
    }
    let chunk = this.#chunks.at(-1)
    let from = chunk?.count ?? 0
    let start = 0
    const hand = (end: number): void => {
      if (end === start) return
      published({ chunk: chunk!, from, to: from + end - start, batch: sliceRecords(batch, start, end) })
      from += end - start
      start = end
    }
    for (let row = 0; row < batch.count; row++) {
      if (batch.offsets[row]! - batch.offsets[start]! >= SEGMENT_BYTES) hand(row)
      // A chunk also ends when what it brought to the vocabulary takes as much as it does itself.
      const full = this.vocabulary.bytes - this.#vocabularyBytes > this.#chunkSize
      let wants = (full ? undefined : chunk?.add(batch, rows, row)) ?? 1
      if (wants > 0) {
        hand(row)
        chunk = this.#open(wants)
        from = 0
        wants = chunk.add(batch, rows, row)
        if (wants > 0) throw new Error(`a record of ${wants} bytes finds no room in a new chunk`)
      }
      this.#next++
    }
    hand(batch.count)
    while (this.bytes > this.limit && this.#chunks.length > 1) this.#evict()
  }

  /** Without a history: columns for the time in which clients take the batch. */
  #pass(batch: EncodedBatch, rows: FlowRows, published: (segment: Segment) => void): void {
    for (let start = 0; start < batch.count; ) {
      let end = start + 1
      while (end < batch.count && batch.offsets[end + 1]! - batch.offsets[start]! <= SEGMENT_BYTES) end++
      const bytes = batch.offsets[end]! - batch.offsets[start]! + 2 * (end - start)
      const chunk = new Chunk(this.#next, end - start, bytes, this.vocabulary)
      for (let row = start; row < end; row++) chunk.add(batch, rows, row)
      this.#next += end - start
      published({ chunk, from: 0, to: end - start, batch: sliceRecords(batch, start, end) })
      start = end
    }
    if (this.vocabulary.names.size + this.vocabulary.places.size > MOST_NAMES) {
      this.vocabulary.sweep(this.#next)
    }
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
    const selected = filter.select(chunk, first, end)
    if (selected.length === 0) return { batch: undefined, next: chunk.firstSequence + end }
    const rows =
      selected === 'all' ? Uint32Array.from({ length: end - first }, (_, i) => first + i) : selected
    const some = rows.length > limits.records ? rows.subarray(0, limits.records) : rows
    const next = some.length < rows.length ? some.at(-1)! + 1 : end
    return { batch: chunk.unpack(some, labels), next: chunk.firstSequence + next }
  }

  /**
   * Goes back from `before` (not included) through at most `scan` records, looking for `count` that pass. Says how many
   * are still to be found and from where on: 0 when `from` is the first of the last `count` that pass.
   */
  seek(before: number, count: number, filter: FlowFilter, scan: number): Sought {
    const last = Math.min(before, this.#next) - 1
    const chunk = this.#chunkOf(last)
    if (chunk === undefined || count <= 0) return { from: Math.min(before, this.#next), found: 0, left: 0 }
    const to = last - chunk.firstSequence + 1
    const first = Math.max(0, to - scan)
    const selected = filter.select(chunk, first, to)
    const found = selected === 'all' ? to - first : selected.length
    if (found < count) {
      const from = chunk.firstSequence + first
      return { from, found, left: from <= this.firstSequence ? 0 : count - found }
    }
    const row = selected === 'all' ? to - count : selected[found - count]!
    return { from: chunk.firstSequence + row, found: count, left: 0 }
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
    if (last !== undefined) {
      this.#closedBytes += last.allocated
      this.#packedBytes = Math.max(8, Math.ceil((last.packedBytes / last.count) * 1.01))
    }
    const rows = Math.max(1, Math.floor(this.#chunkSize / (this.#packedBytes + ROW_BYTES)))
    const bytes = Math.max(this.#chunkSize - rows * ROW_BYTES, length)
    const chunk = new Chunk(this.#next, rows, bytes, this.vocabulary)
    this.#chunks.push(chunk)
    this.#vocabularyBytes = this.vocabulary.bytes
    while (this.#chunks.length > 1 && this.bytes > this.limit) this.#evict()
    return chunk
  }

  #evict(): void {
    const chunk = this.#chunks[0]!
    this.#onEvict(chunk)
    this.#chunks.shift()
    this.#closedBytes -= chunk.allocated
    this.vocabulary.sweep(this.firstSequence)
  }
}
