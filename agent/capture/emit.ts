// Writes a connection as a row of the batch: totals and deltas, both ends, hooks, what TCP said.

import { HOOK_EGRESS, mark } from '../kernel/layout.gen.js'
import type { Clock } from './clock.js'
import { C1, C4, C8, ConnectionState, MAX_VIEWS } from './connections.js'
import { EndOwners } from './end-owners.js'
import { FlowBatch, FlowEvent, FlowFlag, MAX_OBSERVATIONS } from './flow-batch.js'
import { directionTotals, type Tables } from './reading.js'
import type { Sockets } from './sockets.js'
import { resetBy, tcpState, unseenWay } from './tcp.js'
import type { Tunnels } from './tunnels.js'
import { flagsOf } from './verdict.js'
import { SEEN_HOOKS, V1, V4, V8 } from './views.js'

const PROTOCOL_ICMP = 1
const PROTOCOL_TCP = 6
const PROTOCOL_ICMP6 = 58
const UNSEEN_AFTER_US = 2_500_000

export interface EmitterOptions {
  readonly clock: Clock
  /** True for the hooks of a pod's veth. */
  isPodHook(hook: number): boolean
  /** Knows the processes at this node's ends; none are told without it. */
  readonly sockets?: Sockets | undefined
  /** Takes a full (or last) batch; it is reused when this returns. */
  flush(batch: FlowBatch): void
}

/** What a record is made from. */
export interface Told extends Tables {
  readonly tunnels: Tunnels
}

/** Places in which it is remembered for a batch whether a hook is a pod's; a power of two. */
const POD_HOOKS = 1024

/** Collects rows and hands them on, `capacity` at a time. */
export class Emitter {
  readonly batch: FlowBatch
  readonly #options: EmitterOptions
  /** hook << 1 | is a pod's, by the hook's low bits; 0: not asked in this batch. */
  readonly #podHooks = new Float64Array(POD_HOOKS)
  /** Records made since the start. */
  records = 0
  readonly owners: EndOwners

  constructor(options: EmitterOptions, capacity = 1024) {
    this.#options = options
    this.owners = new EndOwners(options.sockets)
    this.batch = new FlowBatch(capacity)
  }

  /** Hands on what has been collected. */
  flush(): void {
    if (this.batch.count === 0) return
    try {
      this.#options.flush(this.batch)
    } finally {
      this.batch.count = 0
      this.#podHooks.fill(0)
    }
  }

  /** One record of a connection, as it is now. */
  emit(told: Told, c: number, event: number): void {
    const { batch } = this
    if (batch.count === batch.capacity) this.flush()
    const { views, connections } = told
    const row = batch.count++
    const { clock } = this.#options
    this.records++
    const root = connections.root[c * C4]!
    const alias = connections.alias[c * C4]!
    const state = connections.state[c]!
    const protocol = views.protocol(root)

    batch.id[row] = connections.id[c * C8]!
    batch.event[row] = event
    batch.timeUs[row] = clock.wall
    batch.startUs[row] = connections.startUs[c * C8]!
    batch.endUs[row] =
      connections.startUs[c * C8]! +
      Math.round(Math.max(0, connections.lastBoot[c * C8]! - connections.startBoot[c * C8]!))
    batch.ipVersion[row] = views.family(root)
    batch.protocol[row] = protocol

    this.#counters(told, c, row)
    let flags = (state & ConnectionState.INFERRED) !== 0 ? FlowFlag.INITIATOR_INFERRED : 0
    flags |= this.#ends(told, row, root, alias, protocol)
    flags |= this.#hooks(told, c, row)
    if (protocol === PROTOCOL_TCP) flags |= this.#unseen(told, c, row, event)
    batch.flags[row] = flags
    batch.netns[row] = views.netns(root)
    this.owners.fill(batch, row, connections, c)

    batch.verdict[row] = connections.verdict[c * C1]!
    batch.endReason[row] = connections.endReason[c * C1]!
    batch.handshakeRttUs[row] = 0
    batch.tcpState[row] = 0
    batch.tcpFlagsForward[row] = 0
    batch.tcpFlagsReverse[row] = 0
    batch.tcpResetBy[row] = 0
    if (protocol === PROTOCOL_TCP) {
      const forward = flagsOf(told, c, 0)
      const reverse = flagsOf(told, c, 1)
      batch.tcpFlagsForward[row] = forward
      batch.tcpFlagsReverse[row] = reverse
      batch.tcpState[row] = tcpState(forward, reverse)
      batch.tcpResetBy[row] = resetBy(forward, reverse)
      batch.handshakeRttUs[row] = handshake(told, c)
    }
    batch.icmpType[row] = connections.icmpType[c * C1]!
    batch.icmpCode[row] = connections.icmpCode[c * C1]!
    const tunnel = connections.tunnel[c * C4]!
    batch.tunnel[row] = told.tunnels.get(tunnel)

    connections.toldBoot[c * C8] = clock.now
    connections.clear(c, ConnectionState.DIRTY | ConnectionState.CHANGED)
  }

