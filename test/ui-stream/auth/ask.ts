// One request, or one stream, against a server with or without TLS, and what came of it.

import { once } from 'node:events'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { SecureContextOptions } from 'node:tls'
import { WebSocket } from 'ws'
import type { FrameJson } from '../../../ui-stream/protocol/json-types.js'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'

export interface Ask {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
  /** Authority to trust; given: over TLS. */
  readonly tls?: SecureContextOptions
}

export interface Answer {
  readonly status: number
  readonly body: string
  readonly headers: IncomingHttpHeaders
}

export function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` }
}

export function ask(address: string, path: string, { tls, body, ...options }: Ask = {}): Promise<Answer> {
  const send = tls === undefined ? httpRequest : httpsRequest
  const url = `${tls === undefined ? 'http' : 'https'}://${address}${path}`
  return new Promise((resolve, reject) => {
    const request = send(url, { ...options, ...tls, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }),
      )
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** A stream in JSON; `refused` holds the HTTP answer where there is none. */
export class Stream {
  readonly socket: WebSocket
  readonly frames: FrameJson[] = []
  refused: { status: number; body: string } | undefined
  closeCode: number | undefined
  #wake: (() => void)[] = []

  private constructor(url: string, { tls, headers }: Ask) {
    this.socket = new WebSocket(url, [Subprotocol.JSON], { ...(headers && { headers }), ...tls })
    this.socket.on('message', (data: Buffer) => {
      this.frames.push(JSON.parse(data.toString()) as FrameJson)
      this.#woken()
    })
    this.socket.on('unexpected-response', (_request, response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
      })
      response.on('end', () => {
        this.refused = { status: response.statusCode ?? 0, body }
        this.socket.terminate()
      })
    })
    this.socket.on('error', () => undefined)
    this.socket.on('close', (code) => {
      this.closeCode = code
      this.#woken()
    })
  }

  /** Resolves when it stands, or has been refused. */
  static async open(address: string, query = '', options: Ask = {}): Promise<Stream> {
    const stream = new Stream(
      `${options.tls === undefined ? 'ws' : 'wss'}://${address}/v1/flows${query}`,
      options,
    )
    await new Promise((resolve) => stream.socket.once('open', resolve).once('close', resolve))
    return stream
  }

  get flows() {
    return this.frames.flatMap((frame) => frame.flow ?? [])
  }

  get ids(): number[] {
    return this.flows.map((flow) => flow.id)
  }

  get error(): string | undefined {
    return this.frames.find((frame) => frame.error !== undefined)?.error?.code
  }

  async until(done: () => boolean): Promise<void> {
    while (!done()) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }

  async ended(): Promise<number> {
    await this.until(() => this.closeCode !== undefined)
    return this.closeCode!
  }

  /** A round trip: everything that the server sent before it answered has arrived. */
  async sync(): Promise<void> {
    const pong = once(this.socket, 'pong')
    this.socket.ping()
    await pong
  }

  close(): void {
    this.socket.terminate()
  }

  #woken(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}
