// What flag values look like: durations, sizes, addresses, counts. Shared vocabulary, used by every command.
// Pure functions from text to value; every refusal names the flag and what it takes.

import { isIP } from 'node:net'

import { flagError, type ParseValue } from './flags.js'

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** Milliseconds of `1m30s`, `500ms`, `2h`; undefined when `text` is no duration. */
export function durationMs(text: string): number | undefined {
  if (text.length > 32 || !/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(text)) return undefined
  let total = 0
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(number) * (DURATION_UNITS_MS[unit ?? ''] ?? 0)
  }
  return total
}

/** A duration between two bounds, both in ms and included. */
export function durationBetween(min: string, max: string): ParseValue<number> {
  const least = durationMs(min) ?? 0
  const most = durationMs(max) ?? 0
  return (text, where) => {
    const ms = durationMs(text)
    if (ms === undefined || ms < least || ms > most) {
      throw flagError(where, `a duration from ${min} to ${max} such as 5s`, text)
    }
    return ms
  }
}

/** A whole number between two bounds, both included. */
export function wholeNumber(min: number, max: number): ParseValue<number> {
  return (text, where) => {
    const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (!(number >= min && number <= max)) {
      throw flagError(where, `a whole number from ${min} to ${max}`, text)
    }
    return number
  }
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
}

/** A size in bytes: `64MiB`, `64Mi` (as Kubernetes writes it), `64MB`, or plain bytes. */
export function byteSize(min: number, max: number, bounds: string): ParseValue<number> {
  return (text, where) => {
    const match = /^(\d{1,15}(?:\.\d{1,6})?)\s?([A-Za-z]*)$/.exec(text)
    const unit = match === null ? undefined : SIZE_UNITS[match[2] ?? '']
    const bytes = match === null || unit === undefined ? Number.NaN : Math.round(Number(match[1]) * unit)
    if (!(bytes >= min && bytes <= max)) throw flagError(where, `a size ${bounds} such as 64MiB`, text)
    return bytes
  }
}

/** Where a server listens. */
export interface ListenAddress {
  /** An IP address or `localhost`, without brackets; `::` for every address. */
  readonly host: string
  /** 0: any free port. */
  readonly port: number
}

/** `127.0.0.1:4280`, `[::1]:4280`, `localhost:4280`, or `:4280` for every address. */
export function listenAddress(text: string, where: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3] ?? Number.NaN)
  const known =
    host !== undefined &&
    (match?.[1] !== undefined ? isIP(host) === 6 : host === '' || host === 'localhost' || isIP(host) === 4)
  if (!known || !(port <= 65_535)) {
    throw flagError(where, 'ADDRESS:PORT such as 127.0.0.1:4280 or [::1]:4280', text)
  }
  return { host: host === '' ? '::' : host, port }
}

/** True for an address that other machines cannot reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/** Any text without control characters, not empty and not longer than a path may be. */
export function plainText(takes: string): ParseValue<string> {
  return (text, where) => {
    if (text === '' || text.length > 4096 || /[\u0000-\u001f\u007f]/.test(text)) {
      throw flagError(where, takes, text)
    }
    return text
  }
}

/** A pattern for interface names (`*`, `?`); IFNAMSIZ bounds the names, not the pattern, to 15 characters. */
export function interfaceGlob(text: string, where: string): string {
  if (!/^[^\s/\u0000-\u001f\u007f]{1,64}$/.test(text)) {
    throw flagError(where, 'an interface name or a pattern such as veth*', text)
  }
  return text
}

/** A node's name as Kubernetes allows it: RFC 1123 subdomain, at most 253 characters. */
export function nodeName(text: string, where: string): string {
  if (text.length > 253 || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(text)) {
    throw flagError(where, 'a node name (lower-case letters, digits, - and .)', text)
  }
  return text
}

/** One of a few words. */
export function oneOf<const T extends string>(...words: readonly T[]): ParseValue<T> {
  return (text, where) => {
    const found = words.find((word) => word === text)
    if (found === undefined) throw flagError(where, words.join(', '), text)
    return found
  }
}

/** `ADDRESS:PORT` as it is written, IPv6 in brackets. */
export function formatListen({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
