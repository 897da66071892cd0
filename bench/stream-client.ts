// Clients of a stream under load, all in one process: what they received, what they were told was lost, how late it came.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { FrameDecoder } from '../ui-stream/protocol/decode-frame.js'
import { Stage } from '../ui-stream/protocol/messages.js'
import { Subprotocol } from '../ui-stream/protocol/names.js'
import type { Command } from './stream-process.js'

/** One client that counts. */
export class StreamClient {
  received = 0
  lost = 0
  closed = false
  /** Of the last flow of each frame, ms, while `timed`. */
  readonly latencies: number[] = []
  timed = false
  readonly socket: WebSocket
  readonly #decoder = new FrameDecoder()
  #wake: (() => void)[] = []

  private constructor(url: string) {
    this.socket = new WebSocket(url, Subprotocol.PROTOBUF)
    this.socket.on('message', (data: Buffer) => {
      const message = this.#decoder.decode(data)
      const flows = message.flows ?? []
      this.received += flows.length
      for (const loss of message.lost ?? [])
        if (loss.stage === Stage.STAGE_CLIENT) this.lost += loss.count ?? 0
      const last = flows.at(-1)
      if (this.timed && last?.timeUs) {
        this.latencies.push(performance.timeOrigin + performance.now() - last.timeUs / 1000)
      }
      this.#woken()
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
      this.#woken()
    })
  }

  /** Connects and waits until the server has taken in what it asks for. */
  static async open(address: string, query: string): Promise<StreamClient> {
    const client = new StreamClient(`ws://${address}/v1/flows${query}`)
    await once(client.socket, 'open')
    return client
  }

  /** Resolves when everything that the server sent before has arrived. */
  async sync(): Promise<void> {
    const pong = once(this.socket, 'pong')
    this.socket.ping()
    await pong
  }

  /** Waits for `done`, at most `ms`. */
  async until(done: () => boolean, ms: number): Promise<void> {
    const end = performance.now() + ms
    while (!done() && performance.now() < end) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100)
        this.#wake.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  /** Reads nothing from its kernel socket until `resume`. */
  stall(): void {
    this.#kernelSocket.pause()
  }

  resume(): void {
    this.#kernelSocket.resume()
  }

  async close(): Promise<void> {
    if (this.closed) return
    const closed = once(this.socket, 'close')
    this.socket.terminate()
    await closed
  }

  get #kernelSocket(): { pause(): void; resume(): void } {
    return (this.socket as unknown as { _socket: { pause(): void; resume(): void } })._socket
  }

  #woken(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}

/** The server's process; whoever starts it closes it. */
export class StreamProcess {
  readonly #child: ChildProcess

  constructor() {
    const script = fileURLToPath(new URL('stream-process.js', import.meta.url))
    this.#child = fork(script, [], { execArgv: ['--expose-gc'] })
  }

  /** Sends a command and waits for its answer; one at a time. */
  async ask<T = unknown>(command: Command): Promise<T> {
    const answer = once(this.#child, 'message')
    this.#child.send(command)
    const [{ value, error }] = (await answer) as [{ value: T; error?: string }]
    if (error !== undefined) throw new Error(error)
    return value
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }
}
