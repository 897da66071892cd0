// What has become of a connection, from the flags of all its views and what was counted. Reads the tables and changes
// nothing but the verdict.

import { mark } from '../kernel/layout.gen.js'
import { C1, C4, ConnectionState, MAX_VIEWS } from './connections.js'
import { EndReason, Verdict } from './flow-batch.js'
import { directionTotals, type Tables } from './reading.js'
import { ACK, FIN, RST, refused, SYN } from './tcp.js'
import { V1, V4 } from './views.js'

const PROTOCOL_TCP = 6

/** TCP flags of a direction (0 forward), over all views. */
export function flagsOf(tables: Tables, c: number, direction: number): number {
  const { views, connections } = tables
  let flags = 0
  for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
    const view = connections.views[i]!
    if (view < 0) break
    const dir = views.forward[view * V1]! ^ direction
    flags |= (views.marks[view * V4]! >>> (dir === 0 ? 0 : mark.MARK_FLAGS_SHIFT)) & 0xff
  }
  return flags
}

/** Sets the verdict as far as it is known. A change after OPENED is marked CHANGED, to be told at once. */
export function judge(tables: Tables, c: number): void {
  const { connections } = tables
  const before = connections.verdict[c * C1]!
  // what was answered once stays so
  if (before === Verdict.FORWARDED) return
  const forward = flagsOf(tables, c, 0)
  const reverse = flagsOf(tables, c, 1)
  let verdict = before
  if (connections.is(c, ConnectionState.REFUSED) || refused(forward, reverse)) verdict = Verdict.REFUSED
  else if (answered(tables, c, forward, reverse)) verdict = Verdict.FORWARDED
  if (verdict === before) return
  connections.verdict[c * C1] = verdict
  if (connections.is(c, ConnectionState.OPENED_SENT)) connections.set(c, ConnectionState.CHANGED)
}

function answered(tables: Tables, c: number, forward: number, reverse: number): boolean {
  if (tables.views.protocol(tables.connections.root[c * C4]!) === PROTOCOL_TCP)
    return (
      (reverse & SYN) !== 0 ||
      ((reverse & ~RST) !== 0 && (forward & SYN) === 0) ||
      // the answer went another way, and was heard
      (forward & (SYN | ACK | RST)) === (SYN | ACK)
    )
  return directionTotals(tables, c, 1).packets > 0 && directionTotals(tables, c, 0).packets > 0
}

/** Anybody can send an ICMP error: what was answered is not refused by one. */
export function canBeRefused(tables: Tables, c: number): boolean {
  return (
    tables.connections.verdict[c * C1] !== Verdict.FORWARDED && directionTotals(tables, c, 1).packets === 0
  )
}

/** Has the end been seen on every view that the kernel has? */
export function endSeenEverywhere(tables: Tables, c: number, inKernel: number): boolean {
  const { views, connections } = tables
  for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
    const view = connections.views[i]!
    if (view < 0) break
    if ((views.flags[view * V1]! & inKernel) !== 0 && (views.marks[view * V4]! & mark.MARK_TOLD_END) === 0)
      return false
  }
  return true
}

/** By what a connection ends whose end was seen. */
export function endOf(tables: Tables, c: number): number {
  const flags = flagsOf(tables, c, 0) | flagsOf(tables, c, 1)
  if ((flags & RST) !== 0) return EndReason.RST
  return (flags & FIN) !== 0 ? EndReason.FIN : EndReason.IDLE
}
