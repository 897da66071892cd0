// The gateway: agents' streams in, one stream out. Wires it: agents -> order -> join -> server, and what clients want back
// to the agents. Keeps nothing that another gateway could not build up in a moment.

import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'

import { formatListen, type ListenAddress } from '../../agent/flag-values.js'
import type { Connection } from '../../agent/identity/kubernetes/connection.js'
import { version } from '../../agent/version.js'
import { type FlowMessage, type LostMessage, Stage, Unit } from '../protocol/messages.js'
import type { SecurityOptions } from '../server/auth/security.js'
import { type StreamLog, StreamServer, type StreamServerOptions } from '../server/server.js'
import { type AgentCredentials, credentialOptions } from './agent-credentials.js'
import { Agents } from './agents.js'
import { GatewayClients } from './clients.js'
import { GatewayDemand } from './demand.js'
import { Discovery, type ServiceToFollow } from './discover.js'
import { Join } from './join.js'
import { Reorder } from './reorder.js'
import type { AgentAddress, Upstream } from './upstream.js'

/** After this long a gateway is ready with the agents that it has. */
const READY_AFTER_MS = 30_000
/** How often views that found no record are looked for. */
const LATE_MS = 250
/** The stream of each node's own records goes on so long without anybody who reads it. */
const UNJOINED_LINGER_MS = 60_000
/** Records that are encoded together. */
const BATCH = 2048

/** What a gateway reads and where it serves. */
export interface GatewayConfig {
  /** URLs of the agents, each once. */
  readonly agents: readonly string[]
  /** Whose endpoints are agents, too, and the API server that knows them; ours from now on. */
  readonly discover?: { readonly service: ServiceToFollow; readonly connection: Connection }
  /** What is shown to agents, and trusted of them. With an authority or a certificate, agents are spoken to by TLS. */
  readonly credentials?: AgentCredentials
  readonly listen: ListenAddress
  readonly historyBytes: number
  readonly insecure: boolean
  readonly security?: SecurityOptions
}

/** A running gateway. Whoever opened it closes it. */
export class Gateway {
  readonly #log: StreamLog
  readonly #agents: Agents
  readonly #demand: GatewayDemand
  readonly #order: Reorder
  readonly #join = new Join()
  readonly #clients: GatewayClients
  readonly #options: StreamServerOptions
  readonly #late: NodeJS.Timeout
  #discovery: Discovery | undefined
  #server!: StreamServer
  #unjoined: StreamServer | undefined
  #unjoinedUsedMs = 0

