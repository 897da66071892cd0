// What clients may take of a server together, whatever they do.

import { readdirSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { FilterPool } from '../../../ui-stream/server/filter-pool.js'
import type { StreamServer } from '../../../ui-stream/server/server.js'
import { Turns } from '../../../ui-stream/server/turns.js'
import { Client, closeAll, numbered, openServer, range } from './harness.js'

afterEach(closeAll)

interface RawSocket {
  pause(): void
  resume(): void
  write(bytes: Uint8Array): boolean
}

function raw(client: Client): RawSocket {
  return (client.socket as unknown as { _socket: RawSocket })._socket
}

async function queued(server: StreamServer): Promise<number> {
  const metric = server.registry.getSingleMetric('vethflow_stream_queued_bytes')!
  return (await metric.get()).values[0]!.value
}

describe('all queues together', () => {
  it.each([0, 64 * 1024 * 1024])(
    'stay within their bound, history %d; each client is told exactly',
    async (historyBytes) => {
      const queueBytes = 256 * 1024
      const server = await openServer({ historyBytes, queueBytes })
      const clients = await Promise.all(range(0, 3).map(() => Client.open(server)))
      await Promise.all(clients.map((client) => client.sync()))
      for (const client of clients) raw(client).pause()
      const named = numbered(1, 1000)
      let most = 0
      for (let i = 0; i < 25; i++) {
        for (let row = 0; row < 1000; row++) named.flows.id[row] = i * 1000 + row + 1
        server.publish(named)
        most = Math.max(most, await queued(server))
      }
      expect(most).toBeLessThanOrEqual(queueBytes)
      expect(most).toBeGreaterThan(queueBytes / 4)
      for (const client of clients) {
        raw(client).resume()
        await client.until(() => client.received + client.lost >= 25_000)
        await client.sync()
        expect(client.received + client.lost).toBe(25_000)
        expect(new Set(client.ids).size).toBe(client.received)
        if (historyBytes > 0) expect(client.lost).toBe(0)
      }
      expect(await queued(server)).toBe(0)
    },
  )

  it('are cut where most waits: who lags a little keeps what is his', async () => {
    const server = await openServer({ historyBytes: 0, queueBytes: 512 * 1024 })
    const wide = await Client.open(server)
    const narrow = await Client.open(server, '?protocol=132')
    await Promise.all([wide.sync(), narrow.sync()])
    raw(wide).pause()
    raw(narrow).pause()
    let wanted = 0
    for (let first = 1; first <= 30_000; first += 1000) {
      const named = numbered(first, 1000)
      // Few enough for the sockets' own buffers and a small queue.
      for (let row = 0; row < 1000; row++) {
        if (named.flows.protocol[row] === 132 && row % 50 !== 0) named.flows.protocol[row] = 17
      }
      wanted += named.flows.protocol.subarray(0, 1000).filter((protocol) => protocol === 132).length
      server.publish(named)
    }
    raw(narrow).resume()
    raw(wide).resume()
    await narrow.until(() => narrow.received >= wanted)
    expect(narrow.lost).toBe(0)
    expect(wanted).toBeGreaterThan(30)
    await wide.until(() => wide.received + wide.lost >= 30_000)
    expect(wide.lost).toBeGreaterThan(1000)
  })
})

describe('clients', () => {
  it('that come and go leave nothing behind', async () => {
    const server = await openServer()
    for (let first = 1; first <= 20_000; first += 1000) server.publish(numbered(first, 1000))
    const descriptors = (): number => readdirSync('/proc/self/fd').length
    const visit = async (i: number): Promise<void> => {
      const client = await Client.open(
        server,
        `?from-port=${i + 1}&last=3&follow=true&until=2030-01-01T00:00:00Z`,
      )
      if (i % 3 !== 0) await client.sync()
      if (i % 2 === 0) await client.close()
      else client.socket.close()
      await client.closed()
    }
    await visit(0)
    await expect.poll(() => server.clients).toBe(0)
    const before = descriptors()
    for (let i = 0; i < 1000; i += 25) await Promise.all(range(i, 25).map(visit))
    await expect.poll(() => server.clients).toBe(0)
    await expect.poll(descriptors).toBeLessThanOrEqual(before)
    expect(await queued(server)).toBe(0)
  })

  it('that ping without end and read nothing are cut off', async () => {
    const server = await openServer()
    const client = await Client.open(server)
    await client.sync()
    raw(client).pause()
    // A masked ping frame with 125 bytes (RFC 6455, 5.5.2), many at once.
    const ping = Buffer.concat([Buffer.from([0x89, 0xfd, 0, 0, 0, 0]), Buffer.alloc(125)])
    const many = Buffer.concat(new Array<Buffer>(8000).fill(ping))
    const write = (): void => {
      while (server.clients > 0 && raw(client).write(many));
      if (server.clients > 0) setImmediate(write)
    }
    write()
    await expect.poll(() => server.clients, { timeout: 30_000 }).toBe(0)
  })
})

describe('FilterPool', () => {
  it('has one filter for equal subscriptions, and none when nobody asks any more', () => {
    const pool = new FilterPool()
    const web = { filters: [{ name: 'pod', values: ['web'], negate: false }] }
    const [one, two] = [pool.take(web), pool.take({ ...web, labels: true, last: 5 })]
    expect(two).toBe(one)
    for (const other of [
      { ...web, own: true },
      { ...web, sinceUs: 5 },
      { ...web, expression: 'true' },
      { filters: [] },
    ]) {
      const taken = pool.take(other)
      expect(taken).not.toBe(one)
      pool.give(taken)
    }
    expect(pool.size).toBe(1)
    pool.give(one)
    expect(pool.take(web)).toBe(one)
    pool.give(one)
    pool.give(one)
    expect(pool.size).toBe(0)
  })
})

describe('Turns', () => {
  it('go round, and the event loop goes on between them', async () => {
    const turns = new Turns()
    const order: string[] = []
    let timers = 0
    const timer = setInterval(() => timers++, 1)
    const worker = (name: string, slices: number): Promise<void> =>
      new Promise((resolve) => {
        let left = slices
        const turn = {
          turn() {
            order.push(name)
            const until = performance.now() + 1
            while (performance.now() < until);
            if (--left > 0) turns.add(turn)
            else resolve()
          },
        }
        turns.add(turn)
        turns.add(turn)
      })
    const began = performance.now()
    await Promise.all([worker('a', 100), worker('b', 100), worker('c', 50)])
    clearInterval(timer)
    expect(order.slice(0, 150)).toEqual(range(0, 50).flatMap(() => ['a', 'b', 'c']))
    expect(order).toHaveLength(250)
    // 250 ms of work: about as long again was left to others.
    expect(performance.now() - began).toBeGreaterThan(400)
    expect(timers).toBeGreaterThan(30)
  })

  it('that are taken back do not come', async () => {
    const turns = new Turns()
    let came = 0
    const turn = { turn: () => came++ }
    turns.add(turn)
    turns.remove(turn)
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    expect(came).toBe(0)
  })
})
