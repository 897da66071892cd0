// Joins the views of one connection: conntrack says that two tuples are one, and from then on they share a flow. Nothing
// is counted here and nothing is moved: each direction goes on being read from one view.

import { mark } from '../kernel/layout.gen.js'
import { C4, C8, ConnectionState, type Connections, FROZEN, MAX_VIEWS } from './connections.js'
import { V1, V4, ViewFlag, type Views } from './views.js'

const PEER_MARKS = mark.MARK_PEER_IS_ROOT | mark.MARK_PEER_IS_ALIAS

/** Whose tables, and what to do with a flow that turns out to be part of another one. */
export interface JoinContext {
  readonly views: Views
  readonly connections: Connections
  /** The connection had been told as a flow of its own; it must be told to be over. */
  onAbsorbed(connection: number): void
  /** There was no room for a tuple that is part of a connection. */
  onFull(connection: number): void
  /** Makes the view of a key that has none; -1 when there is no room. */
  insertView(family: number, words: Uint32Array, at: number): number
  /** A view belongs to no connection any more, and what comes on its tuple is another one: it is to be forgotten. */
  onEvicted(view: number): void
}

/**
 * Makes `forward` the dir of source-to-destination packets in a view, and its whole connection agree with that. A
 * connection that has been told the other way round stays as it was told: false then.
 */
export function orient(context: JoinContext, view: number, forward: number): boolean {
  const { views, connections } = context
  const c = views.connection[view * V4]!
  if (views.forward[view * V1] !== forward && c >= 0) {
    if (connections.is(c, ConnectionState.OPENED_SENT)) return false
    connections.turn(c)
    for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
      const other = connections.views[i]!
      if (other >= 0) views.forward[other * V1]! ^= 1
    }
  }
  views.forward[view * V1] = forward
  views.flags[view * V1]! |= ViewFlag.ORIENTED
  if (c >= 0) connections.clear(c, ConnectionState.INFERRED)
  return true
}

/** What a view has counted for a connection stays with it; `chosen` is what those directions are read from then on. */
export function carryCounted(context: JoinContext, view: number, c: number, chosen: number): void {
  const { views, connections } = context
  for (let d = 0; d < 2; d++) {
    if (connections.chosen[c * C4 + d] !== view) continue
    const dir = views.forward[view * V1]! ^ d
    connections.carry(c)
    connections.carryPackets[c * 2 + d]! += views.counted(view, dir)
    connections.carryBytes[c * 2 + d]! += views.countedBytes(view, dir)
    connections.chosen[c * C4 + d] = chosen
  }
}

/**
 * Takes a view away from a connection that is over, so that the tuple can belong to the next one. The connection ends
 * with its last view.
 */
export function detachView(context: JoinContext, view: number): void {
  const { views, connections } = context
  const c = views.connection[view * V4]!
  if (c < 0) return
  views.connection[view * V4] = -1
  carryCounted(context, view, c, FROZEN)
  connections.removeView(c, view)
  const rest = connections.views[c * C4]!
  if (rest < 0) {
    connections.free(c)
    return
  }
  if (connections.root[c * C4] === view) connections.root[c * C4] = rest
  if (connections.alias[c * C4] === view || connections.alias[c * C4] === connections.root[c * C4])
    connections.alias[c * C4] = -1
}

/**
 * Links `view` to the tuple at `peer[at…]` as its marks say (MARK_PEER_IS_ROOT, _IS_ALIAS, _FORWARD_DIR, _OPENER_*).
 * The view has a connection. Returns the connection that both belong to now.
 */
