// Follows connections: takes what the ring and the drained maps say, keeps the tables, and decides when a record is due.
// Rows are written by emit.ts, views joined by join.ts, raw events read by ring-events.ts.

import { mark } from '../kernel/layout.gen.js'
import type { Clock } from './clock.js'
import { ConnectionState, Connections } from './connections.js'
import type { Emitter } from './emit.js'
import { EndReason, FlowEvent, type TunnelInfo, Verdict } from './flow-batch.js'
import { type Forget, Forgetting, MAX_REMEMBERED } from './forgetting.js'
import { inferForward } from './initiator.js'
import { carryCounted, detachView, type JoinContext, link, orient } from './join.js'
import { grown, handOver, renew } from './reading.js'
import { FIN, SYN } from './tcp.js'
import { idleTimeout, LINGER } from './timeouts.js'
import { Translations } from './translations.js'
import { canBeRefused, endOf, endSeenEverywhere, flagsOf, judge } from './verdict.js'
import { ViewFlag, Views, W } from './views.js'

const PROTOCOL_TCP = 6
const PEER_MARKS = mark.MARK_PEER_IS_ROOT | mark.MARK_PEER_IS_ALIAS

/** A first packet may be seen at several hooks within microseconds: what the later ones say goes into OPENED. */
const SETTLE_US = 2_000
/** How long CLOSED waits for the end to be seen on all of a connection's views. */
const END_WAIT_US = 50_000
/** OPENED waits no longer for what was held back. */
const HOLD_US = 3_000_000
/** A SYN that nobody answers for so long is told as unanswered. */
const UNANSWERED_US = 3_000_000
/** A hook's first moments: what is seen then may have been open before. */
const FRESH_HOOK_US = 2_000_000
const MAX_TUNNELS = 4_096

export interface TrackerOptions {
  /** Entries of the kernel's maps. */
  readonly maxViews4: number
  readonly maxViews6: number
  readonly updateIntervalUs: number
  readonly clock: Clock
  readonly emitter: Emitter
  /** Boot time (us) at which a hook was attached; 0 when it is not known. */
  hookAttachedAt(hook: number): number
}

/** What could not be kept. Counts since the start. */
export interface TrackerLosses {
  /** Tuples for which there was no room in the agent's tables. */
  full: number
  /** Packets told through the ring, of more tuples than are kept beside the kernel's map. */
  packets: number
  /** Flows that had been told on their own before it became known that they belong to another one. */
  absorbed: number
  /** Connections on a reused tuple whose beginning and end both fell between two reads. */
  generations: number
}

export class Tracker implements JoinContext {
  readonly views: Views
  readonly connections: Connections
  readonly tunnels: TunnelInfo[] = []
  readonly losses: TrackerLosses = { full: 0, packets: 0, absorbed: 0, generations: 0 }
  /** Entries that the last drain read, by family. */
  readonly kernelEntries = { 4: 0, 6: 0 }
  /** Connections told as opened and not yet as closed. */
  openConnections = 0
  readonly #options: TrackerOptions
  readonly #forgetting: Forgetting
  readonly #clock: Clock
  readonly #emitter: Emitter
  readonly #tunnelIndex = new Map<string, number>()
  #translations: Translations | undefined
  /** Connections (slot, id) whose OPENED, change or end is due soon. */
  #pending: number[] = []
  #pendingNext: number[] = []

  constructor(options: TrackerOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#emitter = options.emitter
    // tuples that are known only from conntrack, and those remembered, come on top of what the kernel holds
    this.views = new Views(
      options.maxViews4 * 2 + MAX_REMEMBERED,
      options.maxViews6 * 2 + Math.ceil(MAX_REMEMBERED / 2),
    )
    this.connections = new Connections(options.maxViews4 + options.maxViews6 + MAX_REMEMBERED)
    this.#forgetting = new Forgetting(this)
  }

  onFull(): void {
    this.losses.full++
  }

  onAbsorbed(connection: number): void {
    this.losses.absorbed++
    this.#close(connection, EndReason.EVICTED)
  }

  onEvicted(view: number): void {
    this.#forgetting.evict(view)
  }

  /** How full the fuller one of the kernel's maps (as of the last drain) and the table is, 0 to 1. */
  filled(): number {
    const { maxViews4, maxViews6 } = this.#options
    const kernel = Math.max(this.kernelEntries[4] / maxViews4, this.kernelEntries[6] / maxViews6)
    return Math.min(1, Math.max(kernel, this.connections.size / this.connections.capacity))
  }

