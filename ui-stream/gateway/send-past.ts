// Sends the agents' past to one client, at its pace, before it becomes a client of the gateway's own stream. These frames
// carry no cursor: who breaks off here begins anew.

import { deflate } from 'node:zlib'
import type { WebSocket } from 'ws'
import { frameToJson } from '../protocol/frame-json.js'
import { type EndpointMessage, type FlowMessage, StreamMessage } from '../protocol/messages.js'
import { Subprotocol } from '../protocol/names.js'
import type { PastPiece } from './past.js'

/** Far below what a client has to accept in one frame. */
const FLOWS_A_FRAME = 256

/** Resolves with true when all has been handed to the socket, false when the client has gone. */
export async function sendPast(
  socket: WebSocket,
  subprotocol: Subprotocol,
  pieces: AsyncIterable<PastPiece>,
  labels: boolean,
): Promise<boolean> {
  for await (const { flows, lost } of pieces) {
    for (let i = 0; i < Math.max(flows.length, lost.length > 0 ? 1 : 0); i += FLOWS_A_FRAME) {
      const part = flows.slice(i, i + FLOWS_A_FRAME).map((flow) => withoutPlace(flow, labels))
      const message = { flows: part, ...(i === 0 && lost.length > 0 && { lost: [...lost] }) }
      if (!(await send(socket, subprotocol, message))) return false
    }
  }
  return socket.readyState === socket.OPEN
}

async function send(
  socket: WebSocket,
  subprotocol: Subprotocol,
  message: Parameters<typeof StreamMessage.encode>[0],
): Promise<boolean> {
  if (subprotocol === Subprotocol.JSON) {
    let gone = false
    const frames = frameToJson(StreamMessage.decode(StreamMessage.encode(message).finish()))
    for (const frame of frames.slice(0, -1)) socket.send(JSON.stringify(frame), () => undefined)
    const last = frames.at(-1)
    if (last !== undefined) gone = await written(socket, JSON.stringify(last))
    return !gone
  }
  const bytes = StreamMessage.encode(message).finish()
  const frame = subprotocol === Subprotocol.PROTOBUF ? bytes : await deflated(bytes)
  return !(await written(socket, frame))
}

/** True when the client has gone. */
function written(socket: WebSocket, frame: Uint8Array | string): Promise<boolean> {
  return new Promise((resolve) => socket.send(frame, (error) => resolve(error != null)))
}

function deflated(bytes: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) =>
    deflate(bytes, (error, result) => (error === null ? resolve(result) : reject(error))),
  )
}

/** Sequences are the agents' own. */
function withoutPlace(flow: FlowMessage, labels: boolean): FlowMessage {
  const bare = (end: EndpointMessage): EndpointMessage => (labels ? end : { ...end, labels: null })
  return {
    ...flow,
    sequence: 0,
    ...(flow.source && { source: bare(flow.source) }),
    ...(flow.destination && { destination: bare(flow.destination) }),
  }
}
