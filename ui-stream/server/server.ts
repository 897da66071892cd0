// The stream's server: one HTTP listener, the history, and a session for each client. Publishing encodes once, keeps the
// batch in history and hands it to every session. Knows nothing of where flows come from.

import { randomBytes } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Registry } from 'prom-client'
import { type WebSocket, WebSocketServer } from 'ws'
import { VethflowError } from '../../agent/errors.js'
import type { NamedBatch } from '../../agent/identity/names.js'
import { type FlowMessage, type LostMessage, Stage, type StatusMessage, Unit } from '../protocol/messages.js'
import { CloseCode, MAX_CLIENT_FRAME_BYTES, type Subprotocol } from '../protocol/names.js'
import type { Admission, Grant, Scope } from './auth/grant.js'
import { scopedStatus } from './auth/scoped-status.js'
import type { ViewServer } from './auth/scoped-view.js'
import { ScopedViews, VIEW_HISTORY_PART } from './auth/scoped-views.js'
import { Security, type SecurityOptions } from './auth/security.js'
import { type EncodedRows, FlowEncoder } from './encode.js'
import { FilterPool } from './filter-pool.js'
import { FlowImporter } from './from-proto.js'
import { History } from './history.js'
import type { HookInterface } from './hook-bytes.js'
import { answer } from './http-pages.js'
import { checkExposure, type ListenAddress, parseListen } from './listen-address.js'
import { StreamMetrics } from './metrics.js'
import { QueueBudget } from './queue-budget.js'
import type { Demand } from './session-context.js'
import { Sessions } from './sessions.js'
import { Turns } from './turns.js'
import { checkUpgrade, chooseSubprotocol, refuseUpgrade } from './upgrade.js'

/** The part of a logger that the server uses. */
export interface StreamLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  debug(fields: object, message: string): void
}

export interface StreamServerOptions {
  /** `ADDR:PORT`; port 0 takes a free one. */
  readonly listen: string
  readonly nodeName: string
  /** Changes with each start; names this run in cursors. No spaces and no colon. */
  readonly agentId: string
  readonly version: string
  /** 64 MiB unless given; 0 keeps none. */
  readonly historyBytes?: number
  /** Allows listening where other machines can reach it without TLS and token. */
  readonly insecure?: boolean
  /** One agent's state, or on a gateway those of all agents. Asked for at every request. */
  readonly status: () => StatusMessage | readonly StatusMessage[]
  readonly ready: () => boolean
  readonly hookInterface: HookInterface
  readonly log: StreamLog
  /** TLS, and who may read: everybody unless given. Nobody is asked for /healthz and /readyz. */
  readonly security?: SecurityOptions
  /** How often it is asked whether those who are connected still may be, ms; every 10 s unless given. */
  readonly reviewIntervalMs?: number
  /** Learns what clients ask for (a gateway passes it on). */
  readonly demand?: Demand
  /** Takes a client over before it becomes one of this server's; true when it has. */
  readonly intercept?: Intercept
  /** 128 unless given. */
  readonly maxClients?: number
  /** What may wait for one client: 8 MiB and 65,536 records unless given. */
  readonly clientQueueBytes?: number
  readonly clientQueueRecords?: number
  /** What may wait for all clients together: 64 MiB unless given. */
  readonly queueBytes?: number
  /** 30 s unless given. */
  readonly pingIntervalMs?: number
}

/** Somebody else's way with a client that was let in. */
export type Intercept = (
  socket: WebSocket,
  subprotocol: Subprotocol,
  query: URLSearchParams,
  grant: Grant,
) => boolean

const HISTORY_BYTES = 64 * 1024 * 1024
const QUEUE_BYTES = 8 * 1024 * 1024
const QUEUE_RECORDS = 65_536
const ALL_QUEUES_BYTES = 64 * 1024 * 1024

export class StreamServer {
  readonly #options: StreamServerOptions
  readonly #security: Security | undefined
  readonly #encoder: FlowEncoder
  readonly #importer = new FlowImporter()
  readonly #history: History
  readonly #budget: QueueBudget
  readonly #metrics: StreamMetrics
  readonly #sessions: Sessions
  /** Undefined behind another server, which hands over its sockets. */
  readonly #http: Server | undefined
  readonly #webSockets: WebSocketServer
  readonly #views: ScopedViews | undefined
  #closing: Promise<void> | undefined
  #onClose: () => void = () => undefined

