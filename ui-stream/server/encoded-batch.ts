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
  const spliced = labels ? spliceRecords(from, rows) : undefined
  const count = rows.length
  const offsets = new Uint32Array(count + 1)
  const timeUs = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const row = rows[i]!
    const length = spliced?.get(i)?.length ?? from.offsets[row + 1]! - from.offsets[row]!
    offsets[i + 1] = offsets[i]! + length
    timeUs[i] = from.timeUs[row]!
  }
  const bytes = new Uint8Array(offsets[count]!)
  for (let i = 0; i < count; ) {
    const replacement = spliced?.get(i)
    if (replacement !== undefined) {
      bytes.set(replacement, offsets[i]!)
      i++
      continue
    }
    // Rows that lie side by side are copied at once.
    let end = i + 1
    while (end < count && rows[end] === rows[end - 1]! + 1 && spliced?.get(end) === undefined) end++
    bytes.set(from.bytes.subarray(from.offsets[rows[i]!]!, from.offsets[rows[end - 1]! + 1]!), offsets[i]!)
    i = end
  }
  const lastSequence = count === 0 ? 0 : from.firstSequence + rows[count - 1]!
  return { count, bytes, offsets, timeUs, lastSequence, shared: {} }
}

/** The records that have labels, by their place in `rows`. */
function spliceRecords(from: RecordSource, rows: ArrayLike<number>): Map<number, Uint8Array> {
  const spliced = new Map<number, Uint8Array>()
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!
    const source = from.source[row]!
    const destination = from.destination[row]!
    if (source.labels === undefined && destination.labels === undefined) continue
    const record = from.bytes.subarray(from.offsets[row]!, from.offsets[row + 1]!)
    spliced.set(i, spliceLabels(record, labelFields(source), labelFields(destination)))
  }
  return spliced
}