  private constructor(config: GatewayConfig, log: StreamLog) {
    this.#log = log
    const startedMs = performance.now()
    const agentId = randomBytes(8).toString('hex')
    this.#demand = new GatewayDemand((wanted) => this.#agents.want(wanted))
    this.#order = new Reorder((flows) => this.#publish(flows))
    this.#agents = new Agents({
      flows: (flows) => this.#take(flows),
      lost: (lost) => this.#lost([lost]),
      changed: (upstream, problem) => this.#changed(upstream, problem),
    })
    this.#clients = new GatewayClients({
      agentId,
      demand: this.#demand,
      upstreams: () => this.#agents.all,
      flush: () => this.#order.flush(),
      joined: () => this.#server,
      unjoined: () => this.#openUnjoined(),
    })
    this.#options = {
      listen: formatListen(config.listen),
      nodeName: hostname(),
      agentId,
      version: version(),
      historyBytes: config.historyBytes,
      insecure: config.insecure,
      ...(config.security !== undefined && { security: config.security }),
      status: () => this.#agents.statuses(),
      ready: () =>
        (this.#discovery?.synced !== false && this.#agents.connected === this.#agents.all.length) ||
        performance.now() - startedMs > READY_AFTER_MS,
      hookInterface: () => undefined,
      log,
      demand: this.#demand,
      intercept: this.#clients.intercept,
    }
    this.#late = setInterval(() => this.#tellLate(), LATE_MS).unref()
  }

  /** Listens, and begins to read the agents. Throws a VethflowError when it cannot listen or a file cannot be read. */
  static async open(config: GatewayConfig, log: StreamLog): Promise<Gateway> {
    const gateway = new Gateway(config, log)
    const { credentials = {}, discover } = config
    try {
      const options = credentialOptions(credentials)
      gateway.#server = await StreamServer.open(gateway.#options)
      const named: AgentAddress[] = config.agents.map((url) => ({ url, credentials: options }))
      gateway.#agents.replace(named)
      if (discover !== undefined) {
        const scheme = options.ca !== undefined || options.identity !== undefined ? 'wss' : 'ws'
        const { name, namespace } = discover.service
        const byName = { serverName: `${name}.${namespace}.svc`, ...options }
        gateway.#discovery = new Discovery({
          ...discover,
          log: { info: (message) => log.info({}, message), warn: (message) => log.warn({}, message) },
          found: (found) =>
            gateway.#agents.replace([
              ...named,
              ...found.map(({ address, nodeName }) => ({
                url: `${scheme}://${address}`,
                credentials: byName,
                ...(nodeName !== undefined && { nodeName }),
              })),
            ]),
        })
      }
    } catch (error) {
      discover?.connection.close()
      clearInterval(gateway.#late)
      throw error
    }
    return gateway
  }

  /** Where it listens, `ADDR:PORT`. */
  get address(): string {
    return this.#server.address
  }

  /** How many agents are connected now. */
  get connected(): number {
    return this.#agents.connected
  }

  /** Leaves the agents, then its clients. */
  async close(): Promise<void> {
    clearInterval(this.#late)
    this.#demand.close()
    this.#clients.close()
    await this.#discovery?.close()
    await this.#agents.close()
    this.#order.close()
    this.#send(this.#join.end())
    await Promise.all([this.#server.close(), this.#unjoined?.close()])
  }

  #take(flows: readonly FlowMessage[]): void {
    const now = performance.now()
    for (const flow of flows) this.#join.announce(flow, now)
    this.#order.push(flows)
  }

  /** Flows in their order. */
  #publish(flows: FlowMessage[]): void {
    if (this.#unjoined !== undefined)
      for (const part of parts(flows)) publish(this.#unjoined, part, this.#log)
    const now = performance.now()
    this.#send(flows.flatMap((flow) => this.#join.join(flow, now)))
  }

  #send(flows: readonly FlowMessage[]): void {
    for (const part of parts(flows)) publish(this.#server, part, this.#log)
  }

  #tellLate(): void {
    this.#send(this.#join.late(performance.now()))
    if (this.#unjoined === undefined) return
    const now = performance.now()
    if (this.#unjoined.clients > 0) this.#unjoinedUsedMs = now
    else if (now - this.#unjoinedUsedMs > UNJOINED_LINGER_MS) {
      void this.#unjoined.close()
      this.#unjoined = undefined
    }
  }

  /** The stream of each node's own records: made when somebody asks for it. */
  #openUnjoined(): StreamServer {
    this.#unjoinedUsedMs = performance.now()
    this.#unjoined ??= StreamServer.behind(this.#options)
    return this.#unjoined
  }

  #lost(losses: readonly LostMessage[]): void {
    this.#server.publishLost(losses)
    this.#unjoined?.publishLost(losses)
  }

  #changed(upstream: Upstream, problem: string): void {
    const { url, nodeName } = upstream
    if (problem === '') this.#log.info({ agent: url, node: nodeName }, 'agent connected')
    else this.#log.warn({ agent: url, node: nodeName, problem }, 'agent missing')
  }
}

function* parts(flows: readonly FlowMessage[]): Generator<readonly FlowMessage[]> {
  for (let i = 0; i < flows.length; i += BATCH) yield flows.slice(i, i + BATCH)
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
