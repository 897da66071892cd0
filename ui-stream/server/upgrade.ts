// From an HTTP upgrade request to a WebSocket, or to a plain HTTP answer that says why not.

import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { DEFAULT_SUBPROTOCOL, Path, Subprotocol } from '../protocol/names.js'
import { PAGE_HEADERS } from './page-headers.js'
import { checkHost, checkOrigin, type Refusal } from './request-guard.js'

/** The subprotocol to speak with a client that offers `header` (RFC 6455, 11.3.4); undefined when it knows none of ours. */
export function chooseSubprotocol(header: string | undefined): Subprotocol | undefined {
  if (header === undefined) return DEFAULT_SUBPROTOCOL
  const offered = header.split(',').map((name) => name.trim())
  return offered.find((name): name is Subprotocol =>
    (Object.values(Subprotocol) as readonly string[]).includes(name),
  )
}

/** Why a request cannot become a stream, authorization apart. */
export function checkUpgrade(request: IncomingMessage, path: string): Refusal | undefined {
  const refusal = checkHost(request) ?? checkOrigin(request)
  if (refusal !== undefined) return refusal
  if (path !== Path.FLOWS)
    return { status: 404, message: `There is no WebSocket here; flows are at ${Path.FLOWS}` }
  if (chooseSubprotocol(request.headers['sec-websocket-protocol']) !== undefined) return undefined
  return {
    status: 400,
    message: `Offer one of the subprotocols ${Object.values(Subprotocol).join(', ')}`,
  }
}

/** Answers an upgrade request with plain HTTP and ends the connection. */
export function refuseUpgrade(socket: Duplex, refusal: Refusal): void {
  const body = `${refusal.message}\n`
  socket.end(
    [
      `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}`,
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      ...Object.entries({ ...PAGE_HEADERS, ...refusal.headers }).map(([name, value]) => `${name}: ${value}`),
      '',
      body,
    ].join('\r\n'),
  )
}
