// The gateway over agents in processes of their own: whether all that they tell arrives or is told as lost, how much later
// than from an agent itself, and what it costs.

import { type ChildProcess, spawn } from 'node:child_process'
import { setPriority } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { connect } from '../ui-stream/client/index.js'
import { cpuSeconds, residentBytes } from './agent-process.js'
import type { BenchOptions } from './options.js'
import { type Row, row } from './report.js'
import { quantile, spread } from './spread.js'

const AGENT = fileURLToPath(new URL('./simulated-agent.js', import.meta.url))
const CLI = fileURLToPath(new URL('../ui-stream/cli.js', import.meta.url))
const RATE = 1000
const AGENTS_NICE = 5

/** A process that prints one line of JSON for each thing that it has to say. */
class Talking {
  readonly process: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(words: readonly string[], stream: 'stdout' | 'stderr') {
    this.process = spawn(process.execPath, words, { stdio: 'pipe' })
    const [heard, other] =
      stream === 'stdout' ? (['stdout', 'stderr'] as const) : (['stderr', 'stdout'] as const)
    this.process[other]?.resume()
    this.#lines = createInterface({ input: this.process[heard]! })[Symbol.asyncIterator]()
  }

  /** The value of `key` in the next line that has it. */
  async say(key: string): Promise<unknown> {
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error(`ended before it said ${key}`)
      const said = JSON.parse(value) as Record<string, unknown>
      if (said[key] !== undefined) return said[key]
    }
  }

  begin(): void {
    this.process.stdin?.write('go\n')
  }

  async stop(): Promise<void> {
    if (this.process.exitCode !== null) return
    const ended = new Promise((resolve) => this.process.once('exit', resolve))
    this.process.kill('SIGTERM')
    await ended
  }
}

interface Tally {
  records: number
  /** Packets of all views, or of the record where it has none: each record of an agent has one. */
  packets: number
  joined: number
  lost: number
  gaps: number
  /** From when the record was made until it was here, ms. */
  latencies: number[]
}

/** Reads a server until `signal`; resolves once connected. */
async function count(server: string, signal: AbortSignal): Promise<Tally> {
  const tally: Tally = { records: 0, packets: 0, joined: 0, lost: 0, gaps: 0, latencies: [] }
  await new Promise<void>((resolve, reject) => {
    const read = async (): Promise<void> => {
      for await (const message of connect({ server, signal, reconnect: false })) {
        if (message.type === 'connected') resolve()
        else if (message.type === 'lost') tally.lost += message.lost.count ?? 0
        else if (message.type === 'gap') tally.gaps++
        else if (message.type === 'flows') {
          const nowUs = (performance.timeOrigin + performance.now()) * 1000
          for (const { forward, views, timeUs } of message.flows) {
            tally.records++
            if (views?.length) {
              tally.joined++
              for (const view of views) tally.packets += view.forward?.packets ?? 0
            } else tally.packets += forward?.packets ?? 0
            // A record that only brings a late view repeats an old time.
            if (forward?.packets) tally.latencies.push((nowUs - (timeUs ?? 0)) / 1000)
          }
        }
      }
    }
    read().catch(reject)
  })
  return tally
}

/** `gateway`: 20 agents at 1,000 records a second each, every connection told by two of them. */
export async function gateway(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  const agents = options.quick ? 3 : 20
  const seconds = options.quick ? 3 : 20
  const processes: Talking[] = []
  const stop = new AbortController()
  try {
    progress(`${agents} agents`)
    const addresses: string[] = []
    for (let node = 0; node < agents; node++) {
      const words = [AGENT, ...[node, agents, RATE, seconds].map(String)]
      processes.push(new Talking(words, 'stdout'))
    }
    const simulated = [...processes]
    // In the field they have machines of their own: what they take here is not the gateway's.
    for (const each of simulated) setPriority(each.process.pid!, AGENTS_NICE)
    for (const each of simulated) addresses.push((await each.say('address')) as string)
    const flags = addresses.flatMap((address) => ['--agent', `ws://${address}`])
    const running = new Talking([CLI, 'gateway', '--listen', '127.0.0.1:0', ...flags], 'stderr')
    processes.push(running)
    const server = (await running.say('address')) as string
    for (let here = 0; here < agents; ) here += (await running.say('msg')) === 'agent connected' ? 1 : 0
    const all = await count(server, stop.signal)
    const direct = await count(addresses[0]!, stop.signal)
    // Until what the client wants has come through to all agents.
    await new Promise((resolve) => setTimeout(resolve, 3000))
    progress(`${seconds} s at ${agents * RATE} records a second`)
    for (const each of simulated) each.begin()
    const cpu = cpuSeconds(running.process.pid!)
    const began = performance.now()
    let published = 0
    for (const each of simulated) published += (await each.say('published')) as number
    const cores = (cpuSeconds(running.process.pid!) - cpu) / ((performance.now() - began) / 1000)
    const resident = residentBytes(running.process.pid!)
    // A view waits six seconds at most for a record to go with.
    const until = performance.now() + 12_000
    while (all.packets + all.lost < published && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    for (const tally of [all, direct]) tally.latencies.sort((a, b) => a - b)
    const p = (tally: Tally, part: number): number => quantile(tally.latencies, part)
    const details = {
      agents,
      seconds,
      published,
      told: all.packets,
      records: all.records,
      withViews: all.joined,
      lost: all.lost,
      gaps: all.gaps,
      directP50: p(direct, 0.5),
      directP99: p(direct, 0.99),
    }
    return [
      row(
        'records neither told nor told as lost',
        'records',
        spread([published - all.packets - all.lost]),
        {
          kind: 'atMost',
          value: 0,
        },
        details,
      ),
      row('records told as lost', 'records', spread([all.lost])),
      row('added latency: median', 'ms', spread([p(all, 0.5) - p(direct, 0.5)])),
      row(
        'added latency: p99',
        'ms',
        spread([p(all, 0.99) - p(direct, 0.5)]),
        { kind: 'atMost', value: 300 },
        details,
      ),
      row('gateway CPU', 'cores', spread([cores])),
      row('gateway memory', 'MiB', spread([resident / 2 ** 20])),
    ]
  } finally {
    stop.abort()
    for (const each of processes.reverse()) await each.stop()
  }
}
