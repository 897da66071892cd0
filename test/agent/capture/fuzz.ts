// One run of made-up bytes through capture: what the kernel might say, said wrongly, in any order, and noise. The number
// it begins with decides everything.

import { strictEqual } from 'node:assert'
import type { FlowBatch } from '../../../agent/capture/flow-batch.js'
import { FlowEvent } from '../../../agent/capture/flow-batch.js'
import { event as E, event_kind as Kind, event_view as VE } from '../../../agent/kernel/layout.gen.js'
import { ACK, FakeKernel, FIN, RST, SYN, type Tuple, tuple } from './fake-kernel.js'

/** Numbers below 1 from a seed (mulberry32). */
export function numbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

interface Told {
  forward: number
  reverse: number
  forwardBytes: number
  reverseBytes: number
  source: string
  opened: boolean
  closed: boolean
}

/** Noise may say more than 2^53 bytes: nine petabytes, which are not exact and need not be. */
function sameBytes(total: number, added: number, what: string): number {
  if (total <= Number.MAX_SAFE_INTEGER) strictEqual(total, added, what)
  return total
}

/** Holds every record to what has been told of its id before. */
export class Ledger {
  readonly flows = new Map<number, Told>()
  records = 0

  readonly take = (batch: FlowBatch): void => {
    for (let row = 0; row < batch.count; row++) this.#row(batch, row)
  }

  #row(batch: FlowBatch, row: number): void {
    this.records++
    const id = batch.id[row]!
    const event = batch.event[row]!
    const source = `${batch.source.slice(row * 4, row * 4 + 4).join('.')}:${batch.sourcePort[row]}`
    let told = this.flows.get(id)
    if (told === undefined) {
      strictEqual(event, FlowEvent.OPENED, `flow ${id} begins with event ${event}`)
      told = {
        forward: 0,
        reverse: 0,
        forwardBytes: 0,
        reverseBytes: 0,
        source,
        opened: false,
        closed: false,
      }
      this.flows.set(id, told)
    }
    if (event === FlowEvent.OPENED) strictEqual(told.opened, false, `flow ${id} is opened twice`)
    if (event === FlowEvent.CLOSED) strictEqual(told.closed, false, `flow ${id} is closed twice`)
    told.opened = true
    told.closed ||= event === FlowEvent.CLOSED
    // the source may turn out to be the other end, or to have been another before it was translated
    if (told.source !== source) {
      told.source = source
      this.#turn(told, batch, row)
    }
    told.forward += batch.forwardPackets[row]!
    told.reverse += batch.reversePackets[row]!
    told.forwardBytes += batch.forwardBytes[row]!
    told.reverseBytes += batch.reverseBytes[row]!
    const what = `flow ${id}, event ${event}`
    for (const delta of [batch.forwardPackets, batch.reversePackets])
      strictEqual(delta[row]! >= 0, true, `${what}: a delta of ${delta[row]} packets`)
    for (const [delta, total] of [
      [batch.forwardBytes[row]!, batch.forwardTotalBytes[row]!],
      [batch.reverseBytes[row]!, batch.reverseTotalBytes[row]!],
    ] as const)
      strictEqual(delta >= 0 || total > Number.MAX_SAFE_INTEGER, true, `${what}: a delta of ${delta} bytes`)
    strictEqual(batch.forwardTotalPackets[row], told.forward, `${what}: forward packets`)
    strictEqual(batch.reverseTotalPackets[row], told.reverse, `${what}: reverse packets`)
    told.forwardBytes = sameBytes(batch.forwardTotalBytes[row]!, told.forwardBytes, `${what}: forward bytes`)
    told.reverseBytes = sameBytes(batch.reverseTotalBytes[row]!, told.reverseBytes, `${what}: reverse bytes`)
    strictEqual(Number.isFinite(batch.timeUs[row]! + batch.startUs[row]! + batch.endUs[row]!), true)
    strictEqual(batch.endUs[row]! >= batch.startUs[row]!, true, `${what}: ends before it starts`)
    strictEqual(batch.observationCount[row]! <= 8, true)
  }

  /** Forward and reverse change places, when that is what makes the totals right. */
  #turn(told: Told, batch: FlowBatch, row: number): void {
    if (told.forward + batch.forwardPackets[row]! === batch.forwardTotalPackets[row]) return
    const { forward, forwardBytes } = told
    told.forward = told.reverse
    told.forwardBytes = told.reverseBytes
    told.reverse = forward
    told.reverseBytes = forwardBytes
  }
}

