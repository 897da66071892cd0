// What waits for one client: batches, oldest first, bounded in bytes and records. When it is full the oldest records go,
// one by one, and are counted. Sends nothing itself.

import type { LostMessage } from '../protocol/messages.js'
import { Stage, Unit } from '../protocol/messages.js'
import type { EncodedBatch } from './encoded-batch.js'
import type { QueueBudget } from './queue-budget.js'

/** Records `start` to `end - 1` of a batch. */
export interface QueuedRecords {
  readonly batch: EncodedBatch
  start: number
  readonly end: number
}

export interface QueueLimits {
  readonly bytes: number
  readonly records: number
}

/** Most kinds of losses that wait to be told; beyond that names are given up, not counts. */
const MAX_LOSSES = 1024

export class ClientQueue {
  readonly #limits: QueueLimits
  readonly #budget: QueueBudget | undefined
  readonly #entries: QueuedRecords[] = []
  #head = 0
  readonly #losses = new Map<string, LostMessage>()
  readonly #nodeName: string
  #bytes = 0
  #records = 0
  /** Records that were thrown away, ever. */
  dropped = 0

  constructor(limits: QueueLimits, nodeName: string, budget?: QueueBudget) {
    this.#limits = limits
    this.#budget = budget
    this.#nodeName = nodeName
  }

  get bytes(): number {
    return this.#bytes
  }

  get records(): number {
    return this.#records
  }

  get empty(): boolean {
    return this.#records === 0 && this.#losses.size === 0
  }

  push(batch: EncodedBatch): void {
    if (batch.count === 0) return
    this.#entries.push({ batch, start: 0, end: batch.count })
    this.#add(batch.bytes.length, batch.count)
    this.#trim(this.#limits)
  }

  /** Lets the oldest records go until half of the bytes are left. */
  shed(): void {
    this.#trim({ bytes: this.#bytes / 2, records: this.#limits.records })
  }

  /** Lets all records go. */
  abandon(): void {
    this.#trim({ bytes: 0, records: 0 })
  }

  /** True when `push` would have to throw something away. */
  overflows(batch: EncodedBatch): boolean {
    return (
      this.#bytes + batch.bytes.length > this.#limits.bytes ||
      this.#records + batch.count > this.#limits.records
    )
  }

  /** The oldest records, left where they are. */
  get oldest(): Readonly<QueuedRecords> | undefined {
    return this.#entries[this.#head]
  }

  /** Forgets all records without counting them: whoever calls it sends them in another way. Losses stay. */
  forget(): void {
    this.#entries.length = 0
    this.#head = 0
    this.#add(-this.#bytes, -this.#records)
  }

  /** The oldest records, at most `bytes` of them but at least one; undefined when there are none. */
  shift(bytes: number): QueuedRecords | undefined {
    const entry = this.#entries[this.#head]
    if (entry === undefined) return undefined
    const end = endWithin(entry.batch, entry.start, entry.end, bytes)
    const taken = { batch: entry.batch, start: entry.start, end }
    this.#advance(entry, end)
    return taken
  }

  /** Adds a loss to those that wait to be told. Equal stages of one node become one, with their counts added up. */
  addLoss(loss: LostMessage): void {
    const full = this.#losses.size >= MAX_LOSSES && !this.#losses.has(keyOf(loss))
    const entry = full ? anonymous(loss) : { ...loss }
    const known = this.#losses.get(keyOf(entry))
    if (known === undefined) this.#losses.set(keyOf(entry), entry)
    else {
      known.count = (known.count ?? 0) + (loss.count ?? 0)
      known.sinceUs = Math.min(known.sinceUs ?? 0, loss.sinceUs ?? 0)
      known.untilUs = Math.max(known.untilUs ?? 0, loss.untilUs ?? 0)
    }
  }

  /** Counts records of this client that were lost before they came here. */
  addDropped(count: number, sinceUs: number, untilUs: number): void {
    this.dropped += count
    this.addLoss({
      nodeName: this.#nodeName,
      stage: Stage.STAGE_CLIENT,
      unit: Unit.UNIT_RECORDS,
      count,
      sinceUs,
      untilUs,
    })
  }

  /** Takes the losses to tell; they lie before everything that still waits. */
  takeLosses(): LostMessage[] {
    const losses = [...this.#losses.values()]
    this.#losses.clear()
    return losses
  }

  #add(bytes: number, records: number): void {
    this.#bytes += bytes
    this.#records += records
    if (this.#budget !== undefined) this.#budget.used += bytes
  }

  #trim(limits: QueueLimits): void {
    while (this.#bytes > limits.bytes || this.#records > limits.records) this.#dropOldest(limits)
  }

  #dropOldest(limits: QueueLimits): void {
    const entry = this.#entries[this.#head]!
    const { offsets, timeUs } = entry.batch
    const bytes = this.#bytes - limits.bytes
    const records = this.#records - limits.records
    let end = entry.start
    while (end < entry.end && (offsets[end]! - offsets[entry.start]! < bytes || end - entry.start < records))
      end++
    let since = timeUs[entry.start]!
    let until = since
    for (let row = entry.start; row < end; row++) {
      since = Math.min(since, timeUs[row]!)
      until = Math.max(until, timeUs[row]!)
    }
    this.addDropped(end - entry.start, since, until)
    this.#advance(entry, end)
  }

  #advance(entry: QueuedRecords, end: number): void {
    const { offsets } = entry.batch
    this.#add(offsets[entry.start]! - offsets[end]!, entry.start - end)
    entry.start = end
    if (end < entry.end) return
    this.#head++
    // Move the rest down once half of the array is behind the head.
    if (this.#head > 32 && this.#head * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#head)
      this.#head = 0
    } else if (this.#head === this.#entries.length) {
      this.#entries.length = 0
      this.#head = 0
    }
  }
}

/** Where to cut records from `start` on so that they take at most `bytes`, but are at least one. */
export function endWithin({ offsets }: EncodedBatch, start: number, end: number, bytes: number): number {
  if (offsets[end]! - offsets[start]! <= bytes) return end
  let cut = start + 1
  while (cut < end && offsets[cut + 1]! - offsets[start]! <= bytes) cut++
  return cut
}

/** A loss under fewer names: without the node, and with stage and unit only where this schema knows them. */
function anonymous(loss: LostMessage): LostMessage {
  const stage = loss.stage && Stage[loss.stage] ? loss.stage : Stage.STAGE_UNSPECIFIED
  const unit = loss.unit && Unit[loss.unit] ? loss.unit : Unit.UNIT_UNSPECIFIED
  return { ...loss, nodeName: null, stage, unit }
}

function keyOf({ nodeName, stage, unit }: LostMessage): string {
  return `${stage} ${unit} ${nodeName ?? ''}`
}