export function link(
  context: JoinContext,
  view: number,
  marks: number,
  peer: Uint32Array,
  at: number,
): number {
  const { views, connections } = context
  const mine = views.connection[view * V4]!
  if ((marks & PEER_MARKS) === 0) return mine
  const family = views.family(view)
  let other = views.find(family, peer, at)
  if (other < 0) {
    other = context.insertView(family, peer, at)
    if (other < 0) {
      context.onFull(mine)
      return mine
    }
  }
  const forward =
    (marks & mark.MARK_OPENER_KNOWN) === 0
      ? views.forward[view * V1]!
      : (marks & mark.MARK_OPENER_DIR) !== 0
        ? 1
        : 0
  const peerForward = (marks & mark.MARK_PEER_FORWARD_DIR) !== 0 ? 1 : 0
  const root = (marks & mark.MARK_PEER_IS_ROOT) !== 0 ? other : view
  const alias = root === view ? other : view

  let theirs = views.connection[other * V4]!
  if (theirs >= 0 && theirs !== mine && connections.is(theirs, ConnectionState.CLOSED_SENT)) {
    // the tuple was part of an earlier connection
    detachView(context, other)
    views.rebase(other)
    views.marks[other * V4] = 0
    views.flags[other * V1]! |= ViewFlag.STALE
    theirs = -1
  }
  let keep = mine
  if (theirs >= 0 && theirs !== mine) {
    const [kept, part] = root === other ? [other, view] : [view, other]
    const [keptForward, partForward] = kept === other ? [peerForward, forward] : [forward, peerForward]
    keep = views.connection[kept * V4]!
    // told the wrong way round before it was known: what becomes part of it goes the same way
    const turned = orient(context, kept, keptForward) ? 0 : 1
    absorb(context, keep, part, partForward ^ turned)
  } else {
    const turned = orient(context, view, forward) ? 0 : 1
    if (theirs < 0) attach(context, mine, other, peerForward ^ turned)
    // what has been told was counted this way round
    else if (!connections.is(mine, ConnectionState.OPENED_SENT))
      views.forward[other * V1] = peerForward ^ turned
  }
  if (views.connection[other * V4] !== keep || views.connection[view * V4] !== keep)
    return views.connection[view * V4]!
  if (connections.root[keep * C4] !== root || connections.alias[keep * C4] !== alias) {
    connections.root[keep * C4] = root
    connections.alias[keep * C4] = alias
    connections.set(keep, ConnectionState.CHANGED | ConnectionState.DIRTY)
  }
  connections.clear(keep, ConnectionState.HELD)
  return keep
}

function attach(context: JoinContext, c: number, view: number, forward: number): void {
  const { views } = context
  if (!addView(context, c, view)) return
  views.connection[view * V4] = c
  views.forward[view * V1] = forward
  views.flags[view * V1]! |= ViewFlag.ORIENTED
}

/** Adds a view; one that the connection no longer reads makes room for it. */
function addView(context: JoinContext, c: number, view: number): boolean {
  const { connections } = context
  if (connections.addView(c, view)) return true
  for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
    const old = connections.views[i]!
    const used =
      old === connections.root[c * C4] ||
      old === connections.alias[c * C4] ||
      old === connections.chosen[c * C4] ||
      old === connections.chosen[c * C4 + 1]
    if (used) continue
    detachView(context, old)
    context.onEvicted(old)
    return connections.addView(c, view)
  }
  context.onFull(c)
  return false
}

/**
 * The connection of `member` becomes part of `whole`, which keeps its id and what it has told. `forward` is the dir of
 * source-to-destination packets in `member`, once what was told of its own is over.
 */
function absorb(context: JoinContext, whole: number, member: number, forward: number): void {
  const { views, connections } = context
  const part = views.connection[member * V4]!
  if (connections.is(part, ConnectionState.OPENED_SENT)) context.onAbsorbed(part)
  const turn = views.forward[member * V1]! ^ forward
  for (let i = part * C4; i < part * C4 + MAX_VIEWS; i++) {
    const view = connections.views[i]!
    if (view < 0) continue
    views.forward[view * V1]! ^= turn
    views.flags[view * V1]! |= ViewFlag.ORIENTED
    if (addView(context, whole, view)) views.connection[view * V4] = whole
    else {
      views.connection[view * V4] = -1
      context.onEvicted(view)
    }
  }
  connections.startBoot[whole * C8] = Math.min(
    connections.startBoot[whole * C8]!,
    connections.startBoot[part * C8]!,
  )
  connections.startUs[whole * C8] = Math.min(
    connections.startUs[whole * C8]!,
    connections.startUs[part * C8]!,
  )
  connections.lastBoot[whole * C8] = Math.max(
    connections.lastBoot[whole * C8]!,
    connections.lastBoot[part * C8]!,
  )
  if (connections.tunnel[whole * C4] === -1) connections.tunnel[whole * C4] = connections.tunnel[part * C4]!
  connections.set(
    whole,
    connections.state[part]! & (ConnectionState.ENDING | ConnectionState.REFUSED | ConnectionState.DIRTY),
  )
  connections.free(part)
}
