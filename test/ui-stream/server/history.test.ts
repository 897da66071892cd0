import { describe, expect, it } from 'vitest'
import type { NamedBatch } from '../../../agent/identity/names.js'
import { StreamMessage } from '../../../ui-stream/protocol/messages.js'
import { parseQuery } from '../../../ui-stream/protocol/subscription.js'
import type { Chunk } from '../../../ui-stream/server/chunk.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import { FlowFilter } from '../../../ui-stream/server/filter.js'
import { History } from '../../../ui-stream/server/history.js'
import { columnsOf } from './columns.js'
import { hookInterface } from './corpus.js'
import { numbered, range } from './harness.js'
import { Traffic, trafficInterface } from './traffic.js'

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

/** Goes back until the last `count` that pass are found, a little at a time. */
function startOfLast(history: History, count: number, flowFilter: FlowFilter): number {
  let from = history.nextSequence
  for (let left = count; left > 0; ) {
    const step = history.seek(from, left, flowFilter, 777)
    expect(step.from).toBeLessThan(from)
    from = step.from
    left = step.left
  }
  return from
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
    // The bound is used, not just kept.
    expect(history.bytes).toBeGreaterThan(limit * 0.7)
  })

  it('holds ordinary traffic in fewer than 100 bytes a record, and gives it back to the byte', () => {
    const limit = 8 * 1024 * 1024
    const history = new History(limit)
    const traffic = new Traffic(1000)
    const plain = new FlowEncoder({ nodeName: 'node-0', agentId: 'a', hookInterface: trafficInterface })
    let encoded = 0
    const kept: Buffer[] = []
    for (let second = 0; second < 120; second++) {
      const { batch, rows } = plain.encode(traffic.next(1000, 1.79e15 + second * 1e6), history.nextSequence)
      history.push(batch, rows)
      encoded += batch.bytes.length
      kept.push(Buffer.from(batch.bytes))
      expect(history.bytes).toBeLessThanOrEqual(limit)
    }
    expect(encoded / 120_000).toBeGreaterThan(300)
    expect(history.bytes / history.records).toBeLessThan(100)
    expect(history.records).toBeGreaterThan(84_000)
    const second = history.nextSequence - 1000
    const { batch } = history.read(second, history.nextSequence, filter(), false, NO_LIMIT)
    const last = kept.at(-1)!
    // The newest second may lie in two chunks: what one read gives is its beginning.
    expect(Buffer.compare(last.subarray(0, batch!.bytes.length), batch!.bytes)).toBe(0)
    expect(history.beginsUs).toBeGreaterThan(1.79e15)
  })

  it('counts names that only history holds, once', () => {
    const history = new History(4 * 1024 * 1024)
    const named = numbered(1, 100)
    push(history, named)
    const before = history.vocabulary.bytes
    push(history, numbered(1, 100))
    expect(history.vocabulary.bytes).toBe(before)
    const fresh = numbered(201, 100)
    for (let row = 0; row < 100; row++)
      fresh.source[row] = { kind: 1, pod: `p${row}`, labels: { a: 'x'.repeat(1000) } }
    push(history, fresh)
    expect(history.vocabulary.bytes - before).toBeGreaterThan(100 * 1000)
  })

  it('gives memory back with the last chunk that holds a name', () => {
    const history = new History(2 * 1024 * 1024)
    const traffic = new Traffic(100)
    const ordinary = (rounds: number): void => {
      for (let round = 0; round < rounds; round++) push(history, traffic.next(100, 1.79e15 + round * 1e6))
    }
    ordinary(100)
    const before = history.vocabulary.bytes
    for (let round = 0; round < 100; round++) {
      const named = traffic.next(100, 1.79e15)
      for (let row = 0; row < 100; row++)
        named.source[row] = { kind: 1, pod: `p${round}-${row}`.padEnd(200, 'x') }
      push(history, named)
      expect(history.bytes).toBeLessThanOrEqual(2 * 1024 * 1024)
    }
    expect(history.vocabulary.bytes).toBeGreaterThan(before + 100_000)
    ordinary(400)
    // The thousand pods of the traffic and no other.
    expect(history.vocabulary.names.size).toBeLessThanOrEqual(1000)
    expect(history.vocabulary.bytes).toBeLessThan(before * 1.1)
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
        const start = startOfLast(history, last, filter(query))
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
      const fresh = filter(query).select(columnsOf(rows))
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
