// Makes one record of what two nodes tell of one connection. The source's node leads: its records go on, with what the
// other node counted as `views`. What comes from the other node waits for the leader's next record, for seconds at most.
//
//   leader's record   ->  goes on, with the views that wait
//   other's record    ->  waits as a view; where nobody leads yet, this node leads for the connection's life
//
// Nothing is swallowed: counters of a view add up to what its node told, and a view that finds no record goes with one
// that repeats the leader's last, its deltas zero.

import { type CountersMessage, Event, type FlowMessage, type ViewMessage } from '../protocol/messages.js'
import { type ConnectionKeys, keysOf } from './connection-key.js'

/** Connections that are remembered; the oldest are let go first, and their later views are records of their own. */
const MOST_CONNECTIONS = 32_768
/** A view waits so long for the leader's next record, and so long after the leader's last. */
const VIEW_WAIT_MS = 6000
const CLOSED_WAIT_MS = 500
/** What is closed, or silent, is forgotten after so long. */
const CLOSED_KEPT_MS = 10_000
const SILENT_KEPT_MS = 600_000

interface View {
  readonly forward: Required<Counters>
  readonly reverse: Required<Counters>
  timeUs: number
}
interface Counters {
  packets: number
  bytes: number
  totalPackets: number
  totalBytes: number
}

interface Connection {
  readonly keys: ConnectionKeys
  /** Whose records go on. */
  readonly leader: string
  /** The leader's last record, for what has to be said after it; undefined before its first has gone on. */
  last: FlowMessage | undefined
  readonly views: Map<string, View>
  /** When the oldest view began to wait; Infinity: none waits. */
  waitingMs: number
  closed: boolean
  seenMs: number
}

export class Join {
  readonly #connections = new Map<string, Connection>()
  readonly #mostConnections: number
  /** Connections that were let go to stay within the bound. */
  forgotten = 0
  /** Records for views of those that were let go. */
  #spilled: FlowMessage[] = []

  constructor(mostConnections = MOST_CONNECTIONS) {
    this.#mostConnections = mostConnections
  }

  get size(): number {
    return this.#connections.size
  }

