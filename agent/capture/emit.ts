// Writes a connection as a row of the batch: totals and deltas, both ends, hooks, what TCP said.

import { HOOK_EGRESS, mark } from '../kernel/layout.gen.js'
import type { Clock } from './clock.js'
import { ConnectionState, MAX_VIEWS } from './connections.js'
import { FlowBatch, FlowFlag, MAX_OBSERVATIONS } from './flow-batch.js'
import { directionTotals } from './reading.js'
import { resetBy, tcpState } from './tcp.js'
import type { Tracker } from './tracker.js'
import { flagsOf } from './verdict.js'
import { SEEN_HOOKS } from './views.js'

const PROTOCOL_ICMP = 1
const PROTOCOL_TCP = 6
const PROTOCOL_ICMP6 = 58

export interface EmitterOptions {
  readonly clock: Clock
  /** True for the hooks of a pod's veth. */
  isPodHook(hook: number): boolean
  /** Takes a full (or last) batch; it is reused when this returns. */
  flush(batch: FlowBatch): void
}

/** Collects rows and hands them on, `capacity` at a time. */
export class Emitter {
  readonly batch: FlowBatch
  readonly #options: EmitterOptions
  /** Records made since the start. */
  records = 0

  constructor(options: EmitterOptions, capacity = 1024) {
    this.#options = options
    this.batch = new FlowBatch(capacity)
  }

  /** Hands on what has been collected. */
  flush(): void {
    if (this.batch.count === 0) return
    try {
      this.#options.flush(this.batch)
    } finally {
      this.batch.count = 0
    }
  }

  /** One record of a connection, as it is now. */
  emit(tracker: Tracker, c: number, event: number): void {
    const { batch } = this
    if (batch.count === batch.capacity) this.flush()
    const { views, connections } = tracker
    const row = batch.count++
    const { clock } = this.#options
    this.records++
    const root = connections.root[c]!
    const alias = connections.alias[c]!
    const state = connections.state[c]!
    const protocol = views.protocol(root)

    batch.id[row] = connections.id[c]!
    batch.event[row] = event
    batch.timeUs[row] = clock.wall
    batch.startUs[row] = connections.startUs[c]!
    batch.endUs[row] =
      connections.startUs[c]! + Math.round(Math.max(0, connections.lastBoot[c]! - connections.startBoot[c]!))
    batch.ipVersion[row] = views.family(root)
    batch.protocol[row] = protocol

    this.#counters(tracker, c, row)
    let flags = (state & ConnectionState.INFERRED) !== 0 ? FlowFlag.INITIATOR_INFERRED : 0
    flags |= this.#ends(tracker, row, root, alias, protocol)
    flags |= this.#hooks(tracker, c, row)
    batch.flags[row] = flags

    batch.verdict[row] = connections.verdict[c]!
    batch.endReason[row] = connections.endReason[c]!
    batch.handshakeRttUs[row] = 0
    batch.tcpState[row] = 0
    batch.tcpFlagsForward[row] = 0
    batch.tcpFlagsReverse[row] = 0
    batch.tcpResetBy[row] = 0
    if (protocol === PROTOCOL_TCP) {
      const forward = flagsOf(tracker, c, 0)
      const reverse = flagsOf(tracker, c, 1)
      batch.tcpFlagsForward[row] = forward
      batch.tcpFlagsReverse[row] = reverse
      batch.tcpState[row] = tcpState(forward, reverse)
      batch.tcpResetBy[row] = resetBy(forward, reverse)
      batch.handshakeRttUs[row] = handshake(tracker, c)
    }
    batch.icmpType[row] = connections.icmpType[c]!
    batch.icmpCode[row] = connections.icmpCode[c]!
    const tunnel = connections.tunnel[c]!
    batch.tunnel[row] = tunnel < 0 ? undefined : tracker.tunnels[tunnel]

    connections.toldBoot[c] = clock.now
    connections.clear(c, ConnectionState.DIRTY | ConnectionState.CHANGED)
  }

