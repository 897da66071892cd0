// Runs a real agent in a node of the testbed and follows its stream from the test, as a user's program would.

import { connect, type FilterSpec } from '../../ui-stream/client/index.js'
import { flowToJson } from '../../ui-stream/protocol/json.js'
import type { FlowJson, StatusJson } from '../../ui-stream/protocol/json-types.js'
import type { LostMessage } from '../../ui-stream/protocol/messages.js'
import { type Namespace, type Node, repository, type Task, type Testbed } from '../testbed/index.js'

export const CLI = `${repository}/dist/ui-stream/cli.js`

export interface AgentOptions {
  readonly manifests?: string
  readonly interfaces?: readonly string[]
  readonly updateInterval?: string
  readonly flags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Words in front of the command, such as setpriv and what it takes. */
  readonly under?: readonly string[]
  /** What the test wants to see of the stream; all unless given. */
  readonly filters?: readonly FilterSpec[]
}

interface Waiter {
  readonly test: () => boolean
  readonly done: () => void
}

/** An agent that captures, and everything that it has told since. Close it. */
export class RunningAgent {
  readonly task: Task
  readonly port: number
  /** Every record in the order of the stream. */
  readonly flows: FlowJson[] = []
  readonly lost: LostMessage[] = []
  /** Wall clock (ms) at which each record of `flows` arrived. */
  readonly arrivedMs: number[] = []
  readonly #forward: Task
  readonly #stop = new AbortController()
  readonly #waiters = new Set<Waiter>()
  #feed: Promise<void> = Promise.resolve()
  #failure: unknown

  private constructor(task: Task, forward: Task, port: number) {
    this.task = task
    this.#forward = forward
    this.port = port
  }

  static async start(
    bed: Testbed,
    node: Namespace,
    name: string,
    options: AgentOptions = {},
  ): Promise<RunningAgent> {
    const task = await node.start(
      [
        ...(options.under ?? []),
        process.execPath,
        CLI,
        'agent',
        '--node-name',
        name,
        ...(options.manifests === undefined ? ['--no-kubernetes'] : ['--manifests', options.manifests]),
        ...(options.interfaces ?? []).flatMap((glob) => ['--interface', glob]),
        '--update-interval',
        options.updateInterval ?? '1s',
        ...(options.flags ?? []),
      ],
      options.env === undefined ? {} : { env: options.env },
    )
    await task.said(/"msg":"capturing"/, 20_000)
    const { port, task: forward } = await bed.forward(node, '127.0.0.1:4280')
    const agent = new RunningAgent(task, forward, port)
    await agent.#follow(options.filters ?? [])
    return agent
  }

