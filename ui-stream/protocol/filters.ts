// The filters of docs/contract.md: their names, and their values checked and parsed. The server evaluates what comes out
// (ui-stream/server/filter.ts); tail uses it to refuse a bad flag before it connects. Runs in browsers.

import { ExitCode, VethflowError } from '../../agent/errors.js'
import { type Network, parseNetwork } from './address.js'
import { type LabelSelector, parseLabelSelector } from './label-selector.js'
import { Direction, Event, Verdict } from './messages.js'
import { ErrorCode } from './names.js'
import { parseProtocol } from './protocol-number.js'
import { parseTcpFlagBits, TCP_FLAG_NAMES } from './tcp-flags.js'

/** One filter as it travels: the name as in a query (`from-pod`), values or'ed. */
export interface FilterSpec {
  readonly name: string
  readonly values: readonly string[]
  readonly negate: boolean
}

/** Which end a filter looks at. */
export type FilterEnd = 'any' | 'source' | 'destination'

/** A parsed value, by kind of filter. */
export type FilterValue =
  | { readonly kind: 'pod'; readonly namespace: string | undefined; readonly prefix: string }
  | { readonly kind: 'namespace'; readonly namespace: string }
  | { readonly kind: 'workload'; readonly workloadKind: string | undefined; readonly name: string }
  | { readonly kind: 'service'; readonly namespace: string | undefined; readonly name: string }
  | { readonly kind: 'node'; readonly node: string }
  | { readonly kind: 'label'; readonly selector: LabelSelector }
  | { readonly kind: 'ip'; readonly network: Network }
  | { readonly kind: 'port'; readonly low: number; readonly high: number }
  | { readonly kind: 'dns'; readonly glob: string }
  | { readonly kind: 'protocol'; readonly protocol: number }
  | { readonly kind: 'verdict'; readonly verdict: number }
  | { readonly kind: 'drop-reason'; readonly reason: string }
  | { readonly kind: 'tcp-flags'; readonly flags: number }
  | { readonly kind: 'direction'; readonly direction: number }
  | { readonly kind: 'interface'; readonly glob: string }
  | { readonly kind: 'event'; readonly event: number }

export type FilterKind = FilterValue['kind']

/** A filter whose values have been parsed; all of one kind. */
export interface Filter {
  /** As given: `from-pod`. */
  readonly name: string
  readonly end: FilterEnd
  readonly negate: boolean
  readonly values: readonly FilterValue[]
}

const MAX_FILTERS = 64
const MAX_VALUES = 256
const MAX_VALUE_LENGTH = 1024

interface Definition {
  /** What it takes, as the end of a sentence. */
  readonly takes: string
  /** Has from- and to- forms. */
  readonly ends: boolean
  readonly parse: (value: string) => FilterValue | undefined
}

/** Splits `[head/]tail`; undefined when a part is empty or there are more than two. */
function slashed(value: string): [string | undefined, string] | undefined {
  const parts = value.split('/')
  if (parts.some((part) => part === '') || parts.length > 2) return undefined
  return parts.length === 2 ? [parts[0], parts[1]!] : [undefined, parts[0]!]
}

function plain(value: string): boolean {
  return value !== '' && !/[\s/]/.test(value)
}

/** Number of an enum's value by its name without the type's prefix, case ignored. */
function enumNumber(
  values: Readonly<Record<string, string | number>>,
  prefix: string,
  text: string,
): number | undefined {
  const number = values[`${prefix}_${text.toUpperCase()}`]
  return typeof number === 'number' && number !== 0 ? number : undefined
}

function parsePort(value: string): FilterValue | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(value)
  if (match === null) return undefined
  const low = Number(match[1])
  const high = Number(match[2] ?? match[1])
  return low >= 1 && low <= high && high <= 65535 ? { kind: 'port', low, high } : undefined
}

