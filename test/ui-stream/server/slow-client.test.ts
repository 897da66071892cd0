import { afterEach, describe, expect, it } from 'vitest'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { ClientQueue } from '../../../ui-stream/server/client-queue.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import { hookInterface } from './corpus.js'
import { Client, closeAll, numbered, openServer, range } from './harness.js'

afterEach(closeAll)

interface RawSocket {
  pause(): void
  resume(): void
}

/** Its kernel socket: paused, nothing is read from it. */
function raw(client: Client): RawSocket {
  return (client.socket as unknown as { _socket: RawSocket })._socket
}

describe('a slow client', () => {
  it.each([
    [Subprotocol.PROTOBUF, ''],
    [Subprotocol.PROTOBUF, '?protocol=tcp&labels=true'],
    [Subprotocol.JSON, '?not.protocol=udp'],
  ])('by %s %s loses alone, the oldest first, and is told exactly', async (subprotocol, query) => {
    const server = await openServer({ clientQueueRecords: 5000, historyBytes: 0 })
    const slow = await Client.open(server, query, subprotocol)
    const quick = await Client.open(server, query, subprotocol)
    await Promise.all([slow.sync(), quick.sync()])
    raw(slow).pause()
    const wanted = (protocol: number): boolean =>
      query === '' || (query.includes('udp') ? protocol !== 17 : protocol === 6)
    const named = numbered(1, 2000)
    const ids = range(1, 2000).filter((id) => wanted(named.flows.protocol[id - 1]!))
    const rounds = query === '' ? 20 : 40
    for (let round = 0; round < rounds; round++) {
      for (let row = 0; row < 2000; row++) {
        named.flows.id[row] = round * 2000 + row + 1
        named.flows.timeUs[row] = 1_790_000_000_000_000 + round * 2000 + row + 1
      }
      server.publish(named)
      let received = 0
      const expected = (round + 1) * ids.length
      // The frames that came are counted as they are, without making all of them anew at each look.
      await quick.until(() => {
        received = quick.frames.length
        return received >= expected
      })
      expect(received).toBe(expected)
    }
    const emitted = range(0, rounds).flatMap((round) => ids.map((id) => round * 2000 + id))
    expect(quick.ids).toEqual(emitted)
    expect(quick.lost).toBe(0)

    raw(slow).resume()
    await slow.until(() => slow.received + slow.lost >= emitted.length)
    await slow.sync()
    expect(slow.lost).toBeGreaterThan(5000)
    expect(slow.flows.length + slow.lost).toBe(emitted.length)
    // What it got is what it was sent before it lagged, and the newest: one gap, which the notice lies in.
    const kept = slow.ids
    const gap = slow.frames.findIndex((frame) => frame.lost !== undefined)
    expect(kept.slice(0, gap)).toEqual(emitted.slice(0, gap))
    expect(kept.slice(gap)).toEqual(emitted.slice(gap - kept.length))
    const notice = slow.frames[gap]!.lost!
    expect(slow.frames.filter((frame) => frame.lost !== undefined)).toHaveLength(1)
    expect(notice).toMatchObject({ nodeName: 'node-1', stage: 'CLIENT', unit: 'RECORDS', count: slow.lost })
    const time = (index: number): string => `2026-09-21T14:13:${(20 + emitted[index]! / 1e6).toFixed(6)}Z`
    expect(notice.since).toBe(time(gap))
    expect(notice.until).toBe(time(gap + slow.lost - 1))

    // It takes part again.
    for (let row = 0; row < 2000; row++) named.flows.id[row] = 1e6 + row + 1
    server.publish(named)
    await slow.until(() => slow.received + slow.lost === emitted.length + ids.length)
    expect(slow.ids.slice(-ids.length)).toEqual(ids.map((id) => 1e6 + id))
  })

  it('loses nothing that history still has, nor a burst larger than its queue', async () => {
    const server = await openServer({ clientQueueRecords: 3000 })
    const clients = [
      await Client.open(server),
      await Client.open(server, '?protocol=tcp&labels=true'),
      await Client.open(server, '', Subprotocol.JSON),
    ]
    await Promise.all(clients.map((client) => client.sync()))
    const paused = await Client.open(server, '?not.protocol=tcp')
    await paused.sync()
    raw(paused).pause()
    const batches = range(0, 40).map((i) => numbered(i * 1000 + 1, 1000))
    const ids = (wanted: (protocol: number) => boolean): number[] =>
      batches.flatMap(({ flows }) => [...flows.id].filter((_, row) => wanted(flows.protocol[row]!)))
    // All within one turn of the event loop: nobody can be quick enough.
    for (const batch of batches) server.publish(batch)
    const tcp = ids((protocol) => protocol === 6)
    await clients[0]!.until(() => clients[0]!.received >= 40_000)
    await clients[1]!.until(() => clients[1]!.received >= tcp.length)
    await clients[2]!.until(() => clients[2]!.received >= 40_000)
    expect(clients[0]!.ids).toEqual(range(1, 40_000))
    expect(clients[1]!.ids).toEqual(tcp)
    expect(clients[2]!.ids).toEqual(range(1, 40_000))
    server.publish(numbered(40_001, 10))
    for (const client of [clients[0]!, clients[2]!]) {
      await client.until(() => client.received >= 40_010)
      expect(client.ids.slice(-10)).toEqual(range(40_001, 10))
    }
    raw(paused).resume()
    const rest = ids((protocol) => protocol !== 6)
    await paused.until(() => paused.received >= rest.length)
    expect(paused.ids.slice(0, rest.length)).toEqual(rest)
    for (const client of [...clients, paused]) expect(client.lost).toBe(0)
  })

  it('that falls back to a history which is too short is told exactly', async () => {
    const server = await openServer({ clientQueueRecords: 3000, historyBytes: 4 * 1024 * 1024 })
    const slow = await Client.open(server, '?not.protocol=udp')
    await slow.sync()
    raw(slow).pause()
    const named = numbered(1, 1000)
    const wanted = range(0, 1000).filter((row) => named.flows.protocol[row] !== 17)
    for (let i = 0; i < 100; i++) {
      for (let row = 0; row < 1000; row++) named.flows.id[row] = i * 1000 + row + 1
      server.publish(named)
    }
    raw(slow).resume()
    await slow.until(() => slow.received + slow.lost >= 100 * wanted.length)
    await slow.sync()
    expect(slow.flows.length + slow.lost).toBe(100 * wanted.length)
    expect(slow.lost).toBeGreaterThan(10_000)
    const emitted = range(0, 100).flatMap((i) => wanted.map((row) => i * 1000 + row + 1))
    const ids = new Set(slow.ids)
    expect(ids.size).toBe(slow.flows.length)
    expect(slow.ids).toEqual(emitted.filter((id) => ids.has(id)))
    expect(slow.ids.at(-1)).toBe(emitted.at(-1))
  })

  it('that reads history too slowly is told what was dropped under it', async () => {
    const server = await openServer({ historyBytes: 8 * 1024 * 1024 })
    const named = numbered(1, 1000)
    let next = 1
    const publish = (): void => {
      for (let row = 0; row < 1000; row++) named.flows.id[row] = next++
      server.publish(named)
    }
    for (let i = 0; i < 10; i++) publish()
    const reader = await Client.open(server, '?last=10000&follow=true&not.protocol=udp')
    raw(reader).pause()
    const udp = range(0, 1000).filter((row) => named.flows.protocol[row] === 17).length
    for (let i = 0; i < 60; i++) publish()
    const expected = 70 * (1000 - udp)
    raw(reader).resume()
    await reader.until(() => reader.received + reader.lost >= expected)
    await reader.sync()
    expect(reader.flows.length + reader.lost).toBe(expected)
    expect(reader.lost).toBeGreaterThan(0)
    expect(new Set(reader.ids).size).toBe(reader.flows.length)
    expect(reader.ids).toEqual([...reader.ids].sort((a, b) => a - b))
  })
})

