// A real StreamServer on a free port of loopback, and raw WebSocket clients that collect what they are sent. Everything
// opened here is closed by `closeAll`.

import { once } from 'node:events'
import { inflateSync } from 'node:zlib'
import { WebSocket } from 'ws'
import type { NamedBatch } from '../../../agent/identity/names.js'
import { frameToJson } from '../../../ui-stream/protocol/frame-json.js'
import type { FlowJson, FrameJson } from '../../../ui-stream/protocol/json-types.js'
import { StreamMessage } from '../../../ui-stream/protocol/messages.js'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { StreamServer, type StreamServerOptions } from '../../../ui-stream/server/server.js'
import { hookInterface, Random, randomBatch } from './corpus.js'

const opened: { close(): Promise<void> }[] = []

export async function closeAll(): Promise<void> {
  for (const thing of opened.splice(0).reverse()) await thing.close()
}

export const SILENT = { info() {}, warn() {}, debug() {} }

export async function openServer(options: Partial<StreamServerOptions> = {}): Promise<StreamServer> {
  const server = await StreamServer.open({
    listen: '127.0.0.1:0',
    nodeName: 'node-1',
    agentId: 'run1',
    version: '0.0.0',
    status: () => ({ nodeName: 'node-1', agentId: 'run1', capturing: true, connected: true }),
    ready: () => true,
    hookInterface,
    log: SILENT,
    ...options,
  })
  opened.push(server)
  return server
}

/** A client that keeps every frame, as the JSON objects of the contract. */
export class Client {
  readonly socket: WebSocket
  readonly frames: FrameJson[] = []
  readonly sizes: number[] = []
  closeCode: number | undefined
  /** Flows received, and records that the server said were lost by this client. */
  received = 0
  lost = 0
  #wake: (() => void)[] = []

  private constructor(url: string, subprotocol: string, headers: Record<string, string>) {
    this.socket = new WebSocket(url, subprotocol === '' ? [] : [subprotocol], { headers })
    this.socket.on('message', (data: Buffer, binary) => {
      this.sizes.push(data.length)
      const frames = binary
        ? frameToJson(
            StreamMessage.decode(this.socket.protocol === Subprotocol.DEFLATE ? inflateSync(data) : data),
          )
        : [JSON.parse(data.toString()) as FrameJson]
      for (const frame of frames) {
        this.frames.push(frame)
        if (frame.flow !== undefined) this.received++
        if (frame.lost?.stage === 'CLIENT') this.lost += frame.lost.count
      }
      this.#woken()
    })
    this.socket.on('close', (code) => {
      this.closeCode = code
      this.#woken()
    })
    opened.push(this)
  }

  /** Connects, offering one subprotocol or none (''); waits for the socket to be open. */
  static async open(
    server: StreamServer,
    query = '',
    subprotocol: string = Subprotocol.PROTOBUF,
    headers: Record<string, string> = {},
  ): Promise<Client> {
    const client = new Client(`ws://${server.address}/v1/flows${query}`, subprotocol, headers)
    await once(client.socket, 'open')
    return client
  }

  get flows(): FlowJson[] {
    return this.frames.flatMap((frame) => frame.flow ?? [])
  }

  get ids(): number[] {
    return this.flows.map((flow) => flow.id)
  }

  get cursor(): string | undefined {
    return this.frames.findLast((frame) => frame.cursor !== undefined)?.cursor
  }

  /** Resolves when `done` holds; looked at whenever something arrives. */
  async until(done: () => boolean): Promise<void> {
    while (!done()) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }

  async closed(): Promise<number> {
    await this.until(() => this.closeCode !== undefined)
    return this.closeCode!
  }

  async close(): Promise<void> {
    if (this.socket.readyState === WebSocket.CLOSED) return
    const closed = once(this.socket, 'close')
    this.socket.terminate()
    await closed
  }

  /** A round trip: everything that the server sent before it answered has arrived. */
  async sync(): Promise<void> {
    const pong = once(this.socket, 'pong')
    this.socket.ping()
    await pong
  }

  #woken(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}

/** Rows with ids from `first` on, all visible (not the agent's own) and untranslated, made at `timeUs` plus the id. */
export function numbered(first: number, count: number, seed = 1, timeUs = 1_790_000_000_000_000): NamedBatch {
  const named = randomBatch(new Random(seed + first), count)
  for (let row = 0; row < count; row++) {
    named.flows.id[row] = first + row
    named.flows.flags[row] = 0
    named.flows.service.set(named.flows.destination.subarray(row * 4, row * 4 + 4), row * 4)
    named.flows.servicePort[row] = named.flows.destinationPort[row]!
    named.flows.timeUs[row] = timeUs + first + row
  }
  return named
}

export function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i)
}
