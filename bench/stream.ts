// The stream: what one server gives to how many, what a stalled client costs the others, what history holds, how soon it
// answers, and how fast a client reads.

import { Traffic, trafficInterface } from '../test/ui-stream/server/traffic.js'
import { FrameDecoder } from '../ui-stream/protocol/decode-frame.js'
import { FlowEncoder } from '../ui-stream/server/encode.js'
import type { BenchOptions } from './options.js'
import { type Row, row } from './report.js'
import { quantile, spread } from './spread.js'
import { StreamClient, StreamProcess } from './stream-client.js'
import { type Emitted, FIRST_PORT, PORTS, RANGES, type State } from './stream-process.js'

const MEBIBYTE = 1024 * 1024
const SETTLE_MS = 10_000

type Progress = (what: string) => void

/** All rows of the group. */
export async function stream(options: BenchOptions, progress: Progress): Promise<Row[]> {
  const parts: [string, (options: BenchOptions) => Promise<Row[]>][] = [
    ['one client', oneClient],
    ['a hundred clients', manyClients],
    ['a stalled client', stalledClient],
    ['clients that come and go', comeAndGo],
    ['history', history],
    ['decode', decode],
  ]
  const rows: Row[] = []
  for (const [name, part] of parts) {
    if (options.only !== undefined && !options.only.test(name)) continue
    progress(name)
    rows.push(...(await part(options)))
  }
  return rows
}

async function withServer<T>(
  open: { historyBytes?: number; maxClients?: number },
  use: (server: StreamProcess, address: string) => Promise<T>,
): Promise<T> {
  const server = new StreamProcess()
  try {
    return await use(server, await server.ask<string>({ type: 'open', ...open }))
  } finally {
    await server.close()
  }
}

function oneClient(options: BenchOptions): Promise<Row[]> {
  const rate = options.quick ? 20_000 : 100_000
  return withServer({}, async (server, address) => {
    const client = await StreamClient.open(address, '')
    await client.sync()
    const emitted = await server.ask<Emitted>({ type: 'load', rate, seconds: options.quick ? 1 : 10 })
    await client.until(() => client.received + client.lost >= emitted.records, SETTLE_MS)
    const name = `${rate.toLocaleString('en-US')} records a second to one client`
    const details = { ...emitted, received: client.received, lost: client.lost }
    await client.close()
    return [
      row(
        `${name}: received`,
        'share',
        spread([client.received / emitted.records]),
        { kind: 'atLeast', value: 1 },
        details,
      ),
      row(`${name}: rate reached`, '1/s', spread([emitted.records / emitted.seconds]), {
        kind: 'atLeast',
        value: rate * 0.98,
      }),
      row(
        `${name}: CPU of the server, traffic made there included`,
        'cores',
        spread([emitted.cpuSeconds / emitted.seconds]),
      ),
    ]
  })
}

function manyClients(options: BenchOptions): Promise<Row[]> {
  const rate = 20_000
  const count = options.quick ? RANGES : 100
  return withServer({}, async (server, address) => {
    const clients: StreamClient[] = []
    for (let i = 0; i < count; i++) {
      const low = FIRST_PORT + (i % RANGES) * PORTS
      const query = `?from-port=${low}-${low + PORTS - 1}&not.namespace=none`
      clients.push(await StreamClient.open(address, query))
    }
    await Promise.all(clients.map((client) => client.sync()))
    const emitted = await server.ask<Emitted>({ type: 'load', rate, seconds: options.quick ? 1 : 10 })
    const wanted = (i: number): number => emitted.byRange[i % RANGES]!
    for (const [i, client] of clients.entries()) {
      await client.until(() => client.received + client.lost >= wanted(i), SETTLE_MS)
    }
    await Promise.all(clients.map((client) => client.sync()))
    const wrong = clients.filter((client, i) => client.received + client.lost !== wanted(i)).length
    const lost = clients.reduce((sum, client) => sum + client.lost, 0)
    for (const client of clients) await client.close()
    const name = `20,000 records a second to ${count} clients with ${RANGES} filters`
    return [
      row(`${name}: clients whose received and lost are not what was emitted`, 'clients', spread([wrong]), {
        kind: 'atMost',
        value: 0,
      }),
      row(`${name}: lost`, 'records', spread([lost]), { kind: 'atMost', value: 0 }, { ...emitted }),
      row(
        `${name}: CPU of the server, traffic made there included`,
        'cores',
        spread([emitted.cpuSeconds / emitted.seconds]),
      ),
    ]
  })
}

function stalledClient(options: BenchOptions): Promise<Row[]> {
  const rounds = options.quick ? 1 : Math.min(options.pairs, 5)
  const seconds = options.quick ? 1 : 3
  return withServer({}, async (server, address) => {
    // History is full before anything is compared.
    await server.ask({ type: 'fill', records: options.quick ? 1000 : 1_000_000 })
    const others: StreamClient[] = []
    for (let i = 0; i < 10; i++) others.push(await StreamClient.open(address, '?protocol=tcp'))
    const p99 = async (): Promise<number> => {
      for (const client of others) {
        client.latencies.length = 0
        client.timed = true
      }
      await server.ask<Emitted>({ type: 'load', rate: 10_000, seconds })
      await Promise.all(others.map((client) => client.sync()))
      const all = others.flatMap((client) => client.latencies).sort((a, b) => a - b)
      return quantile(all, 0.99)
    }
    await p99()
    const ratios: number[] = []
    const grown: number[] = []
    const without: number[] = []
    for (let round = 0; round < rounds; round++) {
      const before = (await server.ask<State>({ type: 'state' })).rss
      const first = await p99()
      const stalled = await StreamClient.open(address, '')
      await stalled.sync()
      stalled.stall()
      const during = await p99()
      grown.push(((await server.ask<State>({ type: 'state' })).rss - before) / MEBIBYTE)
      await stalled.close()
      const last = await p99()
      ratios.push(during / ((first + last) / 2))
      without.push((first + last) / 2)
    }
    for (const client of others) await client.close()
    return [
      row('stalled client: p99 of ten others, without it', 'ms', spread(without)),
      row('stalled client: p99 of ten others, with it over without', 'ratio', spread(ratios), {
        kind: 'atMost',
        value: 1.05,
      }),
      row('stalled client: growth of the server', 'MiB', spread(grown), { kind: 'atMost', value: 8.5 }),
    ]
  })
}