const DEFINITIONS: Readonly<Record<FilterKind, Definition>> = {
  pod: {
    takes: '[NAMESPACE/]PREFIX of a pod name, as in default/web or web',
    ends: true,
    parse(value) {
      // "ns/" is every pod of the namespace.
      const slash = value.indexOf('/')
      const namespace = slash < 0 ? undefined : value.slice(0, slash)
      const prefix = value.slice(slash + 1)
      if (/[\s/]/.test(prefix) || namespace === '' || (prefix === '' && slash < 0)) return undefined
      return { kind: 'pod', namespace, prefix }
    },
  },
  namespace: {
    takes: 'the name of a namespace',
    ends: true,
    parse: (value) => (plain(value) ? { kind: 'namespace', namespace: value } : undefined),
  },
  workload: {
    takes: '[KIND/]NAME of a workload, as in Deployment/web or web',
    ends: true,
    parse(value) {
      const parts = slashed(value)
      return parts && { kind: 'workload', workloadKind: parts[0]?.toLowerCase(), name: parts[1] }
    },
  },
  service: {
    takes: '[NAMESPACE/]NAME of a service, as in default/web or web',
    ends: true,
    parse(value) {
      const parts = slashed(value)
      return parts && { kind: 'service', namespace: parts[0], name: parts[1] }
    },
  },
  node: {
    takes: 'the name of a node',
    ends: true,
    parse: (value) => (plain(value) ? { kind: 'node', node: value } : undefined),
  },
  label: {
    takes: 'a label selector, as in app=web,tier!=cache or "app in (web,api)"',
    ends: true,
    parse(value) {
      const selector = parseLabelSelector(value)
      return selector && { kind: 'label', selector }
    },
  },
  ip: {
    takes: 'an IP address or a network in CIDR form, as in 10.0.0.7 or fd00::/8',
    ends: true,
    parse(value) {
      const network = parseNetwork(value)
      return network && { kind: 'ip', network }
    },
  },
  port: { takes: 'a port from 1 to 65535 or a range, as in 80 or 8000-8999', ends: true, parse: parsePort },
  dns: {
    takes: 'a DNS name, or a glob as in *.example.com',
    ends: true,
    parse(value) {
      const glob = value.endsWith('.') ? value.slice(0, -1) : value
      return plain(glob) ? { kind: 'dns', glob } : undefined
    },
  },
  protocol: {
    takes: 'TCP, UDP, SCTP, ICMP, ICMPv6 or a protocol number from 0 to 255',
    ends: false,
    parse(value) {
      const protocol = parseProtocol(value)
      return protocol === undefined ? undefined : { kind: 'protocol', protocol }
    },
  },
  verdict: {
    takes: 'FORWARDED, DROPPED, REFUSED or UNANSWERED',
    ends: false,
    parse(value) {
      const verdict = enumNumber(Verdict, 'VERDICT', value)
      return verdict === undefined ? undefined : { kind: 'verdict', verdict }
    },
  },
  'drop-reason': {
    takes: "one of the kernel's drop reasons, as in NO_SOCKET",
    ends: false,
    parse: (value) =>
      /^[A-Za-z0-9_]{1,64}$/.test(value) ? { kind: 'drop-reason', reason: value.toUpperCase() } : undefined,
  },
  'tcp-flags': {
    takes: `TCP flags joined by commas (${TCP_FLAG_NAMES.join(', ')}), as in syn,ack`,
    ends: false,
    parse(value) {
      const flags = parseTcpFlagBits(value)
      return flags === undefined ? undefined : { kind: 'tcp-flags', flags }
    },
  },
  direction: {
    takes: 'INGRESS, EGRESS, LOCAL or TRANSIT',
    ends: false,
    parse(value) {
      const direction = enumNumber(Direction, 'DIRECTION', value)
      return direction === undefined ? undefined : { kind: 'direction', direction }
    },
  },
  interface: {
    takes: 'the name of an interface, or a glob as in veth*',
    ends: false,
    parse: (value) => (plain(value) ? { kind: 'interface', glob: value } : undefined),
  },
  event: {
    takes: 'OPENED, UPDATED, CLOSED or DROPPED',
    ends: false,
    parse(value) {
      const event = enumNumber(Event, 'EVENT', value)
      return event === undefined ? undefined : { kind: 'event', event }
    },
  },
}

const KINDS = Object.keys(DEFINITIONS) as FilterKind[]

/** Every name that a filter can have, with what it takes: for `--help` and for documentation. */
export function filterNames(): { readonly name: string; readonly takes: string }[] {
  return KINDS.flatMap((kind) => {
    const { ends, takes } = DEFINITIONS[kind]
    const names = ends ? [kind, `from-${kind}`, `to-${kind}`] : [kind]
    return names.map((name) => ({ name, takes }))
  })
}

/** True when `name` (without `not.`) is a filter's. */
export function isFilterName(name: string): boolean {
  return resolve(name) !== undefined
}

function resolve(name: string): { kind: FilterKind; end: FilterEnd } | undefined {
  const match = /^(?:(from|to)-)?(.+)$/.exec(name)
  const kind = KINDS.find((known) => known === match?.[2])
  if (match === null || kind === undefined || (match[1] !== undefined && !DEFINITIONS[kind].ends))
    return undefined
  return { kind, end: match[1] === undefined ? 'any' : match[1] === 'from' ? 'source' : 'destination' }
}

/** The error for a filter that cannot be used: exit code 2 in a command, an error frame on the stream. */
export function badFilter(message: string): VethflowError {
  return new VethflowError(ErrorCode.BAD_FILTER, message, { exitCode: ExitCode.USAGE })
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text)
}

/** Parses filters in the order given. Throws a VethflowError that names the filter and what it takes. */
export function parseFilters(specs: readonly FilterSpec[]): Filter[] {
  const values = specs.reduce((sum, spec) => sum + spec.values.length, 0)
  if (specs.length > MAX_FILTERS || values > MAX_VALUES) {
    throw badFilter(`Too many filters: at most ${MAX_FILTERS} with ${MAX_VALUES} values in all`)
  }
  return specs.map(parseFilter)
}

function parseFilter(spec: FilterSpec): Filter {
  const found = resolve(spec.name)
  if (found === undefined)
    throw badFilter(`There is no filter ${quoted(spec.name)}; filters are ${KINDS.join(', ')}`)
  const { kind, end } = found
  const { takes, parse } = DEFINITIONS[kind]
  if (spec.values.length === 0) throw badFilter(`${spec.name} needs a value: it takes ${takes}`)
  const values = spec.values.map((text) => {
    const value = text.length > MAX_VALUE_LENGTH ? undefined : parse(text)
    if (value === undefined) throw badFilter(`${spec.name}=${quoted(text)} is not valid: it takes ${takes}`)
    return value
  })
  return { name: spec.name, end, negate: spec.negate, values }
}
