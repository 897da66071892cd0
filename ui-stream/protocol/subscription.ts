// What a client asks for, between a value, a query string, and the Subscribe message of either subprotocol. Both server
// and clients use it, so that they cannot disagree. Runs in browsers.

import { ExitCode, VethflowError } from '../../agent/errors.js'
import { parseCursor } from './cursor.js'
import { type FilterSpec, isFilterName } from './filters.js'
import type { SubscribeMessage } from './messages.js'
import { ErrorCode } from './names.js'
import { formatTime, parseMoment } from './time.js'

/** What a client asks for. Absent fields ask for nothing. */
export interface Subscription {
  readonly filters: readonly FilterSpec[]
  /** CEL, and'ed to the filters. */
  readonly expression?: string
  /** This many of the newest flows in history that pass the filters. */
  readonly last?: number
  /** Only flows made (`time`) at or after, and at or before; microseconds since the epoch. */
  readonly sinceUs?: number
  readonly untilUs?: number
  /** Only flows behind this place. */
  readonly cursor?: string
  /** Go on with what happens from now. Taken for granted when nothing of history is asked for: see `follows`. */
  readonly follow?: boolean
  /** Send the labels of endpoints. */
  readonly labels?: boolean
  /** Send vethflow's own connections, too. */
  readonly own?: boolean
  /** Send Status at once and then every ten seconds. */
  readonly status?: boolean
  /** Say where history begins, before anything else. */
  readonly history?: boolean
}

/** Fields that say yes or no. */
const SWITCHES = ['follow', 'labels', 'own', 'status', 'history'] as const

/** The largest `last`; history holds less. */
export const MAX_LAST = 10_000_000

/** True when the server goes on after history: asked for, or none of last, since and until given. */
export function follows(subscription: Subscription): boolean {
  if (subscription.follow !== undefined && subscription.follow) return true
  return (
    subscription.last === undefined &&
    subscription.sinceUs === undefined &&
    subscription.untilUs === undefined
  )
}

/** True when flows of the past are asked for. */
export function wantsHistory(subscription: Subscription): boolean {
  const { last, sinceUs, untilUs, cursor } = subscription
  return last !== undefined || sinceUs !== undefined || untilUs !== undefined || cursor !== undefined
}

function badQuery(message: string): VethflowError {
  return new VethflowError(ErrorCode.BAD_QUERY, message, { exitCode: ExitCode.USAGE })
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text)
}

function parseBoolean(name: string, text: string): boolean {
  if (text === 'true' || text === '' || text === '1') return true
  if (text === 'false' || text === '0') return false
  throw badQuery(`${name}=${quoted(text)} is not valid: it takes true or false`)
}

function isSwitch(key: string): key is (typeof SWITCHES)[number] {
  return (SWITCHES as readonly string[]).includes(key)
}

function checkLast(value: unknown): number {
  const last = typeof value === 'string' && /^\d{1,8}$/.test(value) ? Number(value) : value
  if (typeof last === 'number' && Number.isInteger(last) && last >= 0 && last <= MAX_LAST) return last
  throw badQuery(`last=${quoted(String(value))} is not valid: it takes a number from 0 to ${MAX_LAST}`)
}

function checkMoment(name: string, value: unknown, nowMs: number): number {
  const us = typeof value === 'string' && value.length < 64 ? parseMoment(value, nowMs) : undefined
  if (us !== undefined) return us
  throw badQuery(
    `${name}=${quoted(String(value))} is not valid: it takes a duration before now as in 5m, or a time as in 2026-01-31T12:00:00Z`,
  )
}

function checkCursor(value: string): string {
  if (parseCursor(value) !== undefined) return value
  throw new VethflowError(ErrorCode.BAD_CURSOR, `cursor=${quoted(value)} is not a cursor of this stream`, {
    exitCode: ExitCode.USAGE,
  })
}

type Draft = { -readonly [K in keyof Subscription]: Subscription[K] }

/**
 * Parses a query. A filter given more than once is or'ed. Names that it does not know are refused: a misspelt filter
 * must not show everything. `wait`, `ticket` and `unjoined` belong to the connection and are passed over.
 */
export function parseQuery(query: URLSearchParams, nowMs: number): Subscription {
  const filters = new Map<string, FilterSpec & { values: string[] }>()
  const draft: Draft = { filters: [] }
  for (const [key, value] of query) {
    const negate = key.startsWith('not.')
    const name = negate ? key.slice(4) : key
    if (isFilterName(name)) {
      const filter = filters.get(key)
      if (filter === undefined) filters.set(key, { name, values: [value], negate })
      else filter.values.push(value)
    } else if (key === 'filter') draft.expression = value
    else if (key === 'last') draft.last = checkLast(value)
    else if (key === 'since') draft.sinceUs = checkMoment(key, value, nowMs)
    else if (key === 'until') draft.untilUs = checkMoment(key, value, nowMs)
    else if (key === 'cursor') draft.cursor = checkCursor(value)
    else if (isSwitch(key)) draft[key] = parseBoolean(key, value)
    else if (key !== 'wait' && key !== 'ticket' && key !== 'unjoined') {
      throw badQuery(
        `There is no query parameter ${quoted(key)}; beside the filters there are filter, last, since, until, cursor, follow, labels, own, status, history and wait`,
      )
    }
  }
  return { ...draft, filters: [...filters.values()] }
}