export interface FuzzResult {
  readonly records: number
  readonly flows: number
  readonly malformed: number
  readonly views: number
  readonly connections: number
}

const FLAGS = [SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, 0, 0xff]
const KINDS = Object.values(Kind)

/**
 * `steps` of packets, links, lost and repeated events, drains and silences. With `noise`, records and entries of random
 * bytes too, and bits turned in good ones.
 */
export function fuzz(seed: number, steps: number, noise: boolean): FuzzResult {
  const random = numbers(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!
  const kernel = new FakeKernel({ maxViews4: 48, maxViews6: 48, updateIntervalMs: 500 })
  const ledger = new Ledger()
  kernel.onBatch = ledger.take
  const tuples: Tuple[] = []
  for (let i = 0; i < 12; i++) {
    const protocol = pick([6, 6, 17, 1, 132])
    tuples.push(
      tuple(`10.0.0.${1 + below(4)}`, 40_000 + i, `10.96.0.${below(4)}`, pick([80, 40_500]), protocol),
    )
    tuples.push(
      tuple(`fd00::${1 + below(4)}`, 40_000 + i, `fd96::${1 + below(4)}`, pick([80, 40_500]), protocol),
    )
  }
  for (let step = 0; step < steps; step++) {
    const key = pick(tuples)
    const packet = {
      reverse: random() < 0.5,
      hook: pick([10, 11, 20, 21]),
      count: pick([1, 1, 1, 3, 45, 60_000]),
      bytes: 40 + below(1500),
      told: random() < 0.8,
      ...(key.protocol === 6 ? { flags: pick(FLAGS) } : {}),
    }
    const dice = random()
    if (dice < 0.6) kernel.packet(key, packet)
    else if (dice < 0.68) {
      const other = pick(tuples)
      if (kernel.has(key) && other !== key && other.family === key.family && other.protocol === key.protocol)
        kernel.link(...(random() < 0.5 ? ([key, other] as const) : ([other, key] as const)), key, packet.told)
    } else if (dice < 0.73) {
      const kind = pick(KINDS)
      kernel.event(kind, key, packet, kind !== Kind.EVENT_OPEN || random() < 0.3, 0x0303)
    } else if (dice < 0.76) kernel.pass(pick([1000, 100_000, 4_000_000, 40_000_000, 4_000_000_000]))
    else if (dice < 0.78) kernel.wall += pick([3_600_000_000, -3_600_000_000])
    else if (dice < 0.86 && noise) {
      const words = pick([0, 1, 4, 15, 16, 26, 54, 60])
      const record = Uint32Array.from({ length: words }, () => below(0x1_0000_0000))
      // often enough something that passes the first look
      if (words > 5 && random() < 0.7) {
        const head = new DataView(record.buffer)
        head.setUint8(E.kind, pick(KINDS))
        head.setUint8(E.family, pick([4, 6]))
        if (random() < 0.7) record.set(key.words.subarray(0, Math.max(0, words - E.key / 4)), E.key / 4)
        if (words * 4 >= VE.size && random() < 0.5) record.fill(0, VE.view / 4, VE.view / 4 + 8)
      }
      kernel.raw(record)
    } else if (dice < 0.9 && noise) kernel.scramble(key, below(1 << 30), below(0x1_0000_0000))
    else if (dice < 0.97) kernel.poll(below(50_000))
    else kernel.drained(below(2_000_000))
  }
  kernel.stopped()
  const { malformed, views, connections } = kernel.capture.state()
  return { records: ledger.records, flows: ledger.flows.size, malformed, views, connections }
}
