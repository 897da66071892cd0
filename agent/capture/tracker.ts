// Follows connections: takes what the ring and the drained maps say and keeps the tables true to it. Views are joined by
// join.ts, raw events read by ring-events.ts; telling.ts decides when a record is due.

import { mark } from '../kernel/layout.gen.js'
import type { Clock } from './clock.js'
import { C1, C4, C8, ConnectionState, Connections } from './connections.js'
import type { Emitter } from './emit.js'
import { EndReason, type TunnelInfo } from './flow-batch.js'
import { type Forget, Forgetting } from './forgetting.js'
import { inferForward } from './initiator.js'
import { carryCounted, detachView, type JoinContext, link, orient } from './join.js'
import { SYN } from './tcp.js'
import { Telling } from './telling.js'
import { Translations } from './translations.js'
import { Tunnels } from './tunnels.js'
import { canBeRefused, endOf } from './verdict.js'
import { V1, V4, V8, ViewFlag, Views, W } from './views.js'

const PROTOCOL_TCP = 6
const PEER_MARKS = mark.MARK_PEER_IS_ROOT | mark.MARK_PEER_IS_ALIAS

/** A hook's first moments: what is seen then may have been open before. */
const FRESH_HOOK_US = 2_000_000
/** Most connections that are remembered after the kernel has forgotten them, for late segments. */
const MAX_REMEMBERED = 16_384
/** Most tuples that are kept though the kernel's map had no room for them. */
const MAX_SPILLED = 16_384

export interface TrackerOptions {
  /** Entries of the kernel's maps. */
  readonly maxViews4: number
  readonly maxViews6: number
  readonly updateIntervalUs: number
  readonly clock: Clock
  readonly emitter: Emitter
  /** Deletes a key from the kernel's map; it may wait for others of the same drain. */
  readonly forget: Forget
  /** 16,384 each unless given: connections remembered, and tuples kept that the kernel's map had no room for. */
  readonly maxRemembered?: number
  readonly maxSpilled?: number
  /** Boot time (us) at which a hook was attached; 0 when it is not known. */
  hookAttachedAt(hook: number): number
}

/** What could not be kept. Counts since the start. */
export interface TrackerLosses {
  /** Connections for which there was no room in the agent's tables, or only for a part of them. Each counts once. */
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
  readonly tunnels = new Tunnels((use) => this.connections.eachTunnel(use))
  readonly telling: Telling
  readonly losses: TrackerLosses = { full: 0, packets: 0, absorbed: 0, generations: 0 }
  readonly maxSpilled: number
  /** Entries of the kernel's maps by family: those that the last drain read, and as many as are known to be there now. */
  readonly drainedEntries = { 4: 0, 6: 0 }
  readonly presentEntries = { 4: 0, 6: 0 }
  readonly #options: TrackerOptions
  readonly #forgetting: Forgetting
  readonly #clock: Clock
  #translations: Translations | undefined
  /** Entries of the kernel's that found no room: in this drain, and in the one before. */
  #homeless = 0
  #homelessBefore = 0

  constructor(options: TrackerOptions) {
    const { maxViews4, maxViews6, maxRemembered = MAX_REMEMBERED } = options
    this.#options = options
    this.#clock = options.clock
    this.maxSpilled = options.maxSpilled ?? MAX_SPILLED
    // tuples that are known only from conntrack, those remembered and those spilled come on top of what the kernel holds
    const beside = Math.max(maxRemembered, this.maxSpilled)
    this.views = new Views(maxViews4 * 2 + beside, maxViews6 * 2 + Math.ceil(beside / 2))
    this.connections = new Connections(maxViews4 + maxViews6 + beside)
    this.#forgetting = new Forgetting(this, options.forget, maxRemembered)
    this.telling = new Telling({
      told: this,
      clock: options.clock,
      emitter: options.emitter,
      forgetting: this.#forgetting,
      updateIntervalUs: options.updateIntervalUs,
    })
  }

  onFull(connection: number): void {
    if (this.connections.is(connection, ConnectionState.UNJOINED)) return
    this.connections.set(connection, ConnectionState.UNJOINED)
    this.losses.full++
  }