  async #follow(filters: readonly FilterSpec[]): Promise<void> {
    let connected: () => void = () => undefined
    const ready = new Promise<void>((resolve) => {
      connected = resolve
    })
    this.#feed = (async () => {
      const feed = connect({
        server: `ws://127.0.0.1:${this.port}`,
        since: new Date(0),
        filters,
        follow: true,
        signal: this.#stop.signal,
        reconnect: false,
      })
      for await (const message of feed) {
        if (message.type === 'connected') connected()
        else if (message.type === 'flows') {
          const now = Date.now()
          for (const flow of message.flows) {
            this.flows.push(flowToJson(flow))
            this.arrivedMs.push(now)
          }
        } else if (message.type === 'lost') this.lost.push(message.lost)
        else if (message.type === 'error') this.#failure = new Error(message.error.message ?? 'stream error')
        this.#look()
      }
    })().catch((error: unknown) => {
      this.#failure = error
      this.#look()
    })
    await ready
  }

  #look(): void {
    for (const waiter of this.#waiters) if (this.#failure !== undefined || waiter.test()) waiter.done()
  }

  /** Resolves when `test` holds, looked at whenever something arrives. Rejects after `timeoutMs`. */
  async until(what: string, test: (agent: RunningAgent) => boolean, timeoutMs = 15_000): Promise<void> {
    if (test(this)) return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        reject(
          new Error(`after ${timeoutMs} ms: not ${what}; ${this.flows.length} records\n${this.summary()}`),
        )
      }, timeoutMs)
      const waiter: Waiter = {
        test: () => test(this),
        done: () => {
          clearTimeout(timer)
          this.#waiters.delete(waiter)
          if (this.#failure !== undefined) reject(this.#failure)
          else resolve()
        },
      }
      this.#waiters.add(waiter)
    })
  }

  /** The last record of each flow. */
  latest(): FlowJson[] {
    const byId = new Map<number, FlowJson>()
    for (const flow of this.flows) byId.set(flow.id ?? 0, flow)
    return [...byId.values()]
  }

  /** One line a flow, for failures. */
  summary(): string {
    return this.latest()
      .slice(-40)
      .map(
        (f) =>
          `#${f.id} ${f.event} ${f.protocol} ${f.source?.ip}:${f.source?.port} -> ${f.service?.ip ?? ''}:${f.service?.port ?? ''} ` +
          `${f.destination?.ip}:${f.destination?.port} ${f.verdict ?? '-'} f ${f.forward.totalPackets}/${f.forward.totalBytes} ` +
          `r ${f.reverse.totalPackets}/${f.reverse.totalBytes} ${f.observations?.map((o) => `${o.interface}:${o.direction}`).join(',')}`,
      )
      .join('\n')
  }

  async status(): Promise<StatusJson> {
    const response = await fetch(`http://127.0.0.1:${this.port}/v1/status`)
    return (await response.json()) as StatusJson
  }

  /** The sum of a metric over all its labels that match. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.port}/metrics`)).text()
    let sum = 0
    for (const line of text.split('\n')) {
      const match = /^(\w+)(?:\{(.*)\})? ([-+.\deE]+)$/.exec(line)
      if (match === null || match[1] !== name) continue
      const has = Object.entries(labels).every(([key, value]) => match[2]?.includes(`${key}="${value}"`))
      if (has) sum += Number(match[3])
    }
    return sum
  }

  /** Ends the agent and waits for everything that it still tells. */
  async close(): Promise<void> {
    await this.task.stop('SIGTERM', 10_000)
    await this.#feed
    this.#stop.abort()
    await this.#forward.stop()
  }

  /** Kills the agent the hard way. */
  async kill(): Promise<void> {
    await this.task.stop('SIGKILL')
    this.#stop.abort()
    await this.#feed
    await this.#forward.stop()
  }
}

/** Deltas of the records, summed, and whether they agree with the totals of each flow. */
export function sums(flows: readonly FlowJson[]): {
  packets: number
  bytes: number
  forward: number
  reverse: number
  consistent: boolean
} {
  const byId = new Map<string, { fp: number; fb: number; rp: number; rb: number; last: FlowJson }>()
  for (const flow of flows) {
    const key = `${flow.nodeName}/${flow.agentId}/${flow.id}`
    const sum = byId.get(key) ?? { fp: 0, fb: 0, rp: 0, rb: 0, last: flow }
    sum.fp += flow.forward.packets
    sum.fb += flow.forward.bytes
    sum.rp += flow.reverse.packets
    sum.rb += flow.reverse.bytes
    sum.last = flow
    byId.set(key, sum)
  }
  const total = { packets: 0, bytes: 0, forward: 0, reverse: 0, consistent: true }
  for (const { fp, fb, rp, rb, last } of byId.values()) {
    total.forward += fp
    total.reverse += rp
    total.packets += fp + rp
    total.bytes += fb + rb
    if (
      fp !== last.forward.totalPackets ||
      fb !== last.forward.totalBytes ||
      rp !== last.reverse.totalPackets ||
      rb !== last.reverse.totalBytes
    )
      total.consistent = false
  }
  return total
}

export type { FlowJson, Node }