  private constructor(options: StreamServerOptions, security: Security | undefined) {
    this.#options = options
    this.#security = security
    this.#encoder = new FlowEncoder(options)
    this.#history = new History(options.historyBytes ?? HISTORY_BYTES, (chunk) => {
      this.#sessions.evicted(chunk)
      this.#views?.evicted(chunk)
    })
    this.#budget = new QueueBudget(options.queueBytes ?? ALL_QUEUES_BYTES)
    const gauges = {
      queuedBytes: () => this.#budget.used,
      clients: () => this.clients,
      historyBytes: () => this.#history.bytes,
      historyRecords: () => this.#history.records,
    }
    this.#metrics = new StreamMetrics(gauges, security !== undefined)
    this.#sessions = new Sessions(options, this.#metrics, {
      agentId: options.agentId,
      nodeName: options.nodeName,
      startedUs: Date.now() * 1000,
      stage: () => (Array.isArray(options.status()) ? Stage.STAGE_GATEWAY : Stage.STAGE_AGENT),
      history: this.#history,
      filters: new FilterPool(),
      turns: new Turns(),
      budget: this.#budget,
      metrics: this.#metrics,
      limits: {
        bytes: options.clientQueueBytes ?? QUEUE_BYTES,
        records: options.clientQueueRecords ?? QUEUE_RECORDS,
      },
      status: () => this.#status(),
      ...(options.demand !== undefined && { demand: options.demand }),
    })
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: MAX_CLIENT_FRAME_BYTES,
      maxFragments: 64,
      maxBufferedChunks: 1024,
      handleProtocols: (offered) => chooseSubprotocol([...offered].join(',')) ?? false,
    })
    if (security === undefined) return
    if (security.scopes) this.#views = new ScopedViews(this.#history, () => this.#openView())
    const pages = {
      status: () => this.#status(),
      single: () => !Array.isArray(options.status()),
      ready: options.ready,
      metrics: this.#metrics,
      admit: (request: IncomingMessage) => security.admit(request, false),
      ticket: (request: IncomingMessage, grant: Grant) => security.ticket(request, grant),
    }
    this.#http = security.createServer((request, response) => void answer(request, response, pages))
    if (security.asks) security.onChange = () => this.#sessions.review()
    this.#http.maxConnections = this.#sessions.most + 64
    this.#http.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket, head))
  }

  /**
   * Starts to listen. The caller closes the server.
   * Throws a VethflowError: USAGE for a malformed address, INSECURE_LISTEN, LISTEN_FAILED; a usage error for a file of `security`.
   */
  static async open(options: StreamServerOptions): Promise<StreamServer> {
    const address = parseListen(options.listen)
    const security = await Security.open(options.security ?? {}, (message) => options.log.warn({}, message))
    let server: StreamServer | undefined
    try {
      const { asks, encrypts } = security
      checkExposure(address, { insecure: options.insecure ?? false, asks, encrypts })
      server = new StreamServer(options, security)
      await server.#listen(address)
    } catch (error) {
      security.close()
      if (server === undefined) throw error
      server.#sessions.stop()
      throw new VethflowError('LISTEN_FAILED', `Cannot listen on ${options.listen}`, {
        cause: error,
        hint: 'Choose another address or port with --listen',
      })
    }
    options.log.info({ address: server.address }, 'stream listens')
    return server
  }

  /** A server without a listener, behind another one that hands over clients (`adopt`). The caller closes it. */
  static behind(options: StreamServerOptions): StreamServer {
    return new StreamServer(options, undefined)
  }

  /** Where it listens, as `ADDR:PORT` with the real port. */
  get address(): string {
    const { address, port, family } = this.#http!.address() as AddressInfo
    return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`
  }

  /** How many clients are connected. */
  get clients(): number {
    return this.#sessions.size + (this.#views?.clients ?? 0)
  }

  /** Of the record that will come next. */
  get nextSequence(): number {
    return this.#history.nextSequence
  }

  /** Bytes that history takes now. */
  get historyBytes(): number {
    return this.#history.bytes
  }

  /** What /metrics shows; other stages may register theirs. */
  get registry(): Registry {
    return this.#metrics.registry
  }

  /** Sends a batch of this node to everybody whom it concerns. Keeps nothing of `named` itself. */
  publish(named: NamedBatch): void {
    if (named.flows.count > 0) this.#publish(this.#encoder.encode(named, this.#history.nextSequence))
  }

  /** The same for flows that other servers sent (a gateway). Labels have to be in them for label filters to work. */
  publishFlows(flows: readonly FlowMessage[]): void {
    if (flows.length > 0) this.#publish(this.#importer.encode(flows, this.#history.nextSequence))
  }

  /** Tells everybody of losses before the stream. */
  publishLost(losses: readonly LostMessage[]): void {
    for (const { stage, unit, count } of losses) {
      const labels = {
        stage: (Stage[stage ?? 0] ?? 'STAGE_UNKNOWN').replace(/^STAGE_/, ''),
        unit: (Unit[unit ?? 0] ?? 'UNIT_UNKNOWN').replace(/^UNIT_/, ''),
      }
      this.#metrics.lost.inc(labels, count ?? 0)
    }
    this.#sessions.lost(losses)
    this.#views?.lost(losses)
  }

  /** Takes over a client's open socket. */
  adopt(socket: WebSocket, subprotocol: Subprotocol, query: URLSearchParams, grant: Grant): void {
    this.#sessions.admit(socket, subprotocol, query, grant)
  }

  /** Sends clients what waits for them, closes their streams (1001) and the listener. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  #publish({ batch, rows }: EncodedRows): void {
    this.#metrics.published.inc(batch.count)
    this.#views?.note(rows.source, rows.count)
    this.#views?.note(rows.destination, rows.count)
    this.#history.push(batch, rows, (segment) => this.#sessions.publish(segment))
    this.#views?.published()
  }

  /** States as they go out. What only the server knows is filled in for the agent that it belongs to. */
  #status(): readonly StatusMessage[] {
    const status = this.#options.status()
    if (isList(status)) return status
    return [{ ...status, clients: this.clients, historyBytes: this.#history.bytes }]
  }

  #listen({ host, port }: ListenAddress): Promise<void> {
    return new Promise((resolve, reject) => {
      const http = this.#http!
      http.once('error', reject)
      http.listen({ host, port }, () => {
        http.off('error', reject)
        http.on('error', (error) => this.#options.log.warn({ err: error }, 'stream listener'))
        resolve()
      })
    })
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const ignore = (): void => {
      socket.destroy()
    }
    socket.on('error', ignore)
    const [path = '/', ...rest] = (request.url ?? '/').split('?')
    const admission = await this.#admit(request, path)
    if ('refusal' in admission) {
      this.#metrics.rejected.inc({ reason: String(admission.refusal.status) })
      return refuseUpgrade(socket, admission.refusal)
    }
    const { grant } = admission
    // It may have left while somebody was asked about it.
    if (socket.destroyed) return
    socket.off('error', ignore)
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      const subprotocol = chooseSubprotocol(request.headers['sec-websocket-protocol'])!
      const query = new URLSearchParams(rest.join('?'))
      if (this.#options.intercept?.(webSocket, subprotocol, query, grant)) return
      if (grant.scope === undefined) this.adopt(webSocket, subprotocol, query, grant)
      else void this.#adoptScoped(webSocket, subprotocol, query, grant, grant.scope)
    })
  }

  /** The stream of those who may see some namespaces: without a listener, fed with what they may see. */
  #openView(): ViewServer {
    const { demand, intercept: _intercept, ...options } = this.#options
    const { status } = options
    const bytes = Math.floor((this.#options.historyBytes ?? HISTORY_BYTES) / VIEW_HISTORY_PART)
    const view: StreamServer = StreamServer.behind({
      ...options,
      nodeName: '',
      agentId: randomBytes(8).toString('hex'),
      historyBytes: bytes,
      status: () => {
        const all = status()
        const veiled = scopedStatus(isList(all) ? all : [all])
        return isList(all) ? [veiled] : veiled
      },
    })
    // Which flows touch its namespaces is for the view to find out.
    demand?.set(view, { filters: [], labels: true, own: true })
    view.#onClose = () => demand?.delete(view)
    return view
  }

  /** Hands a client to the stream of its namespaces, once that has caught up; until then nothing is read of it. */
  async #adoptScoped(
    socket: WebSocket,
    subprotocol: Subprotocol,
    query: URLSearchParams,
    grant: Grant,
    scope: Scope,
  ): Promise<void> {
    socket.pause()
    const there = await this.#views!.with(scope, (view) => {
      if (socket.readyState !== socket.OPEN) return
      socket.resume()
      view.adopt(socket, subprotocol, query, grant)
    })
    if (there) return
    this.#metrics.rejected.inc({ reason: 'views' })
    socket.close(CloseCode.TRY_LATER)
    socket.resume()
  }

  async #admit(request: IncomingMessage, path: string): Promise<Admission> {
    if (this.#closing !== undefined) return { refusal: { status: 503, message: 'Shutting down' } }
    const refusal = checkUpgrade(request, path)
    if (refusal !== undefined) return { refusal }
    try {
      return await this.#security!.admit(request, true)
    } catch (error) {
      this.#options.log.warn({ err: error }, 'authorization failed')
      return { refusal: { status: 500, message: 'Authorization failed' } }
    }
  }

  async #close(): Promise<void> {
    this.#onClose()
    const http = this.#http
    const closed = new Promise<void>((resolve) =>
      http === undefined ? resolve() : http.close(() => resolve()),
    )
    http?.closeIdleConnections()
    await Promise.all([this.#sessions.close(), this.#views?.close()])
    http?.closeAllConnections()
    await closed
    this.#security?.close()
  }
}

function isList(status: StatusMessage | readonly StatusMessage[]): status is readonly StatusMessage[] {
  return Array.isArray(status)
}
