// WebSocket in Node, by ws. Can set headers, trust another authority, and hold the peer back by not reading.

import type { IncomingMessage } from 'node:http'
import { inflateSync } from 'node:zlib'
import WebSocket from 'ws'

import { MAX_SERVER_FRAME_BYTES, PING_INTERVAL_MS, Subprotocol } from '../protocol/names.js'
import type { Connection, ConnectionEnd, Dial } from './transport.js'

const HANDSHAKE_TIMEOUT_MS = 10_000
const MAX_REFUSAL_BYTES = 4096

/** Opens a connection with ws. Twice the server's ping interval without a byte ends it. */
export const dialNode: Dial = (request, events): Connection => {
  let end: ConnectionEnd | undefined
  let told = false
  let paused = false
  let heard = false
  const finish = (code: number, reason: string): void => {
    clearInterval(guard)
    if (told) return
    told = true
    events.closed(end ?? { code, reason })
  }
  const guard = setInterval(() => {
    if (!heard && !paused && socket.readyState === WebSocket.OPEN) {
      end = { code: 1006, reason: 'the server has fallen silent' }
      socket.terminate()
    }
    heard = false
  }, 2 * PING_INTERVAL_MS)
  guard.unref()

  const socket = new WebSocket(request.url, request.subprotocol, {
    maxPayload: MAX_SERVER_FRAME_BYTES,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    perMessageDeflate: false,
    followRedirects: false,
    ...(request.token === undefined ? {} : { headers: { authorization: `Bearer ${request.token}` } }),
    ...(request.ca === undefined ? {} : { ca: request.ca }),
    ...request.identity,
    ...(request.serverName === undefined ? {} : { servername: request.serverName }),
  })
  socket.binaryType = 'nodebuffer'
  const take = (data: Buffer): void => {
    const compressed = request.subprotocol === Subprotocol.DEFLATE
    try {
      events.frame(compressed ? inflateSync(data, { maxOutputLength: MAX_SERVER_FRAME_BYTES }) : data)
    } catch (cause) {
      end = { code: 1003, reason: 'the server sent a frame that cannot be inflated', cause }
      socket.terminate()
    }
  }
  socket.on('open', () => events.opened())
  socket.on('ping', () => {
    heard = true
  })
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    heard = true
    if (told) return
    if (isBinary) take(data)
    else {
      end = { code: 1003, reason: 'the server sent text where binary frames were agreed' }
      socket.terminate()
    }
  })
  socket.on('unexpected-response', (_request, response: IncomingMessage) => {
    readRefusal(response, (text) => {
      end = { code: 1006, reason: text, httpStatus: response.statusCode ?? 0 }
      socket.terminate()
      finish(1006, text)
    })
  })
  socket.on('error', (cause) => {
    end ??= { code: 1006, reason: cause.message, cause }
  })
  socket.on('close', (code, reason) => finish(code, reason.toString()))

  return {
    canPause: true,
    send(frame) {
      if (socket.readyState === WebSocket.OPEN) socket.send(frame)
    },
    pause() {
      paused = true
      socket.pause()
    },
    resume() {
      paused = false
      heard = true
      socket.resume()
    },
    close() {
      told = true
      clearInterval(guard)
      if (socket.readyState === WebSocket.OPEN) {
        socket.close(1000)
        // Whoever is paused would never see the peer's answer.
        socket.resume()
        const kill = setTimeout(() => socket.terminate(), 1000)
        kill.unref()
        socket.once('close', () => clearTimeout(kill))
      } else socket.terminate()
    },
  }
}

/** What the server answered in place of a WebSocket, bounded: the message of a JSON error, or the text's first line. */
function readRefusal(response: IncomingMessage, done: (text: string) => void): void {
  let body = ''
  let finished = false
  const finish = (): void => {
    if (finished) return
    finished = true
    response.destroy()
    done(refusalText(body) || `HTTP ${response.statusCode ?? '?'} ${response.statusMessage ?? ''}`.trim())
  }
  response.setEncoding('utf8')
  response.setTimeout(HANDSHAKE_TIMEOUT_MS, finish)
  response.on('data', (chunk: string) => {
    body += chunk
    if (body.length > MAX_REFUSAL_BYTES) finish()
  })
  response.on('end', finish)
  response.on('error', finish)
}

function refusalText(body: string): string {
  try {
    const parsed = JSON.parse(body) as { error?: { message?: unknown }; message?: unknown }
    const message = parsed?.error?.message ?? parsed?.message
    if (typeof message === 'string') return message.slice(0, 300)
  } catch {
    // Not JSON: the text itself.
  }
  const line = body.trim().split('\n', 1)[0] ?? ''
  return line.startsWith('<') ? '' : line.slice(0, 300)
}
