// What the agent takes as a whole: idle, under new connections, how late its records are, its memory.

import {
  baselineBytes,
  CountingClient,
  cpuSeconds,
  pause,
  residentBytes,
  startAgent,
} from './agent-process.js'
import { Bed } from './bed.js'
import type { Seen } from './client.js'
import type { BenchOptions } from './options.js'
import { type Row, row } from './report.js'
import { quantile, spread } from './spread.js'

const MEBIBYTE = 1024 * 1024
/** Packets of generate.c's connections: TCP, UDP. */
const TCP_PACKETS = 6
const UDP_PACKETS = 2
/** A UDP exchange ends by silence, and the drain comes once a second. */
const SETTLE_MS = 25_000

/** CPU of an agent that has nothing to do. */
export async function idle(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  const bed = await Bed.create()
  try {
    const agent = await startAgent(bed.node)
    await pause(options.quick ? 500 : 5000)
    progress('idle CPU')
    const shares: number[] = []
    for (let round = 0; round < options.pairs; round++) {
      const [cpu, at] = [cpuSeconds(agent.pid), performance.now()]
      await pause(options.quick ? 500 : 5000)
      shares.push(((cpuSeconds(agent.pid) - cpu) / (performance.now() - at)) * 1e5)
    }
    await agent.stop('SIGTERM', 10_000)
    return [row('idle agent', '% of a core', spread(shares), { kind: 'atMost', value: 0.5 })]
  } finally {
    await bed.close()
  }
}

/** New connections: nothing may be lost, and what it takes. */
export async function connections(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  const seconds = options.quick ? 1 : options.long ? 60 : 10
  const rows = await flood(20_000, seconds, options, progress)
  if (!options.quick) rows.push(...(await flood(100_000, options.long ? 30 : 5, options, progress)))
  return rows
}

async function flood(
  rate: number,
  seconds: number,
  options: BenchOptions,
  progress: (what: string) => void,
): Promise<Row[]> {
  const name = `${rate.toLocaleString('en-US')} new connections a second for ${seconds} s`
  progress(name)
  const bed = await Bed.create()
  try {
    const agent = await startAgent(bed.node)
    const client = await CountingClient.start(bed.node)
    const [cpu, at] = [cpuSeconds(agent.pid), performance.now()]
    const most = { rss: 0 }
    const watch = setInterval(() => {
      most.rss = Math.max(most.rss, residentBytes(agent.pid))
    }, 250)
    const sent = await bed.connections(rate, seconds)
    const busy = (cpuSeconds(agent.pid) - cpu) / ((performance.now() - at) / 1000)
    const total = sent.connections
    const each = total / 2
    const packets = each * (TCP_PACKETS + UDP_PACKETS)
    const all = (seen: Seen) =>
      seen.opened.tcp >= each &&
      seen.opened.udp >= each &&
      seen.closed.tcp >= each &&
      (options.quick || seen.closed.udp >= each) &&
      (options.quick || seen.packets >= packets)
    const seen = await client.until(all, options.quick ? 6000 : SETTLE_MS)
    clearInterval(watch)
    const cpuAll = cpuSeconds(agent.pid) - cpu
    const rssAfter = residentBytes(agent.pid)
    await client.stop()
    await agent.stop('SIGTERM', 10_000)
    const baseline = await baselineBytes(bed.node, seen.historyBytes)
    const got = seen.opened.tcp + seen.opened.udp + seen.closed.tcp + seen.closed.udp
    const share = got / (options.quick ? total * 2 - each : total * 2)
    const details = { sent, seen: { ...seen, times: undefined }, packetsSent: packets }
    const target = { kind: 'atLeast', value: rate > 20_000 ? 0.99 : options.quick ? 0 : 1 } as const
    return [
      row(`${name}: OPENED and CLOSED that came`, 'share', spread([share]), target, details),
      row(`${name}: packets in records`, 'share', spread([seen.packets / packets])),
      row(
        `${name}: told as lost`,
        'records, packets',
        spread([Object.values(seen.lost).reduce((a, b) => a + b, 0)]),
      ),
      row(`${name}: rate reached`, '1/s', spread([(sent.connections / sent.ns) * 1e9])),
      row(`${name}: CPU of the agent meanwhile`, 'cores', spread([busy])),
      row(`${name}: CPU for 1M records, all told`, 'CPU-s', spread([(cpuAll / seen.records) * 1e6])),
      row(
        `${name}: most memory above the same imports and history`,
        'MiB',
        spread([(most.rss - baseline) / MEBIBYTE]),
        rate > 20_000 ? undefined : { kind: 'atMost', value: 40 },
        {
          peakBytes: most.rss,
          afterBytes: rssAfter,
          baselineBytes: baseline,
          historyBytes: seen.historyBytes,
        },
      ),
    ]
  } finally {
    await bed.close()
  }
}