  /** Notes who leads, before flows are put in order: the other node's may be in front. */
  announce(flow: FlowMessage, nowMs: number): void {
    if (!mayBeJoined(flow) || flow.nodeName !== flow.source?.nodeName) return
    const keys = keysOf(flow)
    if (keys !== undefined && this.#find(keys) === undefined) this.#add(keys, flow.nodeName ?? '', nowMs)
  }

  /** What goes on of one flow: itself, with views; or nothing for now, since it is a view. */
  join(flow: FlowMessage, nowMs: number): FlowMessage[] {
    if (!mayBeJoined(flow)) return [flow]
    const keys = keysOf(flow)
    if (keys === undefined) return [flow]
    const node = flow.nodeName ?? ''
    const connection = this.#find(keys) ?? this.#add(keys, node, nowMs)
    connection.seenMs = nowMs
    if (connection.leader === node) return this.#lead(connection, flow)
    if (flow.event === Event.EVENT_DROPPED) return [this.#dropped(connection, flow)]
    this.#wait(connection, keys, flow, nowMs)
    return []
  }

  /** Records for views that have waited long enough. Also forgets what is over. */
  late(nowMs: number): FlowMessage[] {
    const late = this.#spilled.splice(0)
    for (const [key, connection] of this.#connections) {
      const { waitingMs, closed, last, seenMs } = connection
      if (nowMs - waitingMs > (closed ? CLOSED_WAIT_MS : VIEW_WAIT_MS) && last !== undefined) {
        late.push(this.#repeat(connection, last))
      }
      const kept = closed ? CLOSED_KEPT_MS : SILENT_KEPT_MS
      if (nowMs - seenMs > kept && connection.views.size === 0) this.#forget(key, connection)
    }
    return late
  }

  /** Records for all views that wait: nothing more comes. */
  end(): FlowMessage[] {
    const late = this.#spilled.splice(0)
    for (const connection of this.#connections.values()) {
      if (connection.views.size > 0 && connection.last !== undefined)
        late.push(this.#repeat(connection, connection.last))
    }
    this.#connections.clear()
    return late
  }

  #find({ plain, translated }: ConnectionKeys): Connection | undefined {
    return (
      this.#connections.get(plain) ?? (translated === plain ? undefined : this.#connections.get(translated))
    )
  }

  #add(keys: ConnectionKeys, leader: string, nowMs: number): Connection {
    for (const [key, oldest] of this.#connections) {
      if (this.#connections.size < this.#mostConnections) break
      if (oldest.views.size > 0 && oldest.last !== undefined) {
        this.#spilled.push(this.#repeat(oldest, oldest.last))
      }
      this.#forget(key, oldest)
      this.forgotten++
    }
    const connection: Connection = {
      keys,
      leader,
      last: undefined,
      views: new Map(),
      waitingMs: Number.POSITIVE_INFINITY,
      closed: false,
      seenMs: nowMs,
    }
    this.#connections.set(keys.plain, connection)
    if (keys.translated !== keys.plain) this.#connections.set(keys.translated, connection)
    return connection
  }

  #forget(key: string, { keys }: Connection): void {
    this.#connections.delete(key)
    this.#connections.delete(keys.plain)
    this.#connections.delete(keys.translated)
  }

  #lead(connection: Connection, flow: FlowMessage): FlowMessage[] {
    const { last } = connection
    // Another connection between the same ports: what waits belongs to the one before.
    const other = last !== undefined && (last.id !== flow.id || last.agentId !== flow.agentId)
    const before =
      other && connection.views.size > 0 && connection.closed ? [this.#repeat(connection, last)] : []
    connection.last = flow
    connection.closed = flow.event === Event.EVENT_CLOSED
    if (connection.views.size === 0) return [...before, flow]
    return [...before, { ...flow, views: this.#takeViews(connection, flow) }]
  }

  /** The leader's view, and those of the others that wait. */
  #takeViews(connection: Connection, { nodeName, forward, reverse }: FlowMessage): ViewMessage[] {
    const views: ViewMessage[] = [
      { ...(nodeName && { nodeName }), ...(forward && { forward }), ...(reverse && { reverse }) },
    ]
    for (const [node, view] of connection.views) {
      views.push({ nodeName: node, forward: view.forward, reverse: view.reverse })
    }
    connection.views.clear()
    connection.waitingMs = Number.POSITIVE_INFINITY
    return views
  }

  /** The leader's last word once more, with what the others counted since. */
  #repeat(connection: Connection, last: FlowMessage): FlowMessage {
    let timeUs = last.timeUs ?? 0
    for (const view of connection.views.values()) timeUs = Math.max(timeUs, view.timeUs)
    const { drop: _drop, dns: _dns, ...rest } = last
    const flow = {
      ...rest,
      event: Event.EVENT_UPDATED,
      timeUs,
      forward: withoutDelta(last.forward),
      reverse: withoutDelta(last.reverse),
    }
    return { ...flow, views: this.#takeViews(connection, flow) }
  }

  /** Packets that the other node dropped, as something that happened to the leader's connection. */
  #dropped({ last }: Connection, flow: FlowMessage): FlowMessage {
    if (last === undefined) return flow
    const { id, agentId, nodeName } = last
    return {
      ...flow,
      ...(id && { id }),
      ...(agentId && { agentId }),
      ...(nodeName && { nodeName }),
      views: [{ ...(flow.nodeName && { nodeName: flow.nodeName }) }],
    }
  }

  #wait(connection: Connection, keys: ConnectionKeys, flow: FlowMessage, nowMs: number): void {
    const node = flow.nodeName ?? ''
    let view = connection.views.get(node)
    if (view === undefined) {
      view = { forward: zero(), reverse: zero(), timeUs: 0 }
      connection.views.set(node, view)
    }
    // The other node may take the other end for the opener.
    const turned = keys.turned !== connection.keys.turned && keys.plain === connection.keys.plain
    add(view.forward, turned ? flow.reverse : flow.forward)
    add(view.reverse, turned ? flow.forward : flow.reverse)
    view.timeUs = Math.max(view.timeUs, flow.timeUs ?? 0)
    connection.waitingMs = Math.min(connection.waitingMs, nowMs)
  }
}

/** Seen by two nodes, as far as names say: only then is there anything to wait for. */
function mayBeJoined({ source, destination, nodeName }: FlowMessage): boolean {
  const [from, to] = [source?.nodeName, destination?.nodeName]
  return !!nodeName && !!from && !!to && from !== to
}

function zero(): Counters {
  return { packets: 0, bytes: 0, totalPackets: 0, totalBytes: 0 }
}

function add(sum: Counters, more: CountersMessage | null | undefined): void {
  sum.packets += more?.packets ?? 0
  sum.bytes += more?.bytes ?? 0
  sum.totalPackets = more?.totalPackets ?? sum.totalPackets
  sum.totalBytes = more?.totalBytes ?? sum.totalBytes
}

function withoutDelta(counters: CountersMessage | null | undefined): CountersMessage {
  const { totalPackets, totalBytes } = counters ?? {}
  return { packets: 0, bytes: 0, totalPackets: totalPackets ?? 0, totalBytes: totalBytes ?? 0 }
}
