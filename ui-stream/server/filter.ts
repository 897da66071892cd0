// Filters compiled once per subscription and evaluated on columns (docs/contract.md: the same filter repeated is or'ed,
// different filters are and'ed, everything negated is or'ed and then excluded). Selects rows; copies and sends nothing.

import { FlowFlag } from '../../agent/capture/flow-batch.js'
import { type Filter, type FilterEnd, type FilterValue, parseFilters } from '../protocol/filters.js'
import type { Subscription } from '../protocol/subscription.js'
import { type EncodedBatch, pickRecords } from './encoded-batch.js'
import { directionPredicate } from './filter/direction.js'
import { dnsPredicate } from './filter/dns.js'
import { dropReasonPredicate } from './filter/drop-reason.js'
import { eventPredicate } from './filter/event.js'
import { Expression } from './filter/expression.js'
import { interfacePredicate } from './filter/interface.js'
import { ipPredicate } from './filter/ip.js'
import { labelPredicate } from './filter/label.js'
import { namespacePredicate } from './filter/namespace.js'
import { nodePredicate } from './filter/node.js'
import { podPredicate } from './filter/pod.js'
import { portPredicate } from './filter/port.js'
import { anyOf, type Predicate } from './filter/predicate.js'
import { protocolPredicate } from './filter/protocol.js'
import { servicePredicate } from './filter/service.js'
import { tcpFlagsPredicate } from './filter/tcp-flags.js'
import { verdictPredicate } from './filter/verdict.js'
import { workloadPredicate } from './filter/workload.js'
import type { FlowColumns } from './flow-columns.js'
import type { Segment } from './history.js'

const NOTHING = new Uint32Array(0)

interface Picked {
  segment?: Segment
  batch?: EncodedBatch | undefined
}

/** What a subscription lets through. Clients that ask for the same share one. */
export class FlowFilter {
  readonly #required: readonly Predicate[]
  readonly #excluded: Predicate | undefined
  /** What records have to pass beside: not looked at by `select` and `pick`, since it needs more than columns. */
  readonly expression: Expression | undefined
  readonly #own: boolean
  readonly #sinceUs: number
  readonly #untilUs: number
  readonly #plain: Picked = {}
  readonly #labelled: Picked = {}

  private constructor(filters: readonly Filter[], subscription: Subscription) {
    const groups = new Map<string, Predicate[]>()
    const excluded: Predicate[] = []
    for (const filter of filters) {
      const predicates = filter.values.map((value) => predicateOf(value, filter.end))
      if (filter.negate) excluded.push(...predicates)
      else groups.set(filter.name, [...(groups.get(filter.name) ?? []), ...predicates])
    }
    this.#required = [...groups.values()].map(anyOf)
    this.#excluded = excluded.length === 0 ? undefined : anyOf(excluded)
    this.expression = subscription.expression ? new Expression(subscription.expression) : undefined
    this.#own = subscription.own ?? false
    this.#sinceUs = subscription.sinceUs ?? Number.NEGATIVE_INFINITY
    this.#untilUs = subscription.untilUs ?? Number.POSITIVE_INFINITY
  }

  /** Throws a VethflowError whose code and message are an error frame's: BAD_FILTER. */
  static compile(subscription: Subscription): FlowFilter {
    return new FlowFilter(parseFilters(subscription.filters), subscription)
  }

  /** The rows from `from` (included) to `to` (not) that pass, ascending; 'all' when every one does. */
  select(columns: FlowColumns, from = 0, to = columns.count): Uint32Array | 'all' {
    if (columns.latestUs < this.#sinceUs || columns.earliestUs > this.#untilUs) return NOTHING
    const timed = columns.earliestUs < this.#sinceUs || columns.latestUs > this.#untilUs
    const excluded = this.#excluded
    const required = this.#required
    const { flags, timeUs } = columns
    const hidden = this.#own ? 0 : FlowFlag.OWN
    const selected = new Uint32Array(to - from)
    let count = 0
    rows: for (let row = from; row < to; row++) {
      if ((flags[row]! & hidden) !== 0) continue
      if (timed && (timeUs[row]! < this.#sinceUs || timeUs[row]! > this.#untilUs)) continue
      for (const predicate of required) if (!predicate(columns, row)) continue rows
      if (excluded?.(columns, row)) continue
      selected[count++] = row
    }
    return count === to - from ? 'all' : selected.subarray(0, count)
  }

  /**
   * Those records of a segment that pass, as a batch; undefined when there are none. Made once for all who ask about the
   * same segment one after the other.
   */
  pick(segment: Segment, labels: boolean): EncodedBatch | undefined {
    const made = labels ? this.#labelled : this.#plain
    if (made.segment === segment) return made.batch
    made.segment = segment
    made.batch = this.#pick(segment, labels)
    return made.batch
  }

  #pick({ chunk, from, to, batch }: Segment, labels: boolean): EncodedBatch | undefined {
    const selected = this.select(chunk, from, to)
    if (selected === 'all') return labels ? chunk.unpack(range(from, to), true) : batch
    if (selected.length === 0) return undefined
    if (labels) return chunk.unpack(selected, true)
    const rows = selected.map((row) => row - from)
    return pickRecords(batch, rows, chunk.firstSequence + selected.at(-1)!)
  }
}

function range(from: number, to: number): Uint32Array {
  return Uint32Array.from({ length: to - from }, (_, i) => from + i)
}

function predicateOf(value: FilterValue, end: FilterEnd): Predicate {
  switch (value.kind) {
    case 'pod':
      return podPredicate(value, end)
    case 'namespace':
      return namespacePredicate(value, end)
    case 'workload':
      return workloadPredicate(value, end)
    case 'service':
      return servicePredicate(value, end)
    case 'node':
      return nodePredicate(value, end)
    case 'label':
      return labelPredicate(value, end)
    case 'ip':
      return ipPredicate(value, end)
    case 'port':
      return portPredicate(value, end)
    case 'dns':
      return dnsPredicate(value, end)
    case 'protocol':
      return protocolPredicate(value)
    case 'verdict':
      return verdictPredicate(value)
    case 'drop-reason':
      return dropReasonPredicate(value)
    case 'tcp-flags':
      return tcpFlagsPredicate(value)
    case 'direction':
      return directionPredicate(value)
    case 'interface':
      return interfacePredicate(value)
    case 'event':
      return eventPredicate(value)
  }
}