/** The query that parseQuery reads as `subscription`. */
export function formatQuery(subscription: Subscription): URLSearchParams {
  const query = new URLSearchParams()
  for (const { name, values, negate } of subscription.filters) {
    for (const value of values) query.append(negate ? `not.${name}` : name, value)
  }
  const { expression, last, sinceUs, untilUs, cursor } = subscription
  if (expression !== undefined) query.append('filter', expression)
  if (last !== undefined) query.append('last', String(last))
  if (sinceUs !== undefined) query.append('since', formatTime(sinceUs) ?? '')
  if (untilUs !== undefined) query.append('until', formatTime(untilUs) ?? '')
  if (cursor !== undefined) query.append('cursor', cursor)
  for (const name of SWITCHES) {
    if (subscription[name] !== undefined) query.append(name, String(subscription[name]))
  }
  return query
}

/** What a decoded Subscribe message asks for; zero is absent, as in proto3. */
export function fromSubscribeMessage(message: SubscribeMessage): Subscription {
  const draft: Draft = {
    filters: (message.filters ?? []).map((filter) => ({
      name: filter.name ?? '',
      values: filter.values ?? [],
      negate: filter.negate ?? false,
    })),
  }
  if (message.expression) draft.expression = message.expression
  if (message.last) draft.last = checkLast(message.last)
  if (message.sinceUs) draft.sinceUs = message.sinceUs
  if (message.untilUs) draft.untilUs = message.untilUs
  if (message.cursor) draft.cursor = checkCursor(message.cursor)
  for (const name of SWITCHES) {
    if (message[name]) draft[name] = true
  }
  return draft
}

/** The Subscribe message that says `subscription`. `last: 0` cannot be said in proto3 and is left out. */
export function toSubscribeMessage(subscription: Subscription): SubscribeMessage {
  const { filters, expression, last, sinceUs, untilUs, cursor } = subscription
  return {
    filters: filters.map(({ name, values, negate }) => ({
      name,
      values: [...values],
      ...(negate && { negate }),
    })),
    ...(expression && { expression }),
    ...(last && { last }),
    ...(sinceUs && { sinceUs }),
    ...(untilUs && { untilUs }),
    ...(cursor && { cursor }),
    ...Object.fromEntries(SWITCHES.flatMap((name) => (subscription[name] ? [[name, true]] : []))),
  }
}

const JSON_KEYS = new Set(['filters', 'expression', 'last', 'since', 'until', 'cursor', ...SWITCHES])

/** Parses the object of `{"subscribe": {…}}`: fields as in the message, `since` and `until` as in the query. */
export function fromSubscribeJson(value: unknown, nowMs: number): Subscription {
  if (!isObject(value)) throw badQuery('subscribe takes an object')
  for (const key of Object.keys(value)) {
    if (!JSON_KEYS.has(key))
      throw badQuery(`subscribe has no field ${quoted(key)}; it has ${[...JSON_KEYS].join(', ')}`)
  }
  const draft: Draft = { filters: filtersFromJson(value.filters) }
  if (value.expression !== undefined) draft.expression = checkText('expression', value.expression)
  if (value.last !== undefined) draft.last = checkLast(value.last)
  if (value.since !== undefined) draft.sinceUs = checkMoment('since', value.since, nowMs)
  if (value.until !== undefined) draft.untilUs = checkMoment('until', value.until, nowMs)
  if (value.cursor !== undefined) draft.cursor = checkCursor(checkText('cursor', value.cursor))
  for (const name of SWITCHES) {
    const flag = value[name]
    if (flag === undefined) continue
    if (typeof flag !== 'boolean') throw badQuery(`${name} takes true or false`)
    draft[name] = flag
  }
  return draft
}

/** The object that fromSubscribeJson reads as `subscription`. */
export function toSubscribeJson(subscription: Subscription): Record<string, unknown> {
  const { sinceUs, untilUs, ...rest } = subscription
  return {
    ...rest,
    ...(sinceUs !== undefined && { since: formatTime(sinceUs) }),
    ...(untilUs !== undefined && { until: formatTime(untilUs) }),
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function checkText(name: string, value: unknown): string {
  if (typeof value === 'string') return value
  throw badQuery(`${name} takes a text`)
}

function filtersFromJson(value: unknown): FilterSpec[] {
  if (value === undefined) return []
  const bad = (): VethflowError =>
    badQuery('filters takes a list as in [{"name": "from-pod", "values": ["default/web"], "negate": false}]')
  if (!Array.isArray(value)) throw bad()
  return value.map((entry: unknown) => {
    if (!isObject(entry)) throw bad()
    const { name, values, negate } = entry
    if (typeof name !== 'string' || !Array.isArray(values)) throw bad()
    if (!values.every((text): text is string => typeof text === 'string')) throw bad()
    if (negate !== undefined && typeof negate !== 'boolean') throw bad()
    return { name, values, negate: negate ?? false }
  })
}
