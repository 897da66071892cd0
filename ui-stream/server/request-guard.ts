// Refuses requests that a browser was tricked into: foreign Host headers on loopback (DNS rebinding) and WebSockets
// opened by other sites' pages (cross-site WebSocket hijacking; the same-origin policy does not hold for WebSockets).

import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { isLoopback } from './listen-address.js'

/** Why a request is refused; an HTTP status and a sentence. */
export interface Refusal {
  readonly status: number
  readonly message: string
  readonly headers?: Readonly<Record<string, string>>
}

/** The name or address in a Host header, without port and brackets; undefined when it is malformed. */
function hostname(host: string): string | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/@\s]+))(?::\d{1,5})?$/.exec(host)
  return match?.[1] ?? match?.[2]
}

/** A request that came in over loopback has to be addressed to loopback. Clients without a Host header are no browsers. */
export function checkHost(request: IncomingMessage): Refusal | undefined {
  const { host } = request.headers
  const local = request.socket.localAddress?.replace(/^::ffff:/, '')
  if (host === undefined || local === undefined || !isLoopback(local)) return undefined
  const name = hostname(host)
  if (name !== undefined && isLoopback(name)) return undefined
  return {
    status: 403,
    message: 'The Host header names another host than this one; use 127.0.0.1 or localhost',
  }
}

/** A page may only open a stream of the server that it came from. Clients that are no browsers send no Origin. */
export function checkOrigin(request: IncomingMessage): Refusal | undefined {
  const { origin, host } = request.headers
  if (origin === undefined) return undefined
  const match = /^(https?):\/\/(.+)$/.exec(origin)
  // A proxy may have ended TLS before us, but nobody takes TLS off between a page and its own server.
  const plain = match?.[1] === 'http' && request.socket instanceof TLSSocket
  const same = match !== null && host !== undefined && match[2]!.toLowerCase() === host.toLowerCase()
  if (same && !plain) return undefined
  return { status: 403, message: 'The Origin header names another site than this server' }
}
