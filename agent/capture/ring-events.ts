// Reads the ring's records (bpf/flow.h, struct event and those that begin with it) in place and passes them to the
// tracker. Bytes that make no sense are counted and skipped.

import {
  event as E,
  EVENT_BYTES4,
  HOOK_EGRESS,
  event_kind as Kind,
  mark,
  event_tunnel as T,
  event_view as V,
} from '../kernel/layout.gen.js'
import { C1, ConnectionState } from './connections.js'
import { EndReason } from './flow-batch.js'
import { SYN } from './tcp.js'
import { newer, type Tracker } from './tracker.js'
import { u64, V1, V4, V8, ViewFlag, W } from './views.js'

const PROTOCOL_TCP = 6
const PEER_MARKS = mark.MARK_PEER_IS_ROOT | mark.MARK_PEER_IS_ALIAS
/** The view inside a struct event_view, in words from the record's beginning. */
const VIEW_AT = V.view / 4
const PEER_AT = V.peer / 4
const KEY_AT = E.key / 4

export class RingEvents {
  readonly #tracker: Tracker
  /** Records read, and those that were not understood. */
  records = 0
  malformed = 0
  /** Boot time of the last record, as its two words. */
  #timeLow = 0
  #timeHigh = 0

  constructor(tracker: Tracker) {
    this.#tracker = tracker
  }

  /** Boot time of the last record, microseconds. */
  get lastUs(): number {
    return (this.#timeHigh * 0x100000000 + this.#timeLow) / 1000
  }

  /** One record: `words[at…]`, `length` bytes. A RingSink. */
  readonly read = (words: Uint32Array, at: number, length: number): void => {
    this.records++
    this.#timeLow = words[at]!
    this.#timeHigh = words[at + 1]!
    const head = words[at + E.packets / 4]!
    const kind = (head >>> 16) & 0xff
    const family = head >>> 24
    if (length < (family === 4 ? EVENT_BYTES4 : E.size) || (family !== 4 && family !== 6)) {
      this.malformed++
      return
    }
    if (kind === Kind.EVENT_OPEN) this.#open(words, at, length, family)
    else if (kind === Kind.EVENT_REOPEN && length >= V.size) this.#open(words, at, length, family, true)
    else if (kind === Kind.EVENT_LINK || kind === Kind.EVENT_END) {
      if (length < V.size) this.malformed++
      else if (kind === Kind.EVENT_LINK) this.#link(words, at, family)
      else this.#end(words, at, family)
    } else if (kind === Kind.EVENT_OVERFLOW) this.#overflow(words, at, family)
    else if (kind === Kind.EVENT_ICMP_ERROR) this.#refused(words, at, family)
    else if (kind === Kind.EVENT_TUNNEL && length >= T.size) this.#tunnel(words, at, family)
    else this.malformed++
  }

  #open(words: Uint32Array, at: number, length: number, family: number, again = false): void {
    const tracker = this.#tracker
    const { views } = tracker
    const time = u64(words, at) / 1000
    const hook = words[at + E.hook / 4]!
    const tail = words[at + E.dir / 4]!
    const dir = tail & 1
    const flags = (tail >>> 8) & 0xff
    const view = tracker.viewOf(family, words, at + KEY_AT)
    if (view < 0) return
    const translated = !again && length >= V.size
    const inKernel = (views.flags[view * V1]! & ViewFlag.IN_KERNEL) !== 0
    if (again) {
      // used again: what the entry held until then comes with it
      const generation = (words[at + VIEW_AT + W.generation]! + 1) & 0xff
      if (inKernel && !newer(generation, views.generation[view * V1]!)) return // a drain was ahead of it
      if (!inKernel) views.restart(view)
      views.flags[view * V1]! |= ViewFlag.IN_KERNEL
      views.generation[view * V1] = generation
      tracker.reopened(view, words, at + VIEW_AT, time)
    } else {
      if (inKernel) return // a drain was faster
      tracker.presentEntries[family === 4 ? 4 : 6]++
      const reopening = views.connection[view * V4]! >= 0
      views.restart(view)
      views.flags[view * V1]! |= ViewFlag.IN_KERNEL
      views.generation[view * V1] = 0
      if (reopening && !this.#continues(view, flags)) tracker.abandon(view, time)
    }
    this.#count(view, dir, time, words, at, hook, flags)
    let c = views.connection[view * V4]!
    if (c < 0) {
      c = tracker.open(view, dir, time, hook, flags, false)
      if (c < 0) return
      const { connections } = tracker
      connections.icmpType[c * C1] = (tail >>> 16) & 0xff
      connections.icmpCode[c * C1] = tail >>> 24
    } else tracker.touched(c, time)
    if (translated && (words[at + VIEW_AT + W.marks]! & PEER_MARKS) !== 0)
      tracker.link(view, words[at + VIEW_AT + W.marks]!, words, at + PEER_AT)
  }

  /** Does a new entry for a known tuple belong to the connection that it had? */
  #continues(view: number, flags: number): boolean {
    const tracker = this.#tracker
    // known from conntrack only, until now
    if (tracker.live(view) >= 0) return true
    const c = tracker.views.connection[view * V4]!
    if (c >= 0 && tracker.connections.endReason[c * C1] === EndReason.IDLE) return false
    return tracker.views.protocol(view) === PROTOCOL_TCP && (flags & SYN) === 0
  }

