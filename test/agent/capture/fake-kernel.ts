// The kernel side of capture as bytes: entries and ring records laid out by layout.gen.ts, which a test writes as packets
// come. It counts as bpf/account.h says, on one hook for each view unless told otherwise; a test may withhold any event.

import { Capture, type CaptureLoss, type CaptureOptions } from '../../../agent/capture/capture.js'
import { EndReason, type FlowBatch, FlowEvent, FlowFlag, Verdict } from '../../../agent/capture/flow-batch.js'
import type { DrainSource } from '../../../agent/capture/source.js'
import type { Losses } from '../../../agent/kernel/counters.js'
import {
  event as E,
  event_kind as Kind,
  mark,
  view as V,
  event_view as VE,
} from '../../../agent/kernel/layout.gen.js'
import { addressOf } from '../../bpf/headers.js'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const ACK = 16
const ENDS = ((FIN | RST) << 8) | FIN | RST
const BOTH_FIN = (FIN << 8) | FIN

/** A tuple as a key, and the dir of its forward packets. */
export interface Tuple {
  readonly family: 4 | 6
  readonly words: Uint32Array
  readonly forward: 0 | 1
  readonly protocol: number
}

/** The tuple of packets from one end to the other. */
export function tuple(
  source: string,
  sport: number,
  destination: string,
  dport: number,
  protocol = 6,
): Tuple {
  const from = addressOf(source)
  const to = addressOf(destination)
  const loaded = (bytes: Buffer) =>
    Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(i * 4))
  const a = loaded(from)
  const b = loaded(to)
  const at = a.findIndex((word, i) => word !== b[i])
  const port = (value: number) => ((value & 0xff) << 8) | (value >> 8)
  const forward = at < 0 ? Number(port(sport) > port(dport)) : Number(a[at]! > b[at]!)
  const key = Buffer.alloc(from.length * 2 + 8)
  key.set(forward === 0 ? from : to, 0)
  key.set(forward === 0 ? to : from, from.length)
  key.writeUInt16BE(forward === 0 ? sport : dport, from.length * 2)
  key.writeUInt16BE(forward === 0 ? dport : sport, from.length * 2 + 2)
  key[from.length * 2 + 4] = protocol
  const words = new Uint32Array(key.length / 4)
  new Uint8Array(words.buffer).set(key)
  return { family: from.length === 4 ? 4 : 6, words, forward: forward as 0 | 1, protocol }
}

export interface Packet {
  /** From who answers. */
  readonly reverse?: boolean
  readonly flags?: number
  readonly bytes?: number
  readonly count?: number
  readonly hook?: number
  /** Whether the ring takes what is told of it; it does unless given. */
  readonly told?: boolean
}

interface Entry {
  readonly key: Tuple
  readonly value: Uint32Array
  readonly bytes: DataView
}

const name = (key: Tuple) => key.words.join('/')

export class FakeKernel implements DrainSource {
  /** Microseconds. */
  boot = 1_000_000_000
  wall = 1_700_000_000_000_000
  lost = 0
  /** Microseconds that go by with each call that reads the ring. */
  readingTakes = 0
  readonly entries = new Map<string, Entry>()
  readonly rows: string[] = []
  readonly losses_: CaptureLoss[] = []
  /** What goes on between the reading of the ring and that of the maps. */
  meanwhile: (() => void) | undefined
  /** Each batch as it comes, before its rows are put into words. */
  onBatch: ((batch: FlowBatch) => void) | undefined
  readonly capture: Capture
  #ring: Uint32Array[] = []
  readonly #translations: (readonly [Tuple, Tuple])[] = []

  constructor(options: Partial<CaptureOptions> = {}) {
    this.capture = new Capture({
      source: this,
      maxViews4: 64,
      maxViews6: 64,
      updateIntervalMs: 1000,
      clock: { bootUs: () => this.boot, wallUs: () => this.wall },
      hookAttachedAt: () => 1,
      isPodHook: () => false,
      onFlows: (batch) => {
        this.onBatch?.(batch)
        for (let row = 0; row < batch.count; row++) this.rows.push(rowOf(batch, row))
      },
      onLost: (loss) => this.losses_.push(loss),
      ...options,
    })
  }

  // DrainSource

  readRing(sink: (words: Uint32Array, at: number, length: number) => void, max: number): number {
    this.pass(this.readingTakes)
    const records = this.#ring.splice(0, max)
    for (const record of records) {
      // as in the ring: something stands before and behind
      const memory = new Uint32Array(record.length + 64).fill(0xdeadbeef)
      memory.set(record, 32)
      sink(memory, 32, record.length * 4)
    }
    return records.length
  }

