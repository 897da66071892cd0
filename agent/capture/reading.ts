// From which view each direction of a connection is read, and what it has had so far. Every view counts; a direction is
// read from one of them, so joining views late neither doubles nor moves a count.

import { C4, C8, ConnectionState, type Connections, MAX_VIEWS } from './connections.js'
import { V1, V8, type Views } from './views.js'

/** The two tables that belong together. */
export interface Tables {
  readonly views: Views
  readonly connections: Connections
}

/** A direction goes over to another view when its own has been silent for so long and the other has not. */
const SILENT_US = 1_500_000

/** Reused result of directionTotals. */
const totals = { packets: 0, bytes: 0 }

/**
 * What a direction (0 forward) has had so far. It is read from the view whose tuple the client used when that one counts
 * it, else from any that does. The result is valid until the next call.
 */
export function directionTotals(
  tables: Tables,
  c: number,
  direction: number,
): { readonly packets: number; readonly bytes: number } {
  const { views, connections } = tables
  let view = connections.chosen[c * C4 + direction]!
  if (view === -1) {
    view = connections.root[c * C4]!
    if (views.counted(view, views.forward[view * V1]! ^ direction) === 0) {
      view = -1
      for (let i = c * C4; i < c * C4 + MAX_VIEWS && view < 0; i++) {
        const other = connections.views[i]!
        if (other < 0) break
        if (views.counted(other, views.forward[other * V1]! ^ direction) > 0) view = other
      }
    }
    connections.chosen[c * C4 + direction] = view
  }
  totals.packets = 0
  totals.bytes = 0
  if (connections.is(c, ConnectionState.CARRIED)) {
    totals.packets = connections.carryPackets[c * 2 + direction]!
    totals.bytes = connections.carryBytes[c * 2 + direction]!
  }
  if (view >= 0) {
    const dir = views.forward[view * V1]! ^ direction
    totals.packets += views.counted(view, dir)
    totals.bytes += views.countedBytes(view, dir)
  }
  return totals
}

/** Has anything been counted since the last record? */
export function grown(tables: Tables, c: number): boolean {
  const { connections } = tables
  return (
    directionTotals(tables, c, 0).packets > connections.toldPackets[c * C8]! ||
    directionTotals(tables, c, 1).packets > connections.toldPackets[c * C8 + 1]!
  )
}

/**
 * A direction goes over to another view when its own falls silent while the other goes on: a hook is gone, or was never
 * on this road. Views are read one after the other, so a packet between two reads looks the same: only what still holds
 * at the next drain counts.
 */
export function handOver(tables: Tables, c: number): void {
  const { views, connections } = tables
  const suspected = connections.is(c, ConnectionState.SUSPECT)
  connections.clear(c, ConnectionState.SUSPECT)
  for (let d = 0; d < 2; d++) {
    const chosen = connections.chosen[c * C4 + d]!
    if (chosen < 0) continue
    const last = views.last[chosen * V8 + (views.forward[chosen * V1]! ^ d)]!
    for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      const dir = views.forward[view * V1]! ^ d
      if (view === chosen || views.last[view * V8 + dir]! < last + SILENT_US) continue
      if (suspected) {
        const { packets, bytes } = directionTotals(tables, c, d)
        connections.carry(c)
        connections.carryPackets[c * 2 + d] = packets - views.counted(view, dir)
        connections.carryBytes[c * 2 + d] = bytes - views.countedBytes(view, dir)
        connections.chosen[c * C4 + d] = view
      } else connections.set(c, ConnectionState.SUSPECT)
      break
    }
  }
}

/**
 * What was taken for over because of its silence goes on: another flow with the same tuples, under a new id, that begins
 * with what has come since the last record.
 */
export function renew(tables: Tables, c: number): void {
  const { connections, views } = tables
  const since = [0, 1].map((d) => {
    const { packets, bytes } = directionTotals(tables, c, d)
    return {
      view: connections.chosen[c * C4 + d]!,
      packets: packets - connections.toldPackets[c * C8 + d]!,
      bytes: bytes - connections.toldBytes[c * C8 + d]!,
    }
  })
  for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
    const view = connections.views[i]!
    if (view < 0) break
    views.rebase(view)
  }
  for (const [d, { view, packets, bytes }] of since.entries()) {
    if (view < 0) continue
    const cell = view * V8 + (views.forward[view * V1]! ^ d)
    views.basePackets[cell]! -= packets
    views.baseBytes[cell]! -= bytes
  }
  connections.renew(c)
}
