// WebSocket in a browser (or any host that has the web's own WebSocket and fetch). Cannot set headers and cannot hold the
// peer back: a token is exchanged for a ticket first, and what does not fit the feed's queue is lost and told.

import { MAX_SERVER_FRAME_BYTES, Path, Subprotocol } from '../protocol/names.js'
import { httpUrl } from './server-url.js'
import type { Connection, ConnectionEnd, Dial, DialRequest } from './transport.js'

/** As much of the web's WebSocket as is needed here. */
interface WebSocketLike {
  binaryType: string
  onopen: (() => void) | null
  onmessage: ((event: { data: unknown }) => void) | null
  onclose: ((event: { code: number; reason: string }) => void) | null
  readonly readyState: number
  send(frame: Uint8Array): void
  close(code?: number): void
}

const TICKET_TIMEOUT_MS = 10_000

/** Opens a connection with the host's own WebSocket. */
export const dialBrowser: Dial = (request, events): Connection => {
  const stop = new AbortController()
  let told = false
  let socket: WebSocketLike | undefined
  const finish = (end: ConnectionEnd): void => {
    if (told) return
    told = true
    events.closed(end)
  }
  let inflated = Promise.resolve()
  const take = (bytes: Uint8Array<ArrayBuffer>): void => {
    const compressed = request.subprotocol === Subprotocol.DEFLATE
    inflated = inflated
      .then(() => (compressed ? inflate(bytes) : bytes))
      .then((frame) => {
        if (!told) events.frame(frame)
      })
      .catch((cause: unknown) => {
        finish({ code: 1003, reason: 'the server sent a frame that cannot be inflated', cause })
        socket?.close()
      })
  }
  const open = (url: URL): void => {
    if (told) return
    const host = globalThis as unknown as {
      WebSocket: new (address: string, subprotocol: string) => WebSocketLike
    }
    socket = new host.WebSocket(url.href, request.subprotocol)
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => events.opened()
    socket.onmessage = ({ data }) => {
      if (told) return
      if (data instanceof ArrayBuffer) take(new Uint8Array(data))
      else {
        finish({ code: 1003, reason: 'the server sent text where binary frames were agreed' })
        socket?.close()
      }
    }
    socket.onclose = ({ code, reason }) => {
      // Behind the frames that are still being inflated.
      inflated = inflated.then(() => finish({ code, reason }))
    }
  }
  const failed = (cause: unknown): void => {
    const reason = cause instanceof Error ? cause.message : String(cause)
    finish(cause instanceof Refused ? cause.end : { code: 1006, reason })
  }
  // Never throws: what fails comes as `closed`, after the caller has the connection in hand.
  if (request.token === undefined) queueMicrotask(() => attempt(() => open(new URL(request.url)), failed))
  else withTicket(request, request.token, stop.signal).then(open).catch(failed)
  return {
    canPause: false,
    send(frame) {
      if (socket?.readyState === 1) socket.send(frame)
    },
    pause: nothing,
    resume: nothing,
    close() {
      told = true
      stop.abort()
      socket?.close(1000)
    },
  }
}

/** One whole zlib stream (RFC 1950). Rejects what is none, or larger than a server may send. */
async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate')).getReader()
  const parts: Uint8Array[] = []
  let length = 0
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value)
    length += part.value.length
    if (length > MAX_SERVER_FRAME_BYTES) {
      await reader.cancel()
      throw new Error('the frame is too large')
    }
  }
  const frame = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    frame.set(part, at)
    at += part.length
  }
  return frame
}

/** The server said no to the token. */
class Refused extends Error {
  readonly end: ConnectionEnd

  constructor(httpStatus: number, reason: string) {
    super(reason)
    this.end = { code: 1006, reason, httpStatus }
  }
}

/** The stream's URL with a ticket that was fetched for `token`. */
async function withTicket(request: DialRequest, token: string, signal: AbortSignal): Promise<URL> {
  const url = new URL(request.url)
  const base = new URL(url)
  base.pathname = base.pathname.slice(0, -Path.FLOWS.length)
  base.search = ''
  const response = await fetch(httpUrl(base, Path.TICKET), {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    credentials: 'omit',
    redirect: 'error',
    signal: AbortSignal.any([signal, AbortSignal.timeout(TICKET_TIMEOUT_MS)]),
  })
  if (!response.ok) throw new Refused(response.status, (await response.text()).trim().slice(0, 300))
  const { ticket } = (await response.json()) as { ticket?: unknown }
  if (typeof ticket !== 'string') throw new Error('the server gave no ticket')
  url.searchParams.set('ticket', ticket)
  return url
}

function attempt(work: () => void, failed: (cause: unknown) => void): void {
  try {
    work()
  } catch (cause) {
    failed(cause)
  }
}

function nothing(): void {}
