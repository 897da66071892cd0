// `filter=EXPRESSION`: CEL over one flow, in the form that docs/contract.md gives it. Slow beside the filters on columns,
// so it comes after them, and only for the client that asked (Turns bounds the time that all such clients take).

import { Environment } from '@marcbachmann/cel-js'
import { badFilter } from '../../protocol/filters.js'
import { flowToJson } from '../../protocol/json.js'
import type { FlowJson } from '../../protocol/json-types.js'
import { type FlowMessage, StreamMessage } from '../../protocol/messages.js'
import { type EncodedBatch, pickRecords } from '../encoded-batch.js'
import { LIMITS, MATCHES, MAX_EXPRESSION_LENGTH, matchesPattern, restrict } from './expression-policy.js'

const NUMBERS = ['id', 'ipVersion']
const TEXTS = ['agentId', 'event', 'nodeName', 'protocol', 'direction', 'verdict', 'endReason']
const TIMES = ['time', 'startTime', 'endTime']
const SWITCHES = ['initiatorInferred', 'own']
const MESSAGES = [
  'source',
  'destination',
  'service',
  'translation',
  'forward',
  'reverse',
  'drop',
  'tcp',
  'dns',
  'icmp',
  'tunnel',
]
const LISTS = ['policies', 'observations', 'views']

/** Numbers are doubles, as in JSON; what a flow does not say is the empty text, list or map, false, or year 1970. */
const environment = new Environment({ homogeneousAggregateLiterals: false, limits: LIMITS })
for (const name of NUMBERS) environment.registerVariable(name, 'double')
for (const name of TEXTS) environment.registerVariable(name, 'string')
for (const name of TIMES) environment.registerVariable(name, 'google.protobuf.Timestamp')
for (const name of SWITCHES) environment.registerVariable(name, 'bool')
for (const name of MESSAGES) environment.registerVariable(name, 'map')
for (const name of LISTS) environment.registerVariable(name, 'list')
environment.registerFunction(`string.${MATCHES}(string): bool`, matchesPattern)

const EMPTY = Object.freeze({})
const NONE: readonly never[] = Object.freeze([])

/** What an expression sees of a flow. */
function variables(flow: FlowJson): Record<string, unknown> {
  const all = flow as unknown as Record<string, unknown>
  const seen: Record<string, unknown> = {}
  for (const name of NUMBERS) seen[name] = all[name] ?? 0
  for (const name of TEXTS) seen[name] = all[name] ?? ''
  for (const name of TIMES) seen[name] = new Date((all[name] as string | undefined) ?? 0)
  for (const name of SWITCHES) seen[name] = all[name] ?? false
  for (const name of MESSAGES) seen[name] = all[name] ?? EMPTY
  for (const name of LISTS) seen[name] = all[name] ?? NONE
  return seen
}

/** A compiled expression; holds nothing of the flows that it was asked about. */
export class Expression {
  readonly #run: (context: Record<string, unknown>) => unknown

  /** Throws BAD_FILTER with what is wrong with the text. */
  constructor(text: string) {
    if (text.length > MAX_EXPRESSION_LENGTH) {
      throw badFilter(`filter: an expression may have ${MAX_EXPRESSION_LENGTH} characters`)
    }
    const parsed = parse(text)
    restrict(parsed.ast)
    const { valid, type, error } = parsed.check()
    if (!valid) throw badFilter(`filter: ${firstLine(error)}`)
    if (type !== 'bool' && type !== 'dyn') throw badFilter(`filter: it says ${type}, not true or false`)
    this.#run = parsed
  }

  /** True when it says true; what it cannot be evaluated for (a field that is not there) does not pass. */
  passes(flow: FlowMessage): boolean {
    try {
      return this.#run(variables(flowToJson(flow))) === true
    } catch {
      return false
    }
  }

  /** Those of records `start` to `end - 1` that pass; undefined when there are none. */
  pick(batch: EncodedBatch, start: number, end: number): EncodedBatch | undefined {
    const rows: number[] = []
    let last = 0
    for (let row = start; row < end; row++) {
      const record = batch.bytes.subarray(batch.offsets[row]!, batch.offsets[row + 1]!)
      const flow = StreamMessage.decode(record).flows[0]!
      if (!this.passes(flow)) continue
      rows.push(row)
      last = flow.sequence ?? 0
    }
    return rows.length === 0 ? undefined : pickRecords(batch, rows, last)
  }
}

function parse(text: string): ReturnType<Environment['parse']> {
  try {
    return environment.parse(text)
  } catch (error) {
    throw badFilter(`filter: ${firstLine(error)}`)
  }
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n', 1)[0]!.slice(0, 200)
}
