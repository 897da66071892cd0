// Short words for writing rows: hooks there and back, a record of a connection that nothing translates.

import { at, type End, type Expected, type Talk } from './row.js'

/** Hooks of interfaces that a connection comes in by first: of a pod that speaks, of the uplink for what comes to the node. */
export const via = (...names: string[]): string[] => names.flatMap((name) => [`${name}>`, `>${name}`])

/** Hooks of interfaces that a connection goes out by first. */
export const leaving = (...names: string[]): string[] => names.flatMap((name) => [`>${name}`, `${name}>`])

/** A connection from the client's own port, forwarded unless `rest` says otherwise. */
export const direct = (
  source: End,
  destination: End,
  port: number | undefined,
  rest: Pick<Expected, 'direction' | 'observations'> & Partial<Expected>,
): Expected => ({
  source: at(source, port === undefined ? undefined : 'client'),
  destination: at(destination, port),
  verdict: 'FORWARDED',
  ...rest,
})

export const tcp = (from: string, to: string, port: number, translatedAt?: string): Talk => ({
  kind: 'tcp',
  from,
  to,
  port,
  ...(translatedAt === undefined ? {} : { translatedAt }),
})

export const udp = (from: string, to: string, port: number, translatedAt?: string): Talk => ({
  ...tcp(from, to, port, translatedAt),
  kind: 'udp',
})

export const ping = (from: string, to: string): Talk => ({ kind: 'ping', from, to })