  #counters(told: Told, c: number, row: number): void {
    const { batch } = this
    const { connections } = told
    const forward = directionTotals(told, c, 0)
    batch.forwardTotalPackets[row] = forward.packets
    batch.forwardTotalBytes[row] = forward.bytes
    batch.forwardPackets[row] = forward.packets - connections.toldPackets[c * C8]!
    batch.forwardBytes[row] = forward.bytes - connections.toldBytes[c * C8]!
    connections.toldPackets[c * C8] = forward.packets
    connections.toldBytes[c * C8] = forward.bytes
    const reverse = directionTotals(told, c, 1)
    batch.reverseTotalPackets[row] = reverse.packets
    batch.reverseTotalBytes[row] = reverse.bytes
    batch.reversePackets[row] = reverse.packets - connections.toldPackets[c * C8 + 1]!
    batch.reverseBytes[row] = reverse.bytes - connections.toldBytes[c * C8 + 1]!
    connections.toldPackets[c * C8 + 1] = reverse.packets
    connections.toldBytes[c * C8 + 1] = reverse.bytes
  }

  /** A packet and its acknowledgement may be read a drain apart: said of what has lasted longer, or is over. */
  #unseen(told: Told, c: number, row: number, event: number): number {
    const { batch } = this
    if (event !== FlowEvent.CLOSED && batch.endUs[row]! - batch.startUs[row]! < UNSEEN_AFTER_US) return 0
    const way = unseenWay(
      flagsOf(told, c, 0),
      flagsOf(told, c, 1),
      batch.forwardTotalPackets[row]!,
      batch.reverseTotalPackets[row]!,
    )
    return way < 0 ? 0 : way === 0 ? FlowFlag.FORWARD_UNSEEN : FlowFlag.REVERSE_UNSEEN
  }

  #ends(told: Told, row: number, root: number, alias: number, protocol: number): number {
    const { batch } = this
    const { views } = told
    // ICMP identifiers take the ports' place in the key and are none
    const ported = protocol !== PROTOCOL_ICMP && protocol !== PROTOCOL_ICMP6
    const from = views.forward[root * V1]!
    views.address(root, from, batch.source, row * 4)
    batch.sourcePort[row] = ported ? views.port(root, from) : 0
    views.address(root, from ^ 1, batch.service, row * 4)
    batch.servicePort[row] = ported ? views.port(root, from ^ 1) : 0
    if (alias < 0) {
      for (let i = row * 4; i < row * 4 + 4; i++) {
        batch.destination[i] = batch.service[i]!
        batch.translatedSource[i] = batch.source[i]!
      }
      batch.destinationPort[row] = batch.servicePort[row]!
      batch.translatedSourcePort[row] = batch.sourcePort[row]!
      return 0
    }
    const became = views.forward[alias * V1]!
    views.address(alias, became ^ 1, batch.destination, row * 4)
    batch.destinationPort[row] = ported ? views.port(alias, became ^ 1) : 0
    views.address(alias, became, batch.translatedSource, row * 4)
    batch.translatedSourcePort[row] = ported ? views.port(alias, became) : 0
    let flags = 0
    if (
      batch.destinationPort[row] !== batch.servicePort[row] ||
      differ(batch.destination, batch.service, row * 4)
    )
      flags |= FlowFlag.DESTINATION_TRANSLATED
    if (
      batch.translatedSourcePort[row] !== batch.sourcePort[row] ||
      differ(batch.translatedSource, batch.source, row * 4)
    )
      flags |= FlowFlag.SOURCE_TRANSLATED
    return flags
  }

  /** Fills the observations, the counting hooks first, and says which ends are at a pod's veth. */
  #hooks(told: Told, c: number, row: number): number {
    const { views, connections } = told
    let count = 0
    let flags = 0
    for (let d = 0; d < 2; d++) {
      const chosen = connections.chosen[c * C4 + d]!
      if (chosen >= 0)
        count = this.#note(row, count, views.owner[chosen * V4 + (views.forward[chosen * V1]! ^ d)]!)
    }
    for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      const u = view * V4
      const forwardDir = views.forward[view * V1]!
      for (let dir = 0; dir < 2; dir++) {
        const owner = views.owner[u + dir]!
        const other = views.other[u + dir]!
        count = this.#note(row, count, owner)
        count = this.#note(row, count, other)
        flags |= this.#atVeth(owner, dir === forwardDir) | this.#atVeth(other, dir === forwardDir)
      }
      // free cells are the last ones
      for (let s = u; s < u + SEEN_HOOKS && views.seen[s] !== 0; s++)
        count = this.#note(row, count, views.seen[s]!)
    }
    this.batch.observationCount[row] = count
    return flags
  }

  /** Adds a hook to the `count` observations of a row unless it is among them; gives how many there are then. */
  #note(row: number, count: number, hook: number): number {
    if (hook === 0 || count === MAX_OBSERVATIONS) return count
    const { observations } = this.batch
    const at = row * MAX_OBSERVATIONS
    for (let i = at; i < at + count; i++) if (observations[i] === hook) return count
    observations[at + count] = hook
    return count + 1
  }

  /** Into the node at a pod's veth: that pod sent it; out of it: that pod gets it. */
  #atVeth(hook: number, forward: boolean): number {
    if (hook === 0 || !this.#isPodHook(hook)) return 0
    const sent = (hook & HOOK_EGRESS) === 0
    return sent === forward ? FlowFlag.SOURCE_AT_VETH : FlowFlag.DESTINATION_AT_VETH
  }

  #isPodHook(hook: number): boolean {
    const at = hook & (POD_HOOKS - 1)
    const known = this.#podHooks[at]!
    if (known >= hook * 2 && known <= hook * 2 + 1) return known > hook * 2
    const pod = this.#options.isPodHook(hook)
    this.#podHooks[at] = hook * 2 + (pod ? 1 : 0)
    return pod
  }
}

/** SYN to SYN+ACK, microseconds; 0 when it was not seen as one clean exchange. */
function handshake(told: Told, c: number): number {
  const { views, connections } = told
  for (const view of [connections.root[c * C4]!, connections.alias[c * C4]!]) {
    if (view < 0 || (views.marks[view * V4]! & mark.MARK_HANDSHAKE) === 0) continue
    const forward = views.forward[view * V1]!
    const us = views.first[view * V8 + (forward ^ 1)]! - views.first[view * V8 + forward]!
    if (us > 0) return Math.max(1, Math.round(us))
  }
  return 0
}

function differ(a: Uint32Array, b: Uint32Array, at: number): boolean {
  return a[at] !== b[at] || a[at + 1] !== b[at + 1] || a[at + 2] !== b[at + 2] || a[at + 3] !== b[at + 3]
}
