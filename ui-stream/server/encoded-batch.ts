// Flows as they travel: encoded once, shared by history and all clients. Values; nobody changes one after it was made
// (the two caches only remember).

import type { Name } from '../../agent/identity/names.js'
import type { ByteWriter } from './byte-writer.js'
import { labelFields } from './name-bytes.js'
import { spliceLabels } from './splice-labels.js'

/** Records, each a complete `flows` field (tag, length, bytes) of StreamMessage, back to back. */
export interface EncodedBatch {
  readonly count: number
  readonly bytes: Uint8Array
  /** Record r is bytes[offsets[r] .. offsets[r + 1]]. count + 1 entries. */
  readonly offsets: Uint32Array
  /** By record: when it was made, microseconds. */
  readonly timeUs: Float64Array
  /** Sequence of the last record. */
  readonly lastSequence: number
  /** Made once for all clients that take the whole batch: the frame, the same deflated, and each record's JSON text. */
  readonly shared: { frame?: Uint8Array; deflated?: Uint8Array; json?: (string | undefined)[] }
}

/** Records `start` to `end - 1` as a batch that shares the bytes. */
export function sliceRecords(batch: EncodedBatch, start: number, end: number): EncodedBatch {
  if (start === 0 && end === batch.count) return batch
  const first = batch.offsets[start]!
  const offsets = batch.offsets.slice(start, end + 1)
  for (let i = 0; i < offsets.length; i++) offsets[i]! -= first
  return {
    count: end - start,
    bytes: batch.bytes.subarray(first, batch.offsets[end]!),
    offsets,
    timeUs: batch.timeUs.subarray(start, end),
    lastSequence: batch.lastSequence - (batch.count - end),
    shared: {},
  }
}

/**
 * Copies the given rows into a batch of their own. Copying keeps a slow client with a narrow filter from holding on to
 * everything that it did not want. `sequence` is that of the last of them.
 */
export function pickRecords(from: EncodedBatch, rows: ArrayLike<number>, sequence: number): EncodedBatch {
  const count = rows.length
  const offsets = new Uint32Array(count + 1)
  const timeUs = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const row = rows[i]!
    offsets[i + 1] = offsets[i]! + from.offsets[row + 1]! - from.offsets[row]!
    timeUs[i] = from.timeUs[row]!
  }
  const bytes = new Uint8Array(offsets[count]!)
  for (let i = 0; i < count; ) {
    // Rows that lie side by side are copied at once.
    let end = i + 1
    while (end < count && rows[end] === rows[end - 1]! + 1) end++
    bytes.set(from.bytes.subarray(from.offsets[rows[i]!]!, from.offsets[rows[end - 1]! + 1]!), offsets[i]!)
    i = end
  }
  return { count, bytes, offsets, timeUs, lastSequence: sequence, shared: {} }
}

/** Puts the labels of both ends into the record that begins at `start` and is the last that was written. */
export function withLabels(writer: ByteWriter, start: number, source: Name, destination: Name): void {
  if (source.labels === undefined && destination.labels === undefined) return
  const record = writer.bytes.subarray(start, writer.position)
  const longer = spliceLabels(record, labelFields(source), labelFields(destination))
  writer.position = start
  writer.reserve(longer.length)
  writer.copy(longer)
}
