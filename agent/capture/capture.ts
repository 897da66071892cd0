// Capture as one thing: reads the ring at every tick and drains the maps once a second, follows connections, and hands on
// batches of flow records. The stage between agent/kernel, which knows bytes, and agent/identity, which knows names.

import type { TranslationSink } from '../kernel/ctnetlink.js'
import { Clock, type ClockSource } from './clock.js'
import { Emitter } from './emit.js'
import type { FlowBatch } from './flow-batch.js'
import { RingEvents } from './ring-events.js'
import { SocketWalks } from './socket-walks.js'
import type { Sockets } from './sockets.js'
import type { DrainSource } from './source.js'
import { Tracker } from './tracker.js'

/** Something that was lost, as a count since the last one told. Units and stages are those of the contract. */
export interface CaptureLoss {
  readonly stage: 'KERNEL_MAP' | 'KERNEL_RING' | 'AGENT'
  readonly unit: 'RECORDS' | 'PACKETS'
  readonly count: number
  /** Wall clock, microseconds. */
  readonly sinceUs: number
  readonly untilUs: number
}

export interface CaptureOptions {
  readonly source: DrainSource
  /** Entries of the kernel's maps by family. */
  readonly maxViews4: number
  readonly maxViews6: number
  readonly updateIntervalMs: number
  /** Where processes are found; none are told without it. */
  readonly sockets?: Sockets | undefined
  readonly clock: ClockSource
  /** See TrackerOptions. */
  readonly maxRemembered?: number
  readonly maxSpilled?: number
  /** Boot time (us) at which a hook was attached, 0 when not known. */
  hookAttachedAt(hook: number): number
  /** True for the hooks of a pod's veth. */
  isPodHook(hook: number): boolean
  /** Takes a batch; it is reused when this returns. */
  onFlows(batch: FlowBatch): void
  onLost(loss: CaptureLoss): void
}

/**
 * Ring records read in one go, and how long that may take on a machine that is slow or busy: a flood must not keep the
 * event loop from everything else. The time is looked at after each slice.
 */
const RING_BUDGET = 20_000
const RING_SLICE = 2_000
const RING_BUDGET_US = 20_000
/** Rounds of reading at the end: more than the ring holds. */
const STOP_ROUNDS = 128
/** Keys deleted with one call. */
const FORGET_BATCH = 4096
/** How often the maps are to be drained; oftener when they fill, so that what is over makes room. */
const DRAIN_MS = 1000
const DRAIN_MS_QUARTER_FULL = 500
const DRAIN_MS_HALF_FULL = 250

export interface CaptureState {
  readonly connections: number
  readonly views: number
  readonly records: number
  readonly ringRecords: number
  readonly malformed: number
  /** Flows that had been told on their own before they turned out to be part of another one. */
  readonly absorbed: number
  /** Of the last drain, milliseconds. */
  readonly drainMs: number
  /** Sockets and processes that are known now, and ends of this node that were told without a process. */
  readonly sockets: number
  readonly processes: number
  readonly ownerless: number
}

/** Call poll() every 10 to 80 ms and drain() every `drainEveryMs`, both from the main thread; stop() once at the end. */
export class Capture {
  readonly #options: CaptureOptions
  readonly #clock: Clock
  readonly #emitter: Emitter
  readonly #tracker: Tracker
  readonly #events: RingEvents
  readonly #translated: TranslationSink
  readonly #walks: SocketWalks | undefined
  readonly #forget = { 4: new Uint32Array(FORGET_BATCH * 4), 6: new Uint32Array(FORGET_BATCH * 10) }
  readonly #forgetCount = { 4: 0, 6: 0 }
  #told = { packets: 0, full: 0, generations: 0, at: 0 }
  #drainMs = 0