function comeAndGo(options: BenchOptions): Promise<Row[]> {
  const count = options.quick ? 50 : 1000
  const eachMs = options.quick ? 5 : 60
  return withServer({}, async (server, address) => {
    await server.ask({ type: 'fill', records: options.quick ? 1000 : 1_000_000 })
    const visit = async (i: number): Promise<void> => {
      const low = FIRST_PORT + (i % 1400)
      const client = await StreamClient.open(address, `?from-port=${low}-${low + 1400}&last=10&follow=true`)
      await client.sync()
      await client.close()
    }
    for (let i = 0; i < 20; i++) await visit(i)
    const before = await server.ask<State>({ type: 'state' })
    const load = server.ask<Emitted>({ type: 'load', rate: 1000, seconds: (count * eachMs) / 1000 })
    const visits: Promise<void>[] = []
    for (let i = 0; i < count; i++) {
      visits.push(visit(i))
      await new Promise((resolve) => setTimeout(resolve, eachMs))
    }
    await Promise.all(visits)
    await load
    let after = await server.ask<State>({ type: 'state' })
    // The server sees the last of them go a moment later.
    for (let look = 0; after.clients > 0 && look < 50; look++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      after = await server.ask<State>({ type: 'state' })
    }
    const name = `${count.toLocaleString('en-US')} clients that come and go`
    return [
      row(`${name}: sessions left`, 'sessions', spread([after.clients]), { kind: 'atMost', value: 0 }),
      row(`${name}: descriptors left`, 'descriptors', spread([after.descriptors - before.descriptors]), {
        kind: 'atMost',
        value: 0,
      }),
      row(
        `${name}: growth of the server`,
        'MiB',
        spread([(after.rss - before.rss) / MEBIBYTE]),
        { kind: 'atMost', value: 10 },
        { before, after },
      ),
    ]
  })
}

function history(options: BenchOptions): Promise<Row[]> {
  const records = options.quick ? 20_000 : 1_200_000
  return withServer({ historyBytes: 192 * MEBIBYTE }, async (server, address) => {
    const before = await server.ask<State>({ type: 'state' })
    await server.ask({ type: 'fill', records })
    const filled = await server.ask<State>({ type: 'state' })
    const perRecord = filled.historyBytes / filled.historyRecords
    const live = await StreamClient.open(address, '?from-port=1')
    const answers: number[] = []
    const blocks: number[] = []
    let matches = 0
    for (let round = 0; round < Math.max(3, options.pairs); round++) {
      await server.ask({ type: 'watch' })
      const began = performance.now()
      const query = `?last=1000&ip=10.244.${round % 4}.${7 + round}&to-port=80`
      const client = await StreamClient.open(address, query)
      await client.until(() => client.closed, SETTLE_MS)
      answers.push(performance.now() - began)
      matches = Math.max(matches, client.received)
      blocks.push((await server.ask<State>({ type: 'state' })).blockedMs)
    }
    await live.close()
    return [
      row(
        `history of ${records.toLocaleString('en-US')} records: taken`,
        'MiB',
        spread([filled.historyBytes / MEBIBYTE]),
        { kind: 'atMost', value: 192 },
        { bytesPerRecord: perRecord, records: filled.historyRecords, rssGrowth: filled.rss - before.rss },
      ),
      row(
        'history of 64 MiB at 1,000 records a second',
        'min',
        spread([(64 * MEBIBYTE) / perRecord / 60_000]),
      ),
      row(
        'a filtered query of up to 1,000 matches, connecting included',
        'ms',
        spread(answers),
        { kind: 'atMost', value: 150 },
        { mostMatches: matches },
      ),
      row('a filtered query: longest hold-up of the event loop', 'ms', spread(blocks), {
        kind: 'atMost',
        value: 10,
      }),
    ]
  })
}

/** What the feed of Node does with a frame, in CPU time. */
async function decode(options: BenchOptions): Promise<Row[]> {
  const encoder = new FlowEncoder({
    nodeName: 'node-0',
    agentId: '0123456789ab',
    hookInterface: trafficInterface,
  })
  const { bytes } = encoder.encode(new Traffic(512).next(512, 1.79e15), 1).batch
  const decoder = new FrameDecoder()
  const rates: number[] = []
  for (let round = -1; round < options.pairs; round++) {
    const began = process.cpuUsage()
    const until = performance.now() + (options.quick ? 100 : 1000)
    let records = 0
    while (performance.now() < until) records += decoder.decode(bytes).flows!.length
    const { user, system } = process.cpuUsage(began)
    if (round >= 0) rates.push((records / (user + system)) * 1e6)
  }
  return [row('decode in the client', 'records/CPU-s', spread(rates), { kind: 'atLeast', value: 500_000 })]
}