/** From a counted packet to the record that holds it, at a client; first packets of a flow are told at once and left out. */
export async function latency(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  progress('packet to record')
  const bed = await Bed.create()
  try {
    const agent = await startAgent(bed.node, ['--update-interval', '1s'])
    const client = await CountingClient.start(bed.node, true)
    const flows = 500
    const count = options.quick ? 2000 : 15_000
    const { sentUs } = await bed.generate<{ sentUs: number[] }>('paced', { flows, rate: 1000, count })
    const seen = await client.until((now) => now.packets >= count, 10_000)
    await client.stop()
    await agent.stop('SIGTERM', 10_000)
    const latencies: number[] = []
    let missing = 0
    for (const [i, at] of sentUs.entries()) {
      const flow = i % flows
      const nth = Math.floor(i / flows) + 1
      if (nth === 1) continue
      const told = seen.times[`${1024 + (flow >> 2) * 15}/${flow & 3}`]?.find(([total]) => total >= nth)
      if (told === undefined) missing++
      else latencies.push((told[1] - at) / 1e6)
    }
    latencies.sort((a, b) => a - b)
    const details = { packets: count, flows, missing }
    return [
      row(
        'packet to record, --update-interval 1s: median',
        's',
        spread([quantile(latencies, 0.5)]),
        { kind: 'atMost', value: 0.6 },
        details,
      ),
      row(
        'packet to record, --update-interval 1s: p99',
        's',
        spread([quantile(latencies, 0.99)]),
        { kind: 'atMost', value: 1.2 },
        details,
      ),
      row('packet to record: not found', 'packets', spread([missing]), { kind: 'atMost', value: 0 }),
    ]
  } finally {
    await bed.close()
  }
}

/** Memory with 10,000 live connections, history full. */
export async function memory(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  progress('memory at 10,000 live connections')
  const bed = await Bed.create()
  try {
    const agent = await startAgent(bed.node, ['--update-interval', '1s'])
    const fresh = residentBytes(agent.pid)
    const client = await CountingClient.start(bed.node)
    const live = 10_000
    const rounds = options.quick ? 1 : 45
    // each connection sends something each second, so each second brings a record of each
    const { sentUs } = await bed.generate<{ sentUs: number[] }>(
      'paced',
      { flows: live, rate: live, count: live * rounds },
      300_000,
    )
    const seen = await client.until((now) => now.packets >= sentUs.length, 10_000)
    const rss = residentBytes(agent.pid)
    await client.stop()
    await agent.stop('SIGTERM', 10_000)
    const [imports, baseline] = [
      await baselineBytes(bed.node, 0),
      await baselineBytes(bed.node, seen.historyBytes),
    ]
    return [
      row('a process with the same imports', 'MiB', spread([imports / MEBIBYTE])),
      row('agent that has just started', 'MiB', spread([fresh / MEBIBYTE])),
      row('agent with 10,000 live connections', 'MiB', spread([rss / MEBIBYTE])),
      row(
        'agent with 10,000 live connections above the same imports and history',
        'MiB',
        spread([(rss - baseline) / MEBIBYTE]),
        { kind: 'atMost', value: 40 },
        { rssBytes: rss, baselineBytes: baseline, historyBytes: seen.historyBytes, records: seen.records },
      ),
    ]
  } finally {
    await bed.close()
  }
}
