// Flows as they travel: encoded once, shared by history and all clients. Values; nobody changes one after it was made
// (the two caches only remember).

import type { Name } from '../../agent/identity/names.js'
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
  /** Made once for all clients that take the whole batch: the frame, and each record's JSON text. */
  readonly shared: { frame?: Uint8Array; json?: (string | undefined)[] }
}

/** Where records are taken from: a batch or a piece of history. */
export interface RecordSource {
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  readonly timeUs: Float64Array
  readonly firstSequence: number
  readonly source: readonly Name[]
  readonly destination: readonly Name[]
}

/**
 * Copies the given rows into a batch of their own, with labels if asked for. Copying keeps a slow client with a narrow
 * filter from holding on to everything that it did not want.
 */
export function pickRecords(from: RecordSource, rows: ArrayLike<number>, labels: boolean): EncodedBatch {
  const count = rows.length
  const records: Uint8Array[] = []
  const offsets = new Uint32Array(count + 1)
  const timeUs = new Float64Array(count)
  let length = 0
  for (let i = 0; i < count; i++) {
    const row = rows[i]!
    let record = from.bytes.subarray(from.offsets[row]!, from.offsets[row + 1]!)
    const source = from.source[row]!
    const destination = from.destination[row]!
    if (labels && (source.labels !== undefined || destination.labels !== undefined)) {
      record = spliceLabels(record, labelFields(source), labelFields(destination))
    }
    records.push(record)
    timeUs[i] = from.timeUs[row]!
    length += record.length
    offsets[i + 1] = length
  }
  const bytes = new Uint8Array(length)
  for (let i = 0; i < count; i++) bytes.set(records[i]!, offsets[i]!)
  const lastSequence = count === 0 ? 0 : from.firstSequence + rows[count - 1]!
  return { count, bytes, offsets, timeUs, lastSequence, shared: {} }
}
