// The gateway: agents' streams in, one stream out. Adds nothing to a record but its place in the gateway's own stream.

import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'

import { formatListen, type ListenAddress } from '../../agent/flag-values.js'
import { version } from '../../agent/version.js'
import { type FlowMessage, type LostMessage, Stage, Unit } from '../protocol/messages.js'
import type { SecurityOptions } from '../server/auth/security.js'
import { type StreamLog, StreamServer } from '../server/server.js'
import { Runs } from './runs.js'
import { Upstream } from './upstream.js'

/** After this long a gateway is ready with the agents that it has. */
const READY_AFTER_MS = 30_000

/** What a gateway reads and where it serves. */
export interface GatewayConfig {
  /** URLs of the agents, each once. */
  readonly agents: readonly string[]
  readonly listen: ListenAddress
  readonly historyBytes: number
  readonly insecure: boolean
  readonly security?: SecurityOptions
}

/** A running gateway. Whoever opened it closes it. */
export class Gateway {
  readonly #server: StreamServer
  readonly #stop: AbortController
  readonly #reading: Promise<unknown>
  readonly #upstreams: readonly Upstream[]

  private constructor(
    server: StreamServer,
    stop: AbortController,
    upstreams: readonly Upstream[],
    reading: Promise<unknown>,
  ) {
    this.#server = server
    this.#stop = stop
    this.#upstreams = upstreams
    this.#reading = reading
  }

  /** Listens, and begins to read the agents. Throws a VethflowError when it cannot listen. */
  static async open(config: GatewayConfig, log: StreamLog): Promise<Gateway> {
    const startedMs = performance.now()
    const runs = new Runs()
    const upstreams: Upstream[] = []
    const ready = (): boolean =>
      upstreams.every((upstream) => upstream.connected) || performance.now() - startedMs > READY_AFTER_MS
    const server = await StreamServer.open({
      listen: formatListen(config.listen),
      nodeName: hostname(),
      agentId: randomBytes(8).toString('hex'),
      version: version(),
      historyBytes: config.historyBytes,
      insecure: config.insecure,
      ...(config.security !== undefined && { security: config.security }),
      status: () => upstreams.map((upstream) => upstream.status()),
      ready,
      hookInterface: () => undefined,
      log,
    })
    const sink = {
      flows: (flows: readonly FlowMessage[]) => publish(server, flows, log),
      lost: (lost: LostMessage) => server.publishLost([lost]),
      changed: (upstream: Upstream, problem: string) => {
        if (problem === '') log.info({ agent: upstream.url }, 'agent connected')
        else log.warn({ agent: upstream.url, problem }, 'agent missing')
      },
    }
    for (const url of config.agents) upstreams.push(new Upstream(url, runs, sink))
    const stop = new AbortController()
    const reading = Promise.all(upstreams.map((upstream) => upstream.run(stop.signal)))
    return new Gateway(server, stop, upstreams, reading)
  }

  /** Where it listens, `ADDR:PORT`. */
  get address(): string {
    return this.#server.address
  }

  /** How many agents are connected now. */
  get connected(): number {
    return this.#upstreams.filter((upstream) => upstream.connected).length
  }

  /** Leaves the agents, then its clients. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#reading
    await this.#server.close()
  }
}

/** Hands flows on; those that cannot be are lost here, and that is told. */
function publish(server: StreamServer, flows: readonly FlowMessage[], log: StreamLog): void {
  try {
    server.publishFlows(flows)
  } catch (error) {
    log.warn({ err: error, flows: flows.length }, 'flows could not be passed on')
    const times = flows.map((flow) => flow.timeUs ?? 0)
    server.publishLost([
      {
        nodeName: flows[0]?.nodeName ?? '',
        stage: Stage.STAGE_GATEWAY,
        unit: Unit.UNIT_RECORDS,
        count: flows.length,
        sinceUs: Math.min(...times),
        untilUs: Math.max(...times),
      },
    ])
  }
}
