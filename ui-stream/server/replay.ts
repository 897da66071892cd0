// One client's way through history: back to where the last N that it wants begin, then forward piece by piece, until what
// it asked for has come or the present is reached. Sends nothing.

import type { Chunk } from './chunk.js'
import type { EncodedBatch } from './encoded-batch.js'
import type { Expression } from './filter/expression.js'
import type { FlowFilter } from './filter.js'
import { sequenceOf } from './frames.js'
import type { History, ReadLimits } from './history.js'

/** What a replay is asked for. */
export interface ReplayRange {
  /** The first sequence that may be read, and the first that is not (Infinity: whatever comes). */
  readonly from: number
  readonly to: number
  /** Only this many of the newest that pass. */
  readonly last?: number | undefined
  readonly labels: boolean
}

/** What was lost of a chunk that went before it was read. */
export interface Unread {
  readonly count: number
  readonly sinceUs: number
  readonly untilUs: number
}

export class Replay {
  readonly #history: History
  readonly #filter: FlowFilter
  readonly #labels: boolean
  readonly #floor: number
  #to: number
  #position: number
  /** Where the way back began, and the slices of it that hold what passes, the newest first. */
  readonly #sought: number
  readonly #hits: { readonly from: number; readonly to: number }[] = []
  /** Still to be found before reading begins. */
  #seeking: number

  constructor(history: History, filter: FlowFilter, range: ReplayRange) {
    this.#history = history
    this.#filter = filter
    this.#labels = range.labels
    this.#floor = range.from
    this.#to = range.to
    this.#seeking = range.last ?? 0
    this.#sought = range.last === undefined ? 0 : history.nextSequence
    this.#position = range.last === undefined ? range.from : history.nextSequence
  }

  /** True when everything up to the end, or to the present, has been read. */
  get done(): boolean {
    return this.#seeking === 0 && this.#position >= Math.min(this.#to, this.#history.nextSequence)
  }

  /** Wants nothing that is not there yet. */
  endHere(): void {
    this.#to = Math.min(this.#to, this.#history.nextSequence)
  }

  /** One slice of the way; a batch when it brought something. */
  step(limits: ReadLimits): EncodedBatch | undefined {
    const history = this.#history
    if (this.#seeking > 0) {
      this.#seek(limits)
      return undefined
    }
    this.#skip()
    const end = Math.min(this.#to, history.nextSequence)
    if (this.#position >= end) return undefined
    const { batch, next } = history.read(this.#position, end, this.#filter, this.#labels, limits)
    this.#position = next
    const { expression } = this.#filter
    return batch === undefined || expression === undefined ? batch : expression.pick(batch, 0, batch.count)
  }

  /** Goes to the next place where the way back has found something, or behind where it began. */
  #skip(): void {
    for (let hit = this.#hits.at(-1); hit !== undefined; hit = this.#hits.at(-1)) {
      if (this.#position < hit.from) this.#position = hit.from
      if (this.#position < hit.to) return
      this.#hits.pop()
    }
    if (this.#position < this.#sought) this.#position = this.#sought
  }

  /** One slice back. */
  #seek({ scan, records }: ReadLimits): void {
    const { expression } = this.#filter
    const wanted = expression === undefined ? this.#seeking : records
    const before = this.#position
    const { from, found, left } = this.#history.seek(before, wanted, this.#filter, scan)
    this.#position = Math.max(from, this.#floor)
    if (found > 0) this.#hits.push({ from, to: before })
    if (expression === undefined) this.#seeking = from <= this.#floor ? 0 : left
    else this.#seekExpressed(expression, before, records)
  }

  /** The records between the position and `before` may pass; the expression says which of them do. */
  #seekExpressed(expression: Expression, before: number, records: number): void {
    const limits = { scan: Number.POSITIVE_INFINITY, records }
    const { batch } = this.#history.read(this.#position, before, this.#filter, false, limits)
    const picked = batch && expression.pick(batch, 0, batch.count)
    const found = picked?.count ?? 0
    if (found < this.#seeking) {
      this.#seeking = this.#position <= this.#floor ? 0 : this.#seeking - found
      return
    }
    this.#position = sequenceOf(picked!, found - this.#seeking)
    this.#seeking = 0
  }

  /** History is about to drop a chunk: what was still to be read of it. */
  evicted(chunk: Chunk): Unread | undefined {
    const end = Math.min(chunk.firstSequence + chunk.count, this.#to)
    // Whoever still looks for where to begin takes what there is then.
    if (this.#seeking > 0 || end <= this.#position) return undefined
    const first = Math.max(0, this.#position - chunk.firstSequence)
    this.#position = end
    const last = end - chunk.firstSequence
    const selected = this.#filter.select(chunk, first, last)
    let sinceUs = Number.POSITIVE_INFINITY
    let untilUs = 0
    for (let i = 0; i < (selected === 'all' ? last - first : selected.length); i++) {
      const timeUs = chunk.timeUs[selected === 'all' ? first + i : selected[i]!]!
      sinceUs = Math.min(sinceUs, timeUs)
      untilUs = Math.max(untilUs, timeUs)
    }
    const count = selected === 'all' ? last - first : selected.length
    return count === 0 ? undefined : { count, sinceUs, untilUs }
  }
}