  /** Tuples kept though the kernel's map had no room for them. */
  get spilled(): number {
    return this.#forgetting.spilled
  }

  /** A tuple that the kernel's map had no room for. -1 when there is none here either. */
  spill(family: number, words: Uint32Array, at: number): number {
    const view = this.viewOf(family, words, at)
    if (view < 0) return -1
    this.views.flags[view]! |= ViewFlag.SPILLED
    this.#forgetting.spilled++
    return view
  }

  /** The view of a key, made when it is new. -1 when there is no room. */
  viewOf(family: number, words: Uint32Array, at: number): number {
    const found = this.views.find(family, words, at)
    if (found >= 0) return found
    const made = this.views.insert(family, words, at)
    if (made < 0) this.losses.full++
    return made
  }

  /**
   * A view's first packet. `held`: OPENED waits for the next drain. Returns the connection, or -1 when there is no room.
   */
  open(view: number, dir: number, bootUs: number, hook: number, flags: number, held: boolean): number {
    const { views, connections } = this
    const c = connections.open(view)
    if (c < 0) {
      this.losses.full++
      return -1
    }
    views.connection[view] = c
    connections.startBoot[c] = bootUs
    connections.lastBoot[c] = bootUs
    connections.startUs[c] = this.#clock.toWall(bootUs)
    connections.set(c, ConnectionState.DIRTY)
    const tcp = views.protocol(view) === PROTOCOL_TCP
    if (tcp && (flags & SYN) !== 0) {
      // a SYN comes from who opens, a SYN+ACK goes there
      views.forward[view] = (flags & 16) !== 0 ? dir ^ 1 : dir
      views.flags[view]! |= ViewFlag.ORIENTED
    } else {
      const since = this.#options.hookAttachedAt(hook)
      const young = since === 0 || bootUs - since < FRESH_HOOK_US
      if (tcp || young) {
        views.forward[view] = inferForward(views.port(view, 0), views.port(view, 1), dir)
        connections.set(c, ConnectionState.INFERRED | ConnectionState.HELD)
      } else views.forward[view] = dir
    }
    if (held) connections.set(c, ConnectionState.HELD)
    this.soon(c)
    if (this.#translations === undefined) return c
    this.#lookUpTranslation(view)
    return views.connection[view]!
  }

  /** Conntrack has told of a translated connection; keys and dirs as ConntrackEvents gives them. */
  translated(
    family: 4 | 6,
    root: Uint32Array,
    rootForward: number,
    alias: Uint32Array,
    aliasForward: number,
  ): void {
    const { maxViews4, maxViews6 } = this.#options
    this.#translations ??= new Translations(maxViews4, maxViews6)
    this.#translations.add(family, root, rootForward, alias, aliasForward)
    // seen already: joined now
    for (const key of [root, alias]) {
      const view = this.views.find(family, key, 0)
      if (view >= 0 && this.live(view) >= 0) {
        this.#lookUpTranslation(view)
        return
      }
    }
  }

  #lookUpTranslation(view: number): void {
    const { views } = this
    const c = views.connection[view]!
    if (c < 0 || this.connections.alias[c]! >= 0) return
    this.#translations?.find(views.family(view), views.keys(view), views.keyOffset(view), (marks, peer, at) =>
      this.link(view, marks, peer, at),
    )
  }

  /** Looks at a connection again at the end of this round. */
  soon(c: number): void {
    this.#pendingNext.push(c, this.connections.id[c]!)
  }

  /** The connection of a view that is alive, or -1. */
  live(view: number): number {
    const c = this.views.connection[view]!
    return c >= 0 && !this.connections.is(c, ConnectionState.CLOSED_SENT) ? c : -1
  }

  /** The tuple is used for another connection from now on: counters go on from `words[at…]`, a struct view. */
  reopened(view: number, words: Uint32Array, at: number, bootUs: number): void {
    const { views } = this
    views.read(view, words, at)
    const old = views.connection[view]!
    const awaited = (views.flags[view]! & ViewFlag.STALE) !== 0
    views.flags[view]! &= ~ViewFlag.STALE
    if (old >= 0 && !awaited) {
      if (!this.connections.is(old, ConnectionState.CLOSED_SENT)) this.#close(old, endOf(this, old))
      else this.#late(old)
      detachView(this, view)
    }
    this.#rebase(view, bootUs)
  }

  /** The tuple's connection is over; what comes on it now is another one. The view's counters have been restarted. */
  abandon(view: number, bootUs: number): void {
    detachView(this, view)
    this.#rebase(view, bootUs)
  }

  /** A packet of a connection was seen. */
  touched(c: number, bootUs: number): void {
    if (bootUs > this.connections.lastBoot[c]!) this.connections.lastBoot[c] = bootUs
    this.connections.set(c, ConnectionState.DIRTY)
  }

  #rebase(view: number, bootUs: number): void {
    const { views } = this
    const c = views.connection[view]!
    // given to its connection ahead of the kernel's word, and late packets of the one before came meanwhile
    if (c >= 0) carryCounted(this, view, c, view)
    views.rebase(view)
    for (let cell = view * 2; cell < view * 2 + 2; cell++) {
      views.first[cell] = 0
      views.last[cell] = bootUs
      views.owner[cell] = 0
      views.other[cell] = 0
    }
    views.marks[view] = 0
    if (views.connection[view]! < 0) views.flags[view]! &= ~ViewFlag.ORIENTED
  }

  /** An entry as the kernel's map has it: key at `keys[k…]`, value at `values[v…]`. */
  drained(family: number, keys: Uint32Array, k: number, values: Uint32Array, v: number): void {
    const { views, connections } = this
    let view = views.find(family, keys, k)
    if (view < 0) {
      view = views.insert(family, keys, k)
      if (view < 0) {
        this.losses.full++
        return
      }
    }
    const known = (views.flags[view]! & ViewFlag.IN_KERNEL) !== 0
    const generation = values[v + W.generation]! & 0xff
    if (!known) {
      views.restart(view)
      views.flags[view]! |= ViewFlag.IN_KERNEL
      views.generation[view] = generation
    } else if (generation !== views.generation[view] && newer(generation, views.generation[view]!)) {
      // the event that told it was lost: what was read last is where the new connection begins
      this.losses.generations += ((generation - views.generation[view]!) & 0xff) - 1
      views.generation[view] = generation
      const old = views.connection[view]!
      if (old >= 0 && (views.flags[view]! & ViewFlag.STALE) === 0) {
        if (!connections.is(old, ConnectionState.CLOSED_SENT)) this.#close(old, endOf(this, old))
        detachView(this, view)
      }
      views.flags[view]! &= ~ViewFlag.STALE
      this.#rebase(view, this.#clock.now)
    }
    // one that found no room in the table before tries again
    if (views.read(view, values, v) || views.connection[view]! < 0) this.afterRead(view, values, v + W.size)
  }

  /** A view's columns were read anew; `peer[at…]` is the peer's key. */
  afterRead(view: number, peer: Uint32Array, at: number): void {
    const { views, connections } = this
    const marks = views.marks[view]!
    let c = views.connection[view]!
    if (c < 0) {
      const first0 = views.first[view * 2]!
      const first1 = views.first[view * 2 + 1]!
      const dir = first0 !== 0 && (first1 === 0 || first0 <= first1) ? 0 : 1
      const flags = (marks >>> (dir === 0 ? 0 : mark.MARK_FLAGS_SHIFT)) & 0xff
      const midstream = (marks & mark.MARK_MIDSTREAM) !== 0
      c = this.open(
        view,
        dir,
        dir === 0 ? first0 : first1,
        views.owner[view * 2 + dir]!,
        midstream ? 0 : flags & ~16,
        false,
      )
      if (c < 0) return
    }
    if ((marks & mark.MARK_OPENER_KNOWN) !== 0) {
      const forward = (marks & mark.MARK_OPENER_DIR) !== 0 ? 1 : 0
      if ((views.flags[view]! & ViewFlag.ORIENTED) === 0 || views.forward[view] !== forward)
        orient(this, view, forward)
    }
    if (
      (marks & PEER_MARKS) !== 0 &&
      (connections.alias[c]! < 0 || connections.root[c]! < 0 || !this.#linked(c, view))
    )
      c = link(this, view, marks, peer, at)
    const last = Math.max(views.last[view * 2]!, views.last[view * 2 + 1]!)
    if (last > connections.lastBoot[c]!) connections.lastBoot[c] = last
    connections.set(c, ConnectionState.DIRTY)
    if ((marks & mark.MARK_TOLD_END) !== 0) connections.set(c, ConnectionState.ENDING)
  }

  #linked(c: number, view: number): boolean {
    return this.connections.root[c] === view || this.connections.alias[c] === view
  }

  /** The views of a tuple are one connection, says conntrack. */
  link(view: number, marks: number, peer: Uint32Array, at: number): void {
    const c = link(this, view, marks, peer, at)
    if (this.connections.is(c, ConnectionState.CHANGED)) this.soon(c)
  }

  /** An ICMP error spoke of a connection. */
  refuse(view: number, dir: number, type: number, code: number): void {
    const c = this.live(view)
    // the refusal of an answer says nothing of the question
    if (c < 0 || dir !== this.views.forward[view] || !canBeRefused(this, c)) return
    this.connections.set(c, ConnectionState.REFUSED | ConnectionState.CHANGED)
    this.connections.icmpType[c] = type
    this.connections.icmpCode[c] = code
    this.soon(c)
  }

  /** A view's packets were inside a tunnel; `forward` says which way round its addresses are. Interned. */
  tunnelled(view: number, info: TunnelInfo, hookEgress: boolean): void {
    const { connections } = this
    const c = this.views.connection[view]!
    if (c < 0 || connections.tunnel[c] !== -1) return
    const key = `${info.type}/${info.id}/${info.source.join('.')}/${info.destination.join('.')}`
    let index = this.#tunnelIndex.get(key)
    if (index === undefined) {
      if (this.tunnels.length >= MAX_TUNNELS) return
      index = this.tunnels.push(info) - 1
      this.#tunnelIndex.set(key, index)
    }
    connections.tunnel[c] = index
    connections.set(c, ConnectionState.CHANGED)
    // first seen on its way out inside a tunnel: what it was before NAT shows when it is answered
    if (hookEgress && !connections.is(c, ConnectionState.OPENED_SENT) && connections.alias[c]! < 0)
      connections.set(c, ConnectionState.HELD)
    this.soon(c)
  }

  /** After the ring was read: tells what is due at once. */
  settleEvents(): void {
    const { connections } = this
    const now = this.#clock.now
    const work = this.#pending
    this.#pending = this.#pendingNext
    this.#pendingNext = work
    work.length = 0
    const queue = this.#pending
    for (let i = 0; i < queue.length; i += 2) {
      const c = queue[i]!
      if (connections.id[c] !== queue[i + 1] || connections.is(c, ConnectionState.HELD)) continue
      if (!connections.is(c, ConnectionState.OPENED_SENT) && now - connections.startBoot[c]! < SETTLE_US) {
        this.soon(c)
        continue
      }
      this.#settle(c)
      if (connections.is(c, ConnectionState.ENDING) && !connections.is(c, ConnectionState.CLOSED_SENT)) {
        if (endSeenEverywhere(this, c, ViewFlag.IN_KERNEL) || now - connections.lastBoot[c]! > END_WAIT_US)
          this.#close(c, endOf(this, c))
        else this.soon(c)
      }
    }
    queue.length = 0
  }

  /** OPENED when it is still to be told, and UPDATED when something but the counters has changed. */
  #settle(c: number): void {
    const { connections } = this
    judge(this, c)
    if (!connections.is(c, ConnectionState.OPENED_SENT)) {
      connections.set(c, ConnectionState.OPENED_SENT)
      this.openConnections++
      this.#emitter.emit(this, c, FlowEvent.OPENED)
    } else if (
      connections.is(c, ConnectionState.CHANGED) &&
      !connections.is(c, ConnectionState.CLOSED_SENT | ConnectionState.ENDING)
    )
      this.#emitter.emit(this, c, FlowEvent.UPDATED)
  }

  /** After the maps were drained: tells what is due and calls `forget` for each view to be deleted from the kernel. */
  settleDrain(forget: Forget): void {
    const { connections } = this
    const now = this.#clock.now
    const filled = this.filled()
    this.#forgetting.forgetEvicted(forget)
    for (let c = 0; c < connections.highWater; c++) {
      const state = connections.state[c]!
      if ((state & ConnectionState.IN_USE) === 0) continue
      if ((state & ConnectionState.CLOSED_SENT) !== 0) {
        this.#afterClose(c, now, filled > 0.5, forget)
        continue
      }
      if ((state & ConnectionState.HELD) !== 0) {
        const waits = (state & ConnectionState.INFERRED) === 0 && now - connections.startBoot[c]! < HOLD_US
        if (waits || now - connections.startBoot[c]! < SETTLE_US) continue
        connections.clear(c, ConnectionState.HELD)
      }
      if ((state & ConnectionState.DIRTY) !== 0) handOver(this, c)
      judge(this, c)
      if (!connections.is(c, ConnectionState.OPENED_SENT)) {
        if (now - connections.startBoot[c]! < SETTLE_US) continue
        this.#settle(c)
      }
      if (connections.is(c, ConnectionState.ENDING)) {
        if (now - connections.lastBoot[c]! > END_WAIT_US) this.#close(c, endOf(this, c))
        continue
      }
      if (connections.is(c, ConnectionState.CHANGED)) {
        this.#emitter.emit(this, c, FlowEvent.UPDATED)
      } else if (connections.is(c, ConnectionState.DIRTY)) {
        // an interval's records are spread over it, by when each connection was told last
        if (now - connections.toldBoot[c]! >= this.#options.updateIntervalUs - 100_000) {
          if (grown(this, c)) this.#emitter.emit(this, c, FlowEvent.UPDATED)
          else connections.clear(c, ConnectionState.DIRTY)
        }
      }
      this.#expire(c, now, filled)
    }
  }

  /** A closed connection got late segments: the same id, once more. */
  #late(c: number): void {
    if (grown(this, c)) this.#emitter.emit(this, c, FlowEvent.UPDATED)
    this.connections.clear(c, ConnectionState.DIRTY)
  }

  /** A connection that has been told as closed: late segments, or life after it was taken for over. */
  #afterClose(c: number, now: number, full: boolean, forget: Forget): void {
    const { connections } = this
    const quiet = now - connections.lastBoot[c]! >= LINGER
    if (connections.is(c, ConnectionState.DIRTY)) {
      if (connections.endReason[c] === EndReason.IDLE && grown(this, c)) {
        renew(this, c)
        connections.startBoot[c] = connections.lastBoot[c]!
        connections.startUs[c] = this.#clock.toWall(connections.lastBoot[c]!)
        this.soon(c)
        return
      }
      if (!quiet && now - connections.toldBoot[c]! < this.#options.updateIntervalUs - 100_000) return
      this.#late(c)
    }
    if (quiet) this.#forgetting.forget(c, forget, full)
  }

  #expire(c: number, now: number, filled: number): void {
    const { connections, views } = this
    const forward = connections.toldPackets[c * 2]!
    const reverse = connections.toldPackets[c * 2 + 1]!
    const root = connections.root[c]!
    const flags = flagsOf(this, c, 0) | flagsOf(this, c, 1)
    const established = connections.verdict[c] === Verdict.FORWARDED
    const timeout = idleTimeout(
      views.protocol(root),
      established,
      (flags & FIN) !== 0,
      connections.verdict[c] === Verdict.REFUSED,
      forward,
      reverse,
      filled,
    )
    const silent = now - connections.lastBoot[c]!
    if (silent < timeout) {
      const waiting = connections.verdict[c] === Verdict.UNSPECIFIED && views.protocol(root) === PROTOCOL_TCP
      if (
        waiting &&
        (flags & SYN) !== 0 &&
        reverse === 0 &&
        now - connections.startBoot[c]! > UNANSWERED_US
      ) {
        connections.verdict[c] = Verdict.UNANSWERED
        this.#emitter.emit(this, c, FlowEvent.UPDATED)
      }
      return
    }
    if (reverse === 0 && connections.verdict[c] === Verdict.UNSPECIFIED)
      connections.verdict[c] = Verdict.UNANSWERED
    this.#close(c, EndReason.IDLE)
  }

  #close(c: number, reason: number): void {
    const { connections } = this
    if (connections.is(c, ConnectionState.CLOSED_SENT)) return
    connections.clear(c, ConnectionState.HELD)
    this.#settle(c)
    connections.endReason[c] = reason
    connections.set(c, ConnectionState.CLOSED_SENT)
    this.openConnections--
    this.#emitter.emit(this, c, FlowEvent.CLOSED)
  }

  /** Ends everything that is open, with CLOSED (AGENT_STOPPED). */
  stop(): void {
    for (let c = 0; c < this.connections.highWater; c++)
      if (
        this.connections.is(c, ConnectionState.IN_USE) &&
        !this.connections.is(c, ConnectionState.CLOSED_SENT)
      )
        this.#close(c, EndReason.AGENT_STOPPED)
  }
}

/** Is generation `a` later than `b`? They are numbers of eight bits that go round. */
export function newer(a: number, b: number): boolean {
  const ahead = (a - b) & 0xff
  return ahead !== 0 && ahead < 0x80
}