  onAbsorbed(connection: number): void {
    this.losses.absorbed++
    this.telling.close(connection, EndReason.EVICTED)
  }

  onEvicted(view: number): void {
    this.#forgetting.evict(view)
  }

  /** How full the fuller one of the kernel's maps, as far as is known, and the table is, 0 to 1. */
  filled(): number {
    return this.#fullerOf(this.presentEntries)
  }

  #fullerOf(entries: Readonly<Record<4 | 6, number>>): number {
    const { maxViews4, maxViews6 } = this.#options
    const kernel = Math.max(entries[4] / maxViews4, entries[6] / maxViews6)
    return Math.min(1, Math.max(kernel, this.telling.open / (maxViews4 + maxViews6)))
  }

  /** A drain of a family's map begins, and ends after having read so many entries. */
  beginFamily(family: 4 | 6): void {
    this.presentEntries[family] = 0
  }

  endFamily(family: 4 | 6, entries: number): void {
    this.drainedEntries[family] = entries
    this.presentEntries[family] += entries
  }

  /** Before and after the maps are read entry by entry, with drained(). */
  beginDrain(): void {
    this.telling.crowd(this.filled())
  }

  endDrain(): void {
    // what has found no room once is not counted again at each drain
    this.losses.full += Math.max(0, this.#homeless - this.#homelessBefore)
    this.#homelessBefore = this.#homeless
    this.#homeless = 0
    this.telling.crowd(this.#fullerOf(this.drainedEntries))
    this.#forgetting.forgetEvicted()
    this.telling.settleDrain()
  }

  /** Tuples kept though the kernel's map had no room for them. */
  get spilled(): number {
    return this.#forgetting.spilled
  }

  /** A tuple that the kernel's map had no room for. -1 when there is none here either. */
  spill(family: number, words: Uint32Array, at: number): number {
    const view = this.viewOf(family, words, at)
    if (view < 0) return -1
    this.views.flags[view * V1]! |= ViewFlag.SPILLED
    this.#forgetting.spilled++
    return view
  }

  /** The view of a key, made when it is new. -1 when there is no room. */
  viewOf(family: number, words: Uint32Array, at: number): number {
    const found = this.views.find(family, words, at)
    if (found >= 0) return found
    return this.insertView(family, words, at)
  }

  /** Makes the view of a key that has none; what is remembered only gives way. -1 when there is no room. */
  insertView(family: number, words: Uint32Array, at: number): number {
    for (;;) {
      const made = this.views.insert(family, words, at)
      if (made >= 0 || !this.#forgetting.makeRoom()) return made
    }
  }

  /**
   * A view's first packet. `held`: OPENED waits for the next drain. Returns the connection, or -1 when there is no room:
   * then the drain finds it, as often as it takes.
   */
  open(view: number, dir: number, bootUs: number, hook: number, flags: number, held: boolean): number {
    const { views, connections } = this
    let c = connections.open(view)
    while (c < 0 && this.#forgetting.makeRoom()) c = connections.open(view)
    if (c < 0) return -1
    views.connection[view * V4] = c
    connections.startBoot[c * C8] = bootUs
    connections.lastBoot[c * C8] = bootUs
    connections.startUs[c * C8] = this.#clock.toWall(bootUs)
    connections.set(c, ConnectionState.DIRTY)
    const tcp = views.protocol(view) === PROTOCOL_TCP
    if (tcp && (flags & SYN) !== 0) {
      // a SYN comes from who opens, a SYN+ACK goes there
      views.forward[view * V1] = (flags & 16) !== 0 ? dir ^ 1 : dir
      views.flags[view * V1]! |= ViewFlag.ORIENTED
    } else {
      const since = this.#options.hookAttachedAt(hook)
      const young = since === 0 || bootUs - since < FRESH_HOOK_US
      if (tcp || young) {
        views.forward[view * V1] = inferForward(views.port(view, 0), views.port(view, 1), dir)
        connections.set(c, ConnectionState.INFERRED | ConnectionState.HELD)
      } else views.forward[view * V1] = dir
    }
    if (held) connections.set(c, ConnectionState.HELD)
    this.telling.soon(c)
    if (this.#translations === undefined) return c
    this.#lookUpTranslation(view)
    return views.connection[view * V4]!
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
    const c = views.connection[view * V4]!
    if (c < 0 || this.connections.alias[c * C4]! >= 0) return
    this.#translations?.find(views.family(view), views.key, views.keyOffset(view), (marks, peer, at) => {
      if ((marks & PEER_MARKS) !== 0) this.link(view, marks, peer, at)
      // not translated: said of one that was there before anybody listened, so only where it would be a guess
      else if (this.connections.is(c, ConnectionState.INFERRED))
        orient(this, view, (marks & mark.MARK_OPENER_DIR) !== 0 ? 1 : 0)
    })
  }

  /** The connection of a view that is alive, or -1. */
  live(view: number): number {
    const c = this.views.connection[view * V4]!
    return c >= 0 && !this.connections.is(c, ConnectionState.CLOSED_SENT) ? c : -1
  }

  /** The tuple is used for another connection from now on: counters go on from `words[at…]`, a struct view. */
  reopened(view: number, words: Uint32Array, at: number, bootUs: number): void {
    const { views } = this
    views.read(view, words, at)
    const old = views.connection[view * V4]!
    const awaited = (views.flags[view * V1]! & ViewFlag.STALE) !== 0
    views.flags[view * V1]! &= ~ViewFlag.STALE
    if (old >= 0 && !awaited) {
      if (!this.connections.is(old, ConnectionState.CLOSED_SENT)) this.telling.close(old, endOf(this, old))
      else this.telling.late(old)
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
    if (bootUs > this.connections.lastBoot[c * C8]!) this.connections.lastBoot[c * C8] = bootUs
    this.connections.set(c, ConnectionState.DIRTY)
  }

  #rebase(view: number, bootUs: number): void {
    const { views } = this
    const c = views.connection[view * V4]!
    // given to its connection ahead of the kernel's word, and late packets of the one before came meanwhile
    if (c >= 0) carryCounted(this, view, c, view)
    views.rebase(view)
    for (let dir = 0; dir < 2; dir++) {
      views.first[view * V8 + dir] = 0
      views.last[view * V8 + dir] = bootUs
      views.owner[view * V4 + dir] = 0
      views.other[view * V4 + dir] = 0
    }
    views.marks[view * V4] = 0
    if (views.connection[view * V4]! < 0) views.flags[view * V1]! &= ~ViewFlag.ORIENTED
  }

  /** An entry as the kernel's map has it: key at `keys[k…]`, value at `values[v…]`. */
  drained(family: number, keys: Uint32Array, k: number, values: Uint32Array, v: number): void {
    const { views, connections } = this
    let view = views.find(family, keys, k)
    if (view < 0) {
      view = this.insertView(family, keys, k)
      if (view < 0) {
        this.#homeless++
        return
      }
    }
    const known = (views.flags[view * V1]! & ViewFlag.IN_KERNEL) !== 0
    const generation = values[v + W.generation]! & 0xff
    if (!known) {
      views.restart(view)
      views.flags[view * V1]! |= ViewFlag.IN_KERNEL
      views.generation[view * V1] = generation
    } else if (
      generation !== views.generation[view * V1] &&
      newer(generation, views.generation[view * V1]!)
    ) {
      // the event that told it was lost: what was read last is where the new connection begins
      this.losses.generations += ((generation - views.generation[view * V1]!) & 0xff) - 1
      views.generation[view * V1] = generation
      const old = views.connection[view * V4]!
      if (old >= 0 && (views.flags[view * V1]! & ViewFlag.STALE) === 0) {
        if (!connections.is(old, ConnectionState.CLOSED_SENT)) this.telling.close(old, endOf(this, old))
        detachView(this, view)
      }
      views.flags[view * V1]! &= ~ViewFlag.STALE
      this.#rebase(view, this.#clock.now)
    }
    const c = views.connection[view * V4]!
    if (views.read(view, values, v)) this.afterRead(view, values, v + W.size)
    else if (c >= 0) this.telling.unchanged(c)
    // one that found no room in the table before tries again
    else this.afterRead(view, values, v + W.size)
    if (views.connection[view * V4]! < 0 && c < 0) this.#homeless++
  }

  /** A view's columns were read anew; `peer[at…]` is the peer's key. */
  afterRead(view: number, peer: Uint32Array, at: number): void {
    const { views, connections } = this
    const marks = views.marks[view * V4]!
    let c = views.connection[view * V4]!
    if (c < 0) {
      const first0 = views.first[view * V8]!
      const first1 = views.first[view * V8 + 1]!
      const dir = first0 !== 0 && (first1 === 0 || first0 <= first1) ? 0 : 1
      const flags = (marks >>> (dir === 0 ? 0 : mark.MARK_FLAGS_SHIFT)) & 0xff
      const midstream = (marks & mark.MARK_MIDSTREAM) !== 0
      c = this.open(
        view,
        dir,
        dir === 0 ? first0 : first1,
        views.owner[view * V4 + dir]!,
        midstream ? 0 : flags & ~16,
        false,
      )
      if (c < 0) return
    }
    if ((marks & mark.MARK_OPENER_KNOWN) !== 0) {
      const forward = (marks & mark.MARK_OPENER_DIR) !== 0 ? 1 : 0
      if ((views.flags[view * V1]! & ViewFlag.ORIENTED) === 0 || views.forward[view * V1] !== forward)
        orient(this, view, forward)
    }
    if (
      (marks & PEER_MARKS) !== 0 &&
      (connections.alias[c * C4]! < 0 || connections.root[c * C4]! < 0 || !this.#linked(c, view))
    )
      c = link(this, view, marks, peer, at)
    const last = Math.max(views.last[view * V8]!, views.last[view * V8 + 1]!)
    if (last > connections.lastBoot[c * C8]!) connections.lastBoot[c * C8] = last
    connections.set(c, ConnectionState.DIRTY)
    if ((marks & mark.MARK_TOLD_END) !== 0) connections.set(c, ConnectionState.ENDING)
  }

  #linked(c: number, view: number): boolean {
    return this.connections.root[c * C4] === view || this.connections.alias[c * C4] === view
  }

  /** The views of a tuple are one connection, says conntrack. */
  link(view: number, marks: number, peer: Uint32Array, at: number): void {
    const c = link(this, view, marks, peer, at)
    if (this.connections.is(c, ConnectionState.CHANGED)) this.telling.soon(c)
  }

  /** An ICMP error spoke of a connection. */
  refuse(view: number, dir: number, type: number, code: number): void {
    const c = this.live(view)
    // the refusal of an answer says nothing of the question
    if (c < 0 || dir !== this.views.forward[view * V1] || !canBeRefused(this, c)) return
    this.connections.set(c, ConnectionState.REFUSED | ConnectionState.CHANGED)
    this.connections.icmpType[c * C1] = type
    this.connections.icmpCode[c * C1] = code
    this.telling.soon(c)
  }

  /** A view's packets were inside a tunnel; `forward` says which way round its addresses are. Interned. */
  tunnelled(view: number, info: TunnelInfo, hookEgress: boolean): void {
    const { connections } = this
    const c = this.views.connection[view * V4]!
    if (c < 0 || connections.tunnel[c * C4] !== -1) return
    const index = this.tunnels.intern(info)
    if (index < 0) return
    connections.tunnel[c * C4] = index
    connections.set(c, ConnectionState.CHANGED)
    // first seen on its way out inside a tunnel: what it was before NAT shows when it is answered
    if (hookEgress && !connections.is(c, ConnectionState.OPENED_SENT) && connections.alias[c * C4]! < 0)
      connections.set(c, ConnectionState.HELD)
    this.telling.soon(c)
  }
}

/** Is generation `a` later than `b`? They are numbers of eight bits that go round. */
export function newer(a: number, b: number): boolean {
  const ahead = (a - b) & 0xff
  return ahead !== 0 && ahead < 0x80
}