  constructor(options: CaptureOptions) {
    this.#options = options
    this.#clock = new Clock(options.clock)
    this.#emitter = new Emitter({
      clock: this.#clock,
      isPodHook: (hook) => options.isPodHook(hook),
      sockets: options.sockets,
      flush: (batch) => options.onFlows(batch),
    })
    this.#tracker = new Tracker({
      maxViews4: options.maxViews4,
      maxViews6: options.maxViews6,
      updateIntervalUs: options.updateIntervalMs * 1000,
      clock: this.#clock,
      emitter: this.#emitter,
      forget: (family, keys, at) => this.#forgetView(family, keys, at),
      ...(options.maxRemembered === undefined ? {} : { maxRemembered: options.maxRemembered }),
      ...(options.maxSpilled === undefined ? {} : { maxSpilled: options.maxSpilled }),
      hookAttachedAt: (hook) => options.hookAttachedAt(hook),
    })
    this.#events = new RingEvents(this.#tracker)
    this.#translated = (family, root, rootForward, alias, aliasForward) =>
      this.#tracker.translated(family, root, rootForward, alias, aliasForward)
    this.#told.at = this.#clock.wall
    this.#walks = options.sockets === undefined ? undefined : new SocketWalks(options.source, options.sockets)
    this.#walks?.consider(0)
  }

  /** Reads the ring. True when there may be more at once. */
  poll(): boolean {
    this.#clock.tick()
    const { source } = this.#options
    // before: those of connections that come and go within one read of the ring; after: those of the very last packets
    source.readTranslations?.(this.#translated)
    const more = this.#readRing()
    source.readTranslations?.(this.#translated)
    // after the ring: all sockets of the connections that it speaks of
    const { sockets } = this.#options
    if (sockets !== undefined) source.readSockets?.(sockets)
    this.#tracker.telling.settleEvents()
    this.#emitter.flush()
    return more
  }

  /** Reads until the ring is empty or a budget is used up; true for the latter. */
  #readRing(): boolean {
    const { source, clock } = this.#options
    const { telling } = this.#tracker
    const until = this.#clock.now + RING_BUDGET_US
    for (let read = 0; read < RING_BUDGET; read += RING_SLICE) {
      if (source.readRing(this.#events.read, RING_SLICE) < RING_SLICE) {
        telling.heardUs = this.#clock.now
        return false
      }
      if (clock.bootUs() > until) break
    }
    telling.heardUs = Math.min(this.#events.lastUs, this.#clock.now)
    return true
  }

  /** Reads every entry of the maps, tells what is due, deletes what is over. */
  drain(): void {
    const began = performance.now()
    const { source } = this.#options
    const tracker = this.#tracker
    this.poll()
    tracker.beginDrain()
    for (const family of [4, 6] as const) {
      const { keyWords, valueWords } = source.strides(family)
      tracker.beginFamily(family)
      const entries = source.drain(family, (keys, values, count) => {
        for (let i = 0; i < count; i++) tracker.drained(family, keys, i * keyWords, values, i * valueWords)
        // what was read to be over is deleted before anything else can be counted for it
        this.#flushForgotten(family)
      })
      tracker.endFamily(family, entries)
    }
    // the maps hold tuples that came after poll(): their translations were told before their packets were counted
    source.readTranslations?.(this.#translated)
    this.#clock.tick()
    tracker.endDrain()
    this.#flushForgotten(4)
    this.#flushForgotten(6)
    this.#emitter.flush()
    this.#tellLosses()
    this.#walks?.consider(this.#emitter.owners.missed)
    this.#drainMs = performance.now() - began
  }

  /** How long after the beginning of the last drain the next one is due, by how full the maps are. */
  get drainEveryMs(): number {
    const filled = this.#tracker.filled()
    if (filled < 0.25) return DRAIN_MS
    return filled < 0.5 ? DRAIN_MS_QUARTER_FULL : DRAIN_MS_HALF_FULL
  }

  /** Reads all once more and ends every connection that is open. Nothing may be called after. */
  stop(): void {
    // all that waits in the ring, not just one round's worth; bounded, since traffic goes on
    for (let round = 0; round < STOP_ROUNDS && this.poll(); round++);
    this.drain()
    this.#tracker.telling.stop()
    this.#emitter.flush()
  }

  state(): CaptureState {
    return {
      connections: this.#tracker.telling.open,
      views: this.#tracker.views.size,
      records: this.#emitter.records,
      ringRecords: this.#events.records,
      malformed: this.#events.malformed,
      absorbed: this.#tracker.losses.absorbed,
      drainMs: this.#drainMs,
      sockets: this.#options.sockets?.size ?? 0,
      processes: this.#options.sockets?.owners.size ?? 0,
      ownerless: this.#emitter.owners.missed,
    }
  }

  #forgetView(family: 4 | 6, keys: Uint32Array, at: number): void {
    const words = family === 4 ? 4 : 10
    const buffer = this.#forget[family]
    this.#tracker.presentEntries[family]--
    const to = this.#forgetCount[family]++ * words
    for (let i = 0; i < words; i++) buffer[to + i] = keys[at + i]!
    if (this.#forgetCount[family] === FORGET_BATCH) this.#flushForgotten(family)
  }

  #flushForgotten(family: 4 | 6): void {
    const count = this.#forgetCount[family]
    if (count === 0) return
    this.#forgetCount[family] = 0
    this.#options.source.deleteViews(family, this.#forget[family], count)
  }

  #tellLosses(): void {
    const told = this.#told
    const untilUs = this.#clock.wall
    const tell = (stage: CaptureLoss['stage'], unit: CaptureLoss['unit'], count: number): void => {
      if (count > 0) this.#options.onLost({ stage, unit, count, sinceUs: told.at, untilUs })
    }
    const { full, generations } = this.#tracker.losses
    const packets = this.#options.source.losses().packets + this.#tracker.losses.packets
    tell('KERNEL_MAP', 'PACKETS', packets - told.packets)
    tell('AGENT', 'RECORDS', full - told.full)
    // a connection that came and went unseen between two others on its tuple: its OPENED and its CLOSED
    tell('KERNEL_RING', 'RECORDS', (generations - told.generations) * 2)
    this.#told = { packets, full, generations, at: untilUs }
  }
}
