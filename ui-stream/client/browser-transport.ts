// WebSocket in a browser (or any host that has the web's own WebSocket). Cannot set headers and cannot hold the peer
// back: the token goes into the query, and what does not fit the feed's queue is lost and told.

import type { Connection, Dial } from './transport.js'

/** As much of the web's WebSocket as is needed here. */
interface WebSocketLike {
  binaryType: string
  onopen: (() => void) | null
  onmessage: ((event: { data: unknown }) => void) | null
  onclose: ((event: { code: number; reason: string }) => void) | null
  close(code?: number): void
}

/** Opens a connection with the host's own WebSocket. */
export const dialBrowser: Dial = (request, events): Connection => {
  const url = new URL(request.url)
  if (request.token !== undefined) url.searchParams.set('access_token', request.token)
  const host = globalThis as unknown as {
    WebSocket: new (address: string, subprotocol: string) => WebSocketLike
  }
  let told = false
  const finish = (code: number, reason: string): void => {
    if (told) return
    told = true
    events.closed({ code, reason })
  }
  let socket: WebSocketLike
  try {
    socket = new host.WebSocket(url.href, request.subprotocol)
  } catch (cause) {
    queueMicrotask(() => finish(1006, cause instanceof Error ? cause.message : String(cause)))
    return { canPause: false, pause: nothing, resume: nothing, close: nothing }
  }
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => events.opened()
  socket.onmessage = ({ data }) => {
    if (told) return
    if (data instanceof ArrayBuffer) events.frame(new Uint8Array(data))
    else {
      finish(1003, 'the server sent text where binary frames were agreed')
      socket.close()
    }
  }
  socket.onclose = ({ code, reason }) => finish(code, reason)
  return {
    canPause: false,
    pause: nothing,
    resume: nothing,
    close() {
      told = true
      socket.close(1000)
    },
  }
}

function nothing(): void {}
