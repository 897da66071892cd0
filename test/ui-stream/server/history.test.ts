import { describe, expect, it } from 'vitest'
import type { NamedBatch } from '../../../agent/identity/names.js'
import { StreamMessage } from '../../../ui-stream/protocol/messages.js'
import { parseQuery } from '../../../ui-stream/protocol/subscription.js'
import type { Chunk } from '../../../ui-stream/server/chunk.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import { FlowFilter } from '../../../ui-stream/server/filter.js'
import { History } from '../../../ui-stream/server/history.js'
import { hookInterface } from './corpus.js'
import { numbered, range } from './harness.js'

const encoder = new FlowEncoder({ nodeName: 'node-1', agentId: 'a', hookInterface })
const NO_LIMIT = { scan: 1e9, records: 1e9 }

function filter(query = ''): FlowFilter {
  return FlowFilter.compile(parseQuery(new URLSearchParams(query), 0))
}

function push(history: History, named: NamedBatch): void {
  const { batch, rows } = encoder.encode(named, history.nextSequence)
  history.push(batch, rows)
}

/** Sequences of everything that passes, read piece by piece. */
function readAll(history: History, from: number, flowFilter: FlowFilter, limits = NO_LIMIT): number[] {
  const sequences: number[] = []
  let next = from
  while (next < history.nextSequence) {
    const piece = history.read(next, history.nextSequence, flowFilter, false, limits)
    expect(piece.next).toBeGreaterThan(next)
    next = piece.next
    if (piece.batch === undefined) continue
    expect(piece.batch.count).toBeLessThanOrEqual(limits.records)
    const flows = StreamMessage.decode(piece.batch.bytes).flows
    expect(flows).toHaveLength(piece.batch.count)
    expect(flows.at(-1)!.sequence).toBe(piece.batch.lastSequence)
    sequences.push(...flows.map((flow) => flow.sequence!))
  }
  return sequences
}

describe('History', () => {
  it('stays within its bytes, drops the oldest first, and shows what it drops', () => {
    const limit = 1024 * 1024
    const evicted: number[] = []
    const history = new History(limit, (chunk: Chunk) =>
      evicted.push(...range(chunk.firstSequence, chunk.count)),
    )
    for (let first = 1; first <= 20_000; first += 250) {
      push(history, numbered(first, 250))
      expect(history.bytes).toBeLessThanOrEqual(limit)
    }
    expect(history.nextSequence).toBe(20_001)
    expect(evicted).toEqual(range(1, history.firstSequence - 1))
    expect(readAll(history, 1, filter())).toEqual(range(history.firstSequence, history.records))
    // The bound is used, not just kept: bytes of these records are about 450 each.
    expect(history.records).toBeGreaterThan((limit / 700) | 0)
    expect(history.bytes).toBeGreaterThan(limit * 0.8)
  })

  it('counts names that only history holds, once', () => {
    const history = new History(4 * 1024 * 1024)
    const named = numbered(1, 100)
    push(history, named)
    const before = history.bytes
    push(history, numbered(101, 100))
    expect(history.bytes).toBe(before)
    const fresh = numbered(201, 100)
    for (let row = 0; row < 100; row++)
      fresh.source[row] = { kind: 1, pod: `p${row}`, labels: { a: 'x'.repeat(1000) } }
    push(history, fresh)
    expect(history.bytes - before).toBeGreaterThan(100 * 1000)
  })

  it('gives memory back with the last chunk that holds a name', () => {
    const history = new History(512 * 1024)
    const base = (): number => history.bytes
    for (let round = 0; round < 50; round++) {
      const named = numbered(round * 100 + 1, 100)
      for (let row = 0; row < 100; row++)
        named.source[row] = { kind: 1, pod: `p${round}-${row}`.padEnd(200, 'x') }
      push(history, named)
    }
    expect(base()).toBeLessThanOrEqual(512 * 1024)
    for (let round = 50; round < 150; round++) push(history, numbered(round * 100 + 1, 100))
    const chunkSize = Math.floor((512 * 1024) / 16)
    // Nothing of the strange names is left in the account: whole chunks and the corpus's few names remain.
    expect(base() % chunkSize).toBeLessThan(12_000)
  })

  it('takes a record that is larger than a chunk', () => {
    const history = new History(16 * 1024)
    const named = numbered(1, 3)
    named.source[1] = { kind: 1, pod: 'p'.repeat(3000) }
    push(history, named)
    expect(readAll(history, 1, filter())).toEqual([1, 2, 3].slice(-history.records))
    expect(history.nextSequence).toBe(4)
  })

  it('finds the last N that pass', () => {
    const history = new History(16 * 1024 * 1024)
    for (let first = 1; first <= 10_000; first += 500) push(history, numbered(first, 500))
    for (const query of ['', 'protocol=udp', 'pod=default/web&not.port=80', 'ip=::/0']) {
      const all = readAll(history, 1, filter(query))
      for (const last of [0, 1, 7, 1000, 1e6]) {
        const start = history.startOfLast(last, filter(query))
        expect(readAll(history, start, filter(query)), `${query} last ${last}`).toEqual(
          last === 0 ? [] : all.slice(-last),
        )
      }
    }
  })

  it('finds what is not older, also when times do not ascend', () => {
    const history = new History(1024 * 1024)
    const named = numbered(1, 1000)
    for (let row = 0; row < 1000; row++)
      named.flows.timeUs[row] = 1e6 + ((row * 7919) % 1000) * 1000 + Math.floor(row / 10)
    push(history, named)
    const times = [...named.flows.timeUs]
    for (const since of [0, 1e6 + 1, 1_500_000, 1_990_000, 3e6]) {
      const expected = range(1, 1000).filter((sequence) => times[sequence - 1]! >= since)
      const flowFilter = FlowFilter.compile({ filters: [], sinceUs: since })
      expect(readAll(history, history.startOfSince(since), flowFilter)).toEqual(expected)
    }
  })

  it('reads piece by piece without gap or duplicate, whatever the limits', () => {
    const history = new History(2 * 1024 * 1024)
    for (let first = 1; first <= 3000; first += 7) push(history, numbered(first, 7))
    const all = readAll(history, 1, filter('protocol=tcp'))
    expect(all.length).toBeGreaterThan(500)
    for (const limits of [
      { scan: 1, records: 1 },
      { scan: 10, records: 3 },
      { scan: 5000, records: 64 },
    ]) {
      expect(readAll(history, 1, filter('protocol=tcp'), limits)).toEqual(all)
    }
  })

  it('answers filters as the fresh batch did', () => {
    const history = new History(4 * 1024 * 1024)
    const named = numbered(1, 2000)
    const { batch, rows } = encoder.encode(named, 1)
    history.push(batch, rows)
    for (const query of [
      'from-pod=web',
      'to-namespace=shop',
      'service=web',
      'node=n1',
      'label=app',
      'to-port=80',
      'dns=*.example.com',
      'protocol=sctp',
      'verdict=refused',
      'tcp-flags=syn,ack',
      'direction=local',
      'interface=veth3',
      'event=closed',
    ]) {
      const fresh = filter(query).select(rows)
      expect(fresh.length, query).toBeGreaterThan(20)
      expect(readAll(history, 1, filter(query)), query).toEqual(
        [...(fresh as Uint32Array)].map((row) => row + 1),
      )
    }
  })

  it('keeps nothing but the count when it is switched off', () => {
    const history = new History(0)
    push(history, numbered(1, 50))
    expect(history.bytes).toBe(0)
    expect(history.records).toBe(0)
    expect(history.nextSequence).toBe(51)
    expect(readAll(history, 51, filter())).toEqual([])
  })
})