describe('ClientQueue', () => {
  const encoder = new FlowEncoder({ nodeName: 'n', agentId: 'a', hookInterface })

  it('keeps within both bounds and counts what goes, record by record', () => {
    for (const limits of [
      { records: 100, bytes: 1e9 },
      { records: 1e9, bytes: 30_000 },
    ]) {
      const queue = new ClientQueue(limits, 'n')
      let pushed = 0
      for (const count of [60, 60, 1, 250, 3, 99]) {
        queue.push(encoder.encode(numbered(pushed + 1, count), pushed + 1).batch)
        pushed += count
        expect(queue.records).toBeLessThanOrEqual(limits.records)
        expect(queue.bytes).toBeLessThanOrEqual(limits.bytes)
        expect(queue.records + queue.dropped).toBe(pushed)
        // No more than needed goes.
        if (limits.records === 100 && pushed > 100) expect(queue.records).toBe(100)
      }
      expect(queue.takeLosses().map((loss) => loss.count)).toEqual([queue.dropped])
      let left = 0
      for (let records = queue.shift(5000); records !== undefined; records = queue.shift(5000)) {
        const { offsets } = records.batch
        expect(offsets[records.end]! - offsets[records.start]!).toBeLessThanOrEqual(5000)
        left += records.end - records.start
      }
      expect(left + queue.dropped).toBe(pushed)
      expect(queue.records).toBe(0)
      expect(queue.bytes).toBe(0)
      expect(queue.empty).toBe(true)
    }
  })

  it('adds up losses of one stage and node, and bounds their kinds without losing counts', () => {
    const queue = new ClientQueue({ records: 1, bytes: 1 }, 'n')
    for (let i = 0; i < 5000; i++)
      queue.addLoss({ nodeName: `n${i}`, stage: 3, unit: 1, count: 2, sinceUs: i, untilUs: i })
    queue.addLoss({ nodeName: 'n7', stage: 3, unit: 1, count: 10, sinceUs: 3, untilUs: 9000 })
    const losses = queue.takeLosses()
    expect(losses.length).toBeLessThanOrEqual(1025)
    expect(losses.reduce((sum, loss) => sum + loss.count!, 0)).toBe(10_010)
    expect(losses.find((loss) => loss.nodeName === 'n7')).toMatchObject({
      count: 12,
      sinceUs: 3,
      untilUs: 9000,
    })
    expect(queue.takeLosses()).toEqual([])
    // Numbers that no schema has, as a hostile agent may send them.
    for (let i = 0; i < 20_000; i++) queue.addLoss({ stage: i as number, unit: (i * 7) as number, count: 1 })
    const strange = queue.takeLosses()
    expect(strange.length).toBeLessThan(1100)
    expect(strange.reduce((sum, loss) => sum + loss.count!, 0)).toBe(20_000)
  })
})
