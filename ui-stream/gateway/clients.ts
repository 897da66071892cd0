// How clients of a gateway are served beyond what its stream itself does: those who ask for the past get the agents' first,
// and those who ask for each node's own records get a stream of those.

import type { WebSocket } from 'ws'
import { formatCursor, parseCursor } from '../protocol/cursor.js'
import { CloseCode, type Subprotocol } from '../protocol/names.js'
import { follows, formatQuery, parseQuery, type Subscription } from '../protocol/subscription.js'
import type { Grant } from '../server/auth/grant.js'
import { FlowFilter } from '../server/filter.js'
import type { StreamServer } from '../server/server.js'
import type { GatewayDemand } from './demand.js'
import { type PastPiece, readPast } from './past.js'
import { sendPast } from './send-past.js'
import type { Upstream } from './upstream.js'

/** Clients that are being told the past at a time; each reads all agents. */
const MOST_PASTS = 16

export interface GatewayClientsOptions {
  /** Names this run in cursors. */
  readonly agentId: string
  readonly demand: GatewayDemand
  readonly upstreams: () => readonly Upstream[]
  /** Publishes everything that still waits to be put in order. */
  readonly flush: () => void
  /** The stream of joined records, and that of each node's own. */
  readonly joined: () => StreamServer
  readonly unjoined: () => StreamServer
}

export class GatewayClients {
  readonly #options: GatewayClientsOptions
  readonly #stop = new AbortController()
  #pasts = 0

  constructor(options: GatewayClientsOptions) {
    this.#options = options
  }

  /** See Intercept of ui-stream/server. Those who may see some namespaces only have a stream and a past of their own. */
  readonly intercept = (
    socket: WebSocket,
    subprotocol: Subprotocol,
    query: URLSearchParams,
    grant: Grant,
  ): boolean => {
    if (grant.scope !== undefined) return false
    const unjoined = ['true', '', '1'].includes(query.get('unjoined') ?? 'false')
    const server = unjoined ? this.#options.unjoined() : this.#options.joined()
    const subscription = this.#pastOf(query)
    if (subscription === undefined) {
      if (!unjoined) return false
      server.adopt(socket, subprotocol, query, grant)
      return true
    }
    if (this.#pasts >= MOST_PASTS) {
      socket.close(CloseCode.TRY_LATER)
      return true
    }
    void this.#tell(socket, subprotocol, subscription, !unjoined, (rest) =>
      server.adopt(socket, subprotocol, rest, grant),
    )
    return true
  }

  close(): void {
    this.#stop.abort()
  }

  /** What of the agents' past is asked for; undefined for none, or for something that cannot be served. */
  #pastOf(query: URLSearchParams): Subscription | undefined {
    const wait = ['true', '', '1'].includes(query.get('wait') ?? 'false')
    if (wait) return undefined
    try {
      const subscription = parseQuery(query, Date.now())
      FlowFilter.compile(subscription)
      const { cursor, last, sinceUs, untilUs } = subscription
      // A cursor of this run leads into the gateway's own history.
      const resumes = cursor !== undefined && parseCursor(cursor)?.agentId === this.#options.agentId
      const asks = last !== undefined || sinceUs !== undefined || untilUs !== undefined
      return asks && !resumes && last !== 0 ? subscription : undefined
    } catch {
      // The session says what is wrong.
      return undefined
    }
  }

  async #tell(
    socket: WebSocket,
    subprotocol: Subprotocol,
    subscription: Subscription,
    joined: boolean,
    adopt: (query: URLSearchParams) => void,
  ): Promise<void> {
    const { demand, flush, upstreams, agentId } = this.#options
    const following = follows(subscription)
    const stop = new AbortController()
    const signal = AbortSignal.any([this.#stop.signal, stop.signal])
    socket.on('close', () => stop.abort())
    socket.on('error', () => stop.abort())
    // From here on what agents send belongs to the stream, what they sent before to the past: no record is in both.
    if (following) {
      demand.set(socket, subscription)
      demand.apply()
    }
    flush()
    const from = (joined ? this.#options.joined() : this.#options.unjoined()).nextSequence
    this.#pasts++
    try {
      const pieces: AsyncIterable<PastPiece> = readPast(upstreams(), subscription, joined, signal)
      const there = await sendPast(socket, subprotocol, pieces, subscription.labels === true)
      if (!there) return socket.terminate()
      if (!following) return socket.close(signal.aborted ? CloseCode.GOING_AWAY : CloseCode.DONE)
      const { last: _last, sinceUs: _since, cursor: _cursor, ...rest } = subscription
      adopt(formatQuery({ ...rest, follow: true, cursor: formatCursor(agentId, from - 1) }))
    } catch {
      socket.close(CloseCode.TRY_LATER)
    } finally {
      this.#pasts--
      if (following) demand.delete(socket)
    }
  }
}