  readTranslations(
    sink: (
      family: 4 | 6,
      root: Uint32Array,
      rootForward: number,
      alias: Uint32Array,
      aliasForward: number,
    ) => void,
  ): void {
    for (const [root, alias] of this.#translations.splice(0))
      sink(
        root.family,
        new Uint32Array(root.words),
        root.forward,
        new Uint32Array(alias.words),
        alias.forward,
      )
  }

  drain(family: 4 | 6, sink: (keys: Uint32Array, values: Uint32Array, count: number) => void): number {
    this.meanwhile?.()
    this.meanwhile = undefined
    const { keyWords, valueWords } = this.strides(family)
    const found = [...this.entries.values()].filter(({ key }) => key.family === family)
    const keys = new Uint32Array(found.length * keyWords)
    const values = new Uint32Array(found.length * valueWords)
    found.forEach((entry, i) => {
      keys.set(entry.key.words, i * keyWords)
      values.set(entry.value, i * valueWords)
    })
    if (found.length > 0) sink(keys, values, found.length)
    return found.length
  }

  strides(family: 4 | 6): { keyWords: number; valueWords: number } {
    return family === 4 ? { keyWords: 4, valueWords: 32 } : { keyWords: 10, valueWords: 38 }
  }

  deleteViews(family: 4 | 6, keys: Uint32Array, count: number): number {
    const words = this.strides(family).keyWords
    for (let i = 0; i < count; i++) this.entries.delete(keys.subarray(i * words, (i + 1) * words).join('/'))
    return count
  }

  losses(): Losses {
    return { mapFull: 0, packets: this.lost, ringFull: 0, dns: 0 }
  }

  // What happens

  /** Time goes by. */
  pass(us: number): this {
    this.boot += us
    this.wall += us
    return this
  }

  /** Reads the ring, and gives the records made since the last reading. */
  poll(us = 5_000): string[] {
    this.pass(us)
    this.capture.poll()
    return this.rows.splice(0)
  }

  /** Drains, and gives the records made since the last reading. */
  drained(us = 1_000_000): string[] {
    this.pass(us)
    this.capture.drain()
    return this.rows.splice(0)
  }

  stopped(): string[] {
    this.capture.stop()
    return this.rows.splice(0)
  }

  /** A packet at the hook that counts it. */
  packet(key: Tuple, packet: Packet = {}): this {
    const flags = packet.flags ?? (key.protocol === 6 ? ACK : 0)
    const dir = packet.reverse === true ? key.forward ^ 1 : key.forward
    const hook = packet.hook ?? 10
    const told = packet.told ?? true
    let entry = this.entries.get(name(key))
    const fresh = entry === undefined
    entry ??= this.#create(key)
    const { bytes } = entry
    let marks = this.marks(key)
    if (!fresh && (flags & (SYN | ACK | RST)) === SYN && (marks & ENDS) !== 0) {
      if (told) this.event(Kind.EVENT_REOPEN, key, packet, true)
      bytes.setUint8(V.generation, bytes.getUint8(V.generation) + 1)
      for (const offset of [V.owner, V.owner + 4, V.other, V.other + 4]) bytes.setUint32(offset, 0, true)
      for (const offset of [V.first, V.first + 8]) bytes.setBigUint64(offset, 0n, true)
      marks = mark.MARK_TOLD_OPEN
    }
    const before = marks
    marks |= flags << (dir === 0 ? 0 : 8)
    if ((flags & SYN) !== 0 && (marks & mark.MARK_OPENER_KNOWN) === 0) {
      const opener = (flags & ACK) !== 0 ? dir ^ 1 : dir
      marks |= mark.MARK_OPENER_KNOWN | (opener === 1 ? mark.MARK_OPENER_DIR : 0)
    }
    const now = BigInt(Math.round(this.boot)) * 1000n
    const add = packet.count ?? 1
    bytes.setUint32(V.packets + dir * 4, bytes.getUint32(V.packets + dir * 4, true) + add, true)
    const octets = BigInt((packet.bytes ?? 100) * add)
    bytes.setBigUint64(V.bytes + dir * 8, bytes.getBigUint64(V.bytes + dir * 8, true) + octets, true)
    bytes.setBigUint64(V.last + dir * 8, now, true)
    if (bytes.getBigUint64(V.first + dir * 8, true) === 0n) bytes.setBigUint64(V.first + dir * 8, now, true)
    bytes.setUint32(V.owner + dir * 4, hook, true)
    const ends =
      (flags & RST) !== 0 || ((before & BOTH_FIN) === BOTH_FIN && (flags & FIN) === 0 && key.protocol === 6)
    const end = ends && (marks & mark.MARK_TOLD_END) === 0
    if (end && told) marks |= mark.MARK_TOLD_END
    if (fresh) {
      marks |= mark.MARK_TOLD_OPEN
      if (key.protocol === 6 && (flags & SYN) === 0) marks |= mark.MARK_MIDSTREAM
    }
    this.setMarks(key, marks)
    if (fresh && told) this.event(Kind.EVENT_OPEN, key, packet)
    if (end && told && !fresh) this.event(Kind.EVENT_END, key, packet, true)
    return this
  }

  /** Conntrack says that `alias` is what `root` became; `told` at which of the two. */
  link(root: Tuple, alias: Tuple, at: Tuple, told = true): this {
    const isRoot = at === root
    const peer = isRoot ? alias : root
    const marks =
      this.marks(at) |
      (isRoot ? mark.MARK_PEER_IS_ALIAS : mark.MARK_PEER_IS_ROOT) |
      (peer.forward === 1 ? mark.MARK_PEER_FORWARD_DIR : 0) |
      mark.MARK_OPENER_KNOWN |
      (at.forward === 1 ? mark.MARK_OPENER_DIR : 0) |
      mark.MARK_TOLD_LINK
    this.setMarks(at, marks)
    this.entries.get(name(at))!.value.set(peer.words, V.size / 4)
    if (told) this.event(Kind.EVENT_LINK, at, {}, true)
    return this
  }

  /** Conntrack's notification says that `alias` is what `root` became. */
  translate(root: Tuple, alias: Tuple): this {
    this.#translations.push([root, alias])
    return this
  }

  /** A record about a tuple; with `view` the entry as it is now. */
  event(kind: number, key: Tuple, packet: Packet = {}, view = false, icmp = 0): this {
    const record = new Uint32Array((view ? VE.size : E.size) / 4)
    const bytes = new DataView(record.buffer)
    bytes.setBigUint64(E.time, BigInt(Math.round(this.boot)) * 1000n, true)
    bytes.setUint32(E.hook, packet.hook ?? 10, true)
    bytes.setUint32(E.bytes, (packet.bytes ?? 100) * (packet.count ?? 1), true)
    bytes.setUint16(E.packets, packet.count ?? 1, true)
    bytes.setUint8(E.kind, kind)
    bytes.setUint8(E.family, key.family)
    bytes.setUint8(E.dir, packet.reverse === true ? key.forward ^ 1 : key.forward)
    bytes.setUint8(E.tcp_flags, packet.flags ?? (key.protocol === 6 ? ACK : 0))
    bytes.setUint8(E.icmp_type, icmp >> 8)
    bytes.setUint8(E.icmp_code, icmp & 0xff)
    record.set(key.words, E.key / 4)
    const entry = this.entries.get(name(key))
    if (view && entry !== undefined) {
      record.set(entry.value.subarray(0, V.size / 4), VE.view / 4)
      record.set(entry.value.subarray(V.size / 4), VE.peer / 4)
    }
    return this.raw(record)
  }

  /** Any bytes as a ring record. */
  raw(record: Uint32Array): this {
    this.#ring.push(record)
    return this
  }

  /** The last ring record again. */
  repeat(): this {
    return this.raw(this.#ring.at(-1)!.slice())
  }

  marks(key: Tuple): number {
    return this.entries.get(name(key))?.bytes.getUint32(V.marks, true) ?? 0
  }

  setMarks(key: Tuple, marks: number): this {
    this.entries.get(name(key))!.bytes.setUint32(V.marks, marks, true)
    return this
  }

  /** Overwrites a word of an entry, whichever `place` comes to; nothing when there is none. */
  scramble(key: Tuple, place: number, word: number): this {
    const value = this.entries.get(name(key))?.value
    if (value !== undefined) value[place % value.length] = word
    return this
  }

  has(key: Tuple): boolean {
    return this.entries.has(name(key))
  }

  #create(key: Tuple): Entry {
    const value = new Uint32Array(this.strides(key.family).valueWords)
    const entry = { key, value, bytes: new DataView(value.buffer) }
    this.entries.set(name(key), entry)
    return entry
  }
}

const nameOf = (names: Record<string, number>, value: number) =>
  Object.keys(names).find((key) => names[key] === value) ?? String(value)

/** `EVENT id ends +forward/reverse packets =totals, VERDICT, REASON`; bytes are checked against the packets by each batch's reader. */
function rowOf(batch: FlowBatch, row: number): string {
  const end = (addresses: Uint32Array, port: number) => {
    const word = addresses[row * 4 + 3]!
    const text =
      batch.ipVersion[row] === 4
        ? [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255].join('.')
        : `v6-${word.toString(16)}`
    return `${text}:${port}`
  }
  const destination = end(batch.destination, batch.destinationPort[row]!)
  const service = end(batch.service, batch.servicePort[row]!)
  const parts = [
    nameOf(FlowEvent, batch.event[row]!),
    `#${batch.id[row]}`,
    `${end(batch.source, batch.sourcePort[row]!)}>${service === destination ? '' : `${service}>`}${destination}`,
    `+${batch.forwardPackets[row]}/${batch.reversePackets[row]}`,
    `=${batch.forwardTotalPackets[row]}/${batch.reverseTotalPackets[row]}`,
  ]
  if (batch.verdict[row] !== Verdict.UNSPECIFIED) parts.push(nameOf(Verdict, batch.verdict[row]!))
  if (batch.endReason[row] !== EndReason.NONE) parts.push(nameOf(EndReason, batch.endReason[row]!))
  if ((batch.flags[row]! & FlowFlag.INITIATOR_INFERRED) !== 0) parts.push('inferred')
  if ((batch.flags[row]! & FlowFlag.FORWARD_UNSEEN) !== 0) parts.push('forward-unseen')
  if ((batch.flags[row]! & FlowFlag.REVERSE_UNSEEN) !== 0) parts.push('reverse-unseen')
  return parts.join(' ')
}