  #count(
    view: number,
    dir: number,
    time: number,
    words: Uint32Array,
    at: number,
    hook: number,
    flags: number,
  ): void {
    const { views } = this.#tracker
    const cell = view * V8 + dir
    views.packets[cell]! += words[at + E.packets / 4]! & 0xffff
    views.bytes[cell]! += words[at + E.bytes / 4]!
    views.first[cell] = time
    views.last[cell] = time
    views.owner[view * V4 + dir] = hook
    views.marks[view * V4]! |= flags << (dir === 0 ? 0 : mark.MARK_FLAGS_SHIFT)
  }

  #link(words: Uint32Array, at: number, family: number): void {
    const view = this.#current(words, at, family)
    if (view >= 0) this.#tracker.link(view, words[at + VIEW_AT + W.marks]!, words, at + PEER_AT)
  }

  #end(words: Uint32Array, at: number, family: number): void {
    const view = this.#current(words, at, family)
    if (view < 0) return
    const tracker = this.#tracker
    const c = tracker.live(view)
    if (c < 0) return
    tracker.views.marks[view * V4]! |= mark.MARK_TOLD_END
    tracker.connections.set(c, ConnectionState.ENDING)
    tracker.telling.soon(c)
  }

  /** The view that a snapshot is of, brought up to it; -1 when it is of an earlier connection, or there is no room. */
  #current(words: Uint32Array, at: number, family: number): number {
    const tracker = this.#tracker
    const { views } = tracker
    const view = tracker.viewOf(family, words, at + KEY_AT)
    if (view < 0) return -1
    const generation = words[at + VIEW_AT + W.generation]! & 0xff
    if ((views.flags[view * V1]! & ViewFlag.IN_KERNEL) === 0) {
      views.restart(view)
      views.flags[view * V1]! |= ViewFlag.IN_KERNEL
      views.generation[view * V1] = generation
    } else if (views.generation[view * V1] !== generation) return -1
    if (views.read(view, words, at + VIEW_AT) || views.connection[view * V4]! < 0)
      tracker.afterRead(view, words, at + PEER_AT)
    return views.connection[view * V4]! < 0 ? -1 : view
  }

  /**
   * The map was full: this packet's worth, from the hook that told the first one of this direction. Only so many tuples
   * are kept that the kernel does not have; in a flood the rest is counted as lost.
   */
  #overflow(words: Uint32Array, at: number, family: number): void {
    const tracker = this.#tracker
    const { views } = tracker
    let view = views.find(family, words, at + KEY_AT)
    if (view < 0) {
      if (tracker.spilled < tracker.maxSpilled) view = tracker.spill(family, words, at + KEY_AT)
      if (view < 0) {
        tracker.losses.packets += words[at + E.packets / 4]! & 0xffff
        return
      }
    }
    const time = u64(words, at) / 1000
    const hook = words[at + E.hook / 4]!
    const tail = words[at + E.dir / 4]!
    const dir = tail & 1
    const flags = (tail >>> 8) & 0xff
    const cell = view * V8 + dir
    const owner = views.owner[view * V4 + dir]!
    if (owner !== 0 && owner !== hook && views.counted(view, dir) > 0) return
    if (views.connection[view * V4]! >= 0 && tracker.live(view) < 0 && !this.#continues(view, flags))
      tracker.abandon(view, time)
    const first = views.first[cell]!
    this.#count(view, dir, time, words, at, hook, flags)
    if (first !== 0) views.first[cell] = first
    const c = views.connection[view * V4]!
    if (c >= 0) tracker.touched(c, time)
    else if (tracker.open(view, dir, time, hook, flags, false) < 0) {
      tracker.losses.packets += words[at + E.packets / 4]! & 0xffff
      tracker.onEvicted(view)
    }
  }

  #refused(words: Uint32Array, at: number, family: number): void {
    const tracker = this.#tracker
    const view = tracker.views.find(family, words, at + KEY_AT)
    if (view < 0) return
    const tail = words[at + E.dir / 4]!
    tracker.refuse(view, tail & 1, (tail >>> 16) & 0xff, tail >>> 24)
  }

  #tunnel(words: Uint32Array, at: number, family: number): void {
    const tracker = this.#tracker
    const view = tracker.views.find(family, words, at + KEY_AT)
    if (view < 0) return
    const egress = (words[at + E.hook / 4]! & HOOK_EGRESS) !== 0
    const tail = words[at + T.type / 4]!
    const size = ((tail >>> 8) & 0xff) === 6 ? 16 : 4
    const dir = words[at + E.dir / 4]! & 1
    const source = bytesAt(words, at + T.source / 4, size)
    const destination = bytesAt(words, at + T.destination / 4, size)
    const forward = dir === tracker.views.forward[view * V1]
    tracker.tunnelled(
      view,
      {
        type: tail & 0xff,
        id: words[at + T.id / 4]!,
        source: forward ? source : destination,
        destination: forward ? destination : source,
      },
      egress,
    )
  }
}

function bytesAt(words: Uint32Array, at: number, size: number): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset + at * 4, size).slice()
}