  #counters(tracker: Tracker, c: number, row: number): void {
    const { batch } = this
    const { connections } = tracker
    const forward = directionTotals(tracker, c, 0)
    batch.forwardTotalPackets[row] = forward.packets
    batch.forwardTotalBytes[row] = forward.bytes
    batch.forwardPackets[row] = forward.packets - connections.toldPackets[c * 2]!
    batch.forwardBytes[row] = forward.bytes - connections.toldBytes[c * 2]!
    connections.toldPackets[c * 2] = forward.packets
    connections.toldBytes[c * 2] = forward.bytes
    const reverse = directionTotals(tracker, c, 1)
    batch.reverseTotalPackets[row] = reverse.packets
    batch.reverseTotalBytes[row] = reverse.bytes
    batch.reversePackets[row] = reverse.packets - connections.toldPackets[c * 2 + 1]!
    batch.reverseBytes[row] = reverse.bytes - connections.toldBytes[c * 2 + 1]!
    connections.toldPackets[c * 2 + 1] = reverse.packets
    connections.toldBytes[c * 2 + 1] = reverse.bytes
  }

  #ends(tracker: Tracker, row: number, root: number, alias: number, protocol: number): number {
    const { batch } = this
    const { views } = tracker
    // ICMP identifiers take the ports' place in the key and are none
    const ported = protocol !== PROTOCOL_ICMP && protocol !== PROTOCOL_ICMP6
    const from = views.forward[root]!
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
    const became = views.forward[alias]!
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
  #hooks(tracker: Tracker, c: number, row: number): number {
    const { batch } = this
    const { views, connections } = tracker
    const { isPodHook } = this.#options
    const at = row * MAX_OBSERVATIONS
    let count = 0
    let flags = 0
    const note = (hook: number) => {
      if (hook === 0 || count === MAX_OBSERVATIONS) return
      for (let i = at; i < at + count; i++) if (batch.observations[i] === hook) return
      batch.observations[at + count++] = hook
    }
    for (let d = 0; d < 2; d++) {
      const chosen = connections.chosen[c * 2 + d]!
      if (chosen >= 0) note(views.owner[chosen * 2 + (views.forward[chosen]! ^ d)]!)
    }
    for (let i = c * MAX_VIEWS; i < (c + 1) * MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      for (let dir = 0; dir < 2; dir++) {
        const forward = dir === views.forward[view]
        for (const hook of [views.owner[view * 2 + dir]!, views.other[view * 2 + dir]!]) {
          if (hook === 0) continue
          note(hook)
          if (!isPodHook(hook)) continue
          // into the node at a pod's veth: that pod sent it; out of it: that pod gets it
          const sent = (hook & HOOK_EGRESS) === 0
          flags |= sent === forward ? FlowFlag.SOURCE_AT_VETH : FlowFlag.DESTINATION_AT_VETH
        }
      }
      for (let s = view * SEEN_HOOKS; s < (view + 1) * SEEN_HOOKS; s++) note(views.seen[s]!)
    }
    batch.observationCount[row] = count
    return flags
  }
}

/** SYN to SYN+ACK, microseconds; 0 when it was not seen as one clean exchange. */
function handshake(tracker: Tracker, c: number): number {
  const { views, connections } = tracker
  for (const view of [connections.root[c]!, connections.alias[c]!]) {
    if (view < 0 || (views.marks[view]! & mark.MARK_HANDSHAKE) === 0) continue
    const forward = views.forward[view]!
    const us = views.first[view * 2 + (forward ^ 1)]! - views.first[view * 2 + forward]!
    if (us > 0) return Math.max(1, Math.round(us))
  }
  return 0
}

function differ(a: Uint32Array, b: Uint32Array, at: number): boolean {
  return a[at] !== b[at] || a[at + 1] !== b[at + 1] || a[at + 2] !== b[at + 2] || a[at + 3] !== b[at + 3]
}
