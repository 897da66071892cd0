// The flags of `vethflow tail`, and what they come to.

import { readFileSync } from 'node:fs'

import { usageError } from '../../agent/errors.js'
import { oneOf, plainText, wholeNumber } from '../../agent/flag-values.js'
import { flagError, parseFlags, quote, switchFlag, valueFlag } from '../../agent/flags.js'
import { DEFAULT_SERVER, serverUrl } from '../client/server-url.js'
import type { FilterSpec } from '../protocol/filters.js'
import { MAX_LAST } from '../protocol/subscription.js'
import { parseMoment } from '../protocol/time.js'
import { collectFilters, filterFlags } from './filter-flags.js'

export type OutputForm = 'compact' | 'wide' | 'json'

/** What a person asked `vethflow tail` for, checked. */
export interface TailConfig {
  readonly server: string
  readonly token: (() => string | undefined) | undefined
  readonly ca: string | undefined
  readonly filters: readonly FilterSpec[]
  /** Undefined: as the stream takes it, on unless history is asked for. */
  readonly follow: boolean | undefined
  readonly last: number | undefined
  readonly since: string | undefined
  readonly until: string | undefined
  readonly own: boolean
  readonly labels: boolean
  readonly output: OutputForm
  readonly colour: 'auto' | 'always' | 'never'
  readonly reconnect: boolean
}

/** Flags that say which server to ask, shared by all clients. */
export const serverFlags = {
  server: valueFlag({
    name: 'server',
    takes: 'URL',
    help: 'agent or gateway to ask',
    group: 'Server',
    parse: (text, where) => {
      serverUrl(text, where)
      return text
    },
    fallback: DEFAULT_SERVER,
    shownDefault: DEFAULT_SERVER,
  }),
  tokenFile: valueFlag({
    name: 'token-file',
    takes: 'FILE',
    help: 'file with a bearer token, or the token itself in VETHFLOW_TOKEN',
    group: 'Server',
    parse: plainText('a file'),
  }),
  caFile: valueFlag({
    name: 'ca-file',
    takes: 'FILE',
    help: 'PEM file of the authority to trust',
    group: 'Server',
    parse: plainText('a file'),
  }),
}

/** The flag table of `vethflow tail`. */
export const tailFlags = {
  follow: switchFlag({
    name: 'follow',
    short: 'f',
    help: 'go on with new flows (default unless --last or --since is given)',
    group: 'What',
    env: false,
  }),
  last: valueFlag({
    name: 'last',
    takes: 'N',
    help: 'the newest N flows of history',
    group: 'What',
    env: false,
    parse: wholeNumber(0, MAX_LAST),
  }),
  since: valueFlag({
    name: 'since',
    takes: 'WHEN',
    help: 'from then on: 5m, or 2026-01-31T12:00:00Z',
    group: 'What',
    env: false,
    parse: moment,
  }),
  until: valueFlag({
    name: 'until',
    takes: 'WHEN',
    help: 'up to then',
    group: 'What',
    env: false,
    parse: moment,
  }),
  own: switchFlag({ name: 'own', help: "with vethflow's own connections", group: 'What', env: false }),
  labels: switchFlag({
    name: 'labels',
    help: 'with the labels of endpoints (json)',
    group: 'What',
    env: false,
  }),
  output: valueFlag({
    name: 'output',
    short: 'o',
    takes: 'compact|wide|json',
    help: 'form; bytes are since the last record, at CLOSED in all',
    group: 'How',
    parse: outputForm,
    fallback: 'compact' as const,
    shownDefault: 'compact',
  }),
  color: valueFlag({
    name: 'color',
    takes: 'auto|always|never',
    help: 'auto: on a terminal, unless NO_COLOR is set',
    group: 'How',
    parse: oneOf('auto', 'always', 'never'),
    fallback: 'auto' as const,
    shownDefault: 'auto',
  }),
  noReconnect: switchFlag({ name: 'no-reconnect', help: 'end when the connection breaks', group: 'How' }),
  ...serverFlags,
  ...filterFlags,
}

/** Parses the flags of `vethflow tail`. Throws a usage error that names what is wrong. */
export function parseTailConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): TailConfig {
  const { values, given, occurrences } = parseFlags('vethflow tail', tailFlags, argv, { env })
  return {
    server: values.server,
    token: tokenSource(values.tokenFile, argv, env),
    ca: trustedCa(values.caFile),
    filters: collectFilters(occurrences),
    follow: given.has('follow') ? values.follow : undefined,
    last: values.last,
    since: values.since,
    until: values.until,
    own: values.own,
    labels: values.labels,
    output: values.output,
    colour: values.color,
    reconnect: !values.noReconnect,
  }
}

/** The PEM text behind `--ca-file`. */
export function trustedCa(file: string | undefined): string | undefined {
  if (file === undefined) return undefined
  const text = readText('--ca-file', file)
  if (!text.includes('-----BEGIN CERTIFICATE-----')) {
    throw usageError(`--ca-file takes a PEM file with certificates, and ${quote(file)} has none`)
  }
  return text
}

/** Where the bearer token comes from: the flag's file, VETHFLOW_TOKEN, the variable's file. Read before each connection. */
export function tokenSource(
  file: string | undefined,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): (() => string | undefined) | undefined {
  const asFlag = argv.some((word) => word === '--token-file' || word.startsWith('--token-file='))
  const inline = env.VETHFLOW_TOKEN
  if (!asFlag && inline !== undefined && inline !== '') return () => checkToken('VETHFLOW_TOKEN', inline)
  if (file === undefined) return undefined
  const read = (): string => checkToken('--token-file', readText('--token-file', file))
  read()
  return read
}

/** A token goes into a header: one word of visible ASCII (RFC 6750, b64token). */
function checkToken(where: string, text: string): string {
  const token = text.trim()
  if (!/^[\x21-\x7e]{1,16384}$/.test(token))
    throw usageError(`${where} takes a bearer token, one word of ASCII`)
  return token
}

function readText(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw usageError(`${flag} takes a file that can be read, and ${quote(path)} cannot: ${reason}`)
  }
}

function moment(text: string, where: string): string {
  if (parseMoment(text, Date.now()) === undefined) {
    throw flagError(where, 'a duration such as 5m or a time such as 2026-01-31T12:00:00Z', text)
  }
  return text
}

function outputForm(text: string, where: string): OutputForm {
  if (text.startsWith('custom=')) throw usageError(`${where} custom=... is not available in this version`)
  return oneOf('compact', 'wide', 'json')(text, where)
}
