// Names at the size of a large cluster: what identity takes to be synced and to follow changes, against a server in a
// process of its own over real HTTP, and how quick an address is looked up.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { FlowBatch } from '../agent/capture/flow-batch.js'
import { Cluster } from '../agent/identity/cluster.js'
import { ClusterIdentity } from '../agent/identity/identity.js'
import { type ClusterSize, LargeCluster, nodeName } from '../test/fakes/large-cluster.js'
import { cpuSeconds, pause, residentBytes } from './agent-process.js'
import type { BenchOptions } from './options.js'
import { type Row, row } from './report.js'
import { spread } from './spread.js'

const MEBIBYTE = 2 ** 20
const LARGE: ClusterSize = { pods: 50_000, services: 5000, slices: 10_000, nodes: 500 }
const SMALL: ClusterSize = { pods: 2000, services: 200, slices: 400, nodes: 20 }
const CHANGES = 200
/** Once synced, until memory is read: what was only there for the lists has been given back by then. */
const SETTLE_MS = 3000
const QUICK_SETTLE_MS = 300
/** Most resident memory above the same process without a cluster, MiB. */
const MEMORY_GOALS = { full: 140, local: 60 }

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

interface Said {
  readonly synced?: number
  readonly blockMs?: number
  readonly warn?: string
}

/** A program that says lines on stdout. */
class Speaker {
  readonly pid: number
  readonly lines: string[] = []
  readonly #child: ChildProcess
  #waiting: (() => void)[] = []

  constructor(program: string, args: readonly string[]) {
    this.#child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.pid = this.#child.pid ?? 0
    const { stdout } = this.#child
    if (stdout !== null) {
      createInterface(stdout).on('line', (line) => {
        this.lines.push(line)
        for (const wake of this.#waiting.splice(0)) wake()
      })
    }
  }

  /** The first line that `pick` makes something of, among those not looked at yet. */
  async says<T>(pick: (line: string) => T | undefined, limitMs: number): Promise<T> {
    const end = performance.now() + limitMs
    for (;;) {
      for (let line = this.lines.shift(); line !== undefined; line = this.lines.shift()) {
        const found = pick(line)
        if (found !== undefined) return found
      }
      if (performance.now() > end)
        throw new Error(`${this.#child.spawnargs[1]} said nothing for ${limitMs} ms`)
      await Promise.race([new Promise<void>((wake) => this.#waiting.push(wake)), pause(1000)])
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGTERM')
    await ended
  }
}

export async function identity(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  const rows: Row[] = []
  for (const mode of ['full', 'local'] as const) {
    progress(mode)
    rows.push(...(await follow(mode, options)))
  }
  progress('lookups')
  rows.push(...lookups(options))
  return rows
}

async function follow(mode: 'full' | 'local', options: BenchOptions): Promise<Row[]> {
  const size = options.quick ? SMALL : LARGE
  const rounds = options.quick ? 1 : 3
  const seconds = options.quick ? 2 : options.long ? 60 : 20
  const synced: number[] = []
  const above: number[] = []
  const peak: number[] = []
  const block: number[] = []
  const cpu: number[] = []
  const growth: number[] = []
  const blockAfter: number[] = []
  for (let round = 0; round < rounds; round++) {
    const settleMs = options.quick ? QUICK_SETTLE_MS : SETTLE_MS
    const found = await once(mode, size, round === rounds - 1 ? seconds : 0, settleMs)
    synced.push(found.synced / 1000)
    above.push(found.above / MEBIBYTE)
    peak.push(found.peak / MEBIBYTE)
    block.push(found.block)
    if (found.cpu === undefined) continue
    cpu.push(found.cpu)
    growth.push((found.growth ?? 0) / MEBIBYTE)
    blockAfter.push(found.blockAfter ?? 0)
  }
  const of = `${mode}: ${size.pods.toLocaleString('en-US')} pods`
  const changes = `${mode}: ${CHANGES} changes a second for ${seconds} s`
  return [
    row(`${of}, synced`, 's', spread(synced), { kind: 'atMost', value: 6 }, { ...size }),
    row(`${of}, memory above the same process without a cluster`, 'MiB', spread(above), {
      kind: 'atMost',
      value: MEMORY_GOALS[mode],
    }),
    row(`${of}, most memory on the way`, 'MiB', spread(peak)),
    row(`${of}, longest block of the event loop until synced`, 'ms', spread(block), {
      kind: 'atMost',
      value: 100,
    }),
    row(`${changes}, CPU`, '% of a core', spread(cpu), { kind: 'atMost', value: 10 }),
    row(`${changes}, memory gained`, 'MiB', spread(growth), { kind: 'atMost', value: 5 }),
    row(`${changes}, longest block of the event loop`, 'ms', spread(blockAfter), {
      kind: 'atMost',
      value: 100,
    }),
  ]
}

interface Once {
  readonly synced: number
  readonly above: number
  readonly peak: number
  readonly block: number
  readonly cpu?: number
  readonly growth?: number
  readonly blockAfter?: number
}

async function once(
  mode: 'full' | 'local',
  size: ClusterSize,
  seconds: number,
  settleMs: number,
): Promise<Once> {
  const folder = mkdtempSync(join(tmpdir(), 'vethflow-bench-identity-'))
  const server = new Speaker(
    here('../test/fakes/large-api-server.js'),
    Object.entries(size).flatMap(([name, value]) => [`--${name}`, String(value)]),
  )
  const started: Speaker[] = [server]
  try {
    const port = await server.says((line) => /^READY (\d+)$/.exec(line)?.[1], 20_000)
    const kubeconfig = join(folder, 'kubeconfig')
    writeFileSync(kubeconfig, config(port))

    const bare = new Speaker(here('./identity-process.js'), ['none'])
    started.push(bare)
    await bare.says(parsed, 20_000)
    await pause(settleMs)
    const without = residentBytes(bare.pid)
    await bare.stop()

    const agent = new Speaker(here('./identity-process.js'), [mode, kubeconfig, nodeName(7)])
    started.push(agent)
    let peak = 0
    const look = setInterval(() => {
      peak = Math.max(peak, residentBytes(agent.pid))
    }, 20)
    const first = await agent
      .says((line) => {
        const said = parsed(line)
        if (said?.warn !== undefined) throw new Error(said.warn)
        return said?.synced === undefined ? undefined : said
      }, 60_000)
      .finally(() => clearInterval(look))
    await pause(settleMs)
    const settled = residentBytes(agent.pid)
    const result = {
      synced: first.synced ?? Number.NaN,
      above: settled - without,
      peak: peak - without,
      block: first.blockMs ?? Number.NaN,
    }
    if (seconds === 0) return result

    await control(port, `changes?rate=${CHANGES}`)
    await pause(settleMs)
    agent.signal('SIGUSR2')
    await agent.says(parsed, 5000)
    const [cpuBefore, at, rss] = [cpuSeconds(agent.pid), performance.now(), residentBytes(agent.pid)]
    await pause(seconds * 1000)
    const cpu = ((cpuSeconds(agent.pid) - cpuBefore) / (performance.now() - at)) * 1e5
    const growth = residentBytes(agent.pid) - rss
    agent.signal('SIGUSR2')
    const last = await agent.says(parsed, 5000)
    return { ...result, cpu, growth, blockAfter: last.blockMs ?? Number.NaN }
  } finally {
    for (const each of started.reverse()) await each.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

function parsed(line: string): Said | undefined {
  return line.startsWith('{') ? (JSON.parse(line) as Said) : undefined
}

async function control(port: string, what: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/control/${what}`)
  if (!response.ok) throw new Error(`the server refuses ${what}`)
}

function config(port: string): string {
  return JSON.stringify({
    'current-context': 'bench',
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
    clusters: [{ name: 'bench', cluster: { server: `http://127.0.0.1:${port}` } }],
    users: [{ name: 'bench', user: { token: 'bench' } }],
  })
}

/** Addresses of 50,000 pods, a third of which have had another holder before: by the index alone, and by the stage. */
function lookups(options: BenchOptions): Row[] {
  const size = options.quick ? SMALL : LARGE
  const model = new LargeCluster(size)
  let nowUs = 1_800_000_000_000_000
  const cluster = new Cluster('bench', () => nowUs)
  const upsert = (i: number, name: string) => {
    const metadata = { name, namespace: model.podNamespace(i), uid: name }
    cluster.upsert('Pod', {
      metadata,
      spec: { nodeName: 'other' },
      status: { phase: 'Running', podIP: model.podAddress(i) },
    })
    return { metadata }
  }
  const earlier = Math.floor(size.pods / 3)
  for (let i = 0; i < earlier; i++) cluster.remove('Pod', upsert(i * 3, `earlier-${i}`))
  cluster.commit('Pod')
  nowUs += 60_000_000
  for (let i = 0; i < size.pods; i++) upsert(i, `pod-${i}`)
  nowUs += 60_000_000

  // In no order, as traffic is; one in eight asks about the time of the earlier holders.
  const count = 65_536
  const addresses = new Uint32Array(count)
  const times = new Float64Array(count)
  let state = 20_261_121
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    addresses[i] = 0x0a400000 + ((state >>> 8) % size.pods)
    times[i] = state % 8 === 0 ? nowUs - 130_000_000 : nowUs
  }
  const index = cluster.addresses
  const rates: number[] = []
  let hits = 0
  for (let round = -1; round < options.pairs; round++) {
    const began = process.cpuUsage()
    const until = performance.now() + (options.quick ? 100 : 1000)
    let asked = 0
    hits = 0
    while (performance.now() < until) {
      for (let i = 0; i < count; i++) {
        if (index.get(0, 0, 0xffff, addresses[i]!, 0, times[i]!) !== undefined) hits++
      }
      asked += count
    }
    hits /= asked
    const { user, system } = process.cpuUsage(began)
    if (round >= 0) rates.push((asked / (user + system)) * 1e6)
  }

  const names = new ClusterIdentity('bench', cluster, undefined)
  const batches = Array.from({ length: 16 }, (_, b) => {
    const batch = new FlowBatch(1024)
    batch.count = 1024
    for (let r = 0; r < 1024; r++) {
      batch.source.set([0, 0, 0xffff, addresses[b * 2048 + r]!], r * 4)
      batch.destination.set([0, 0, 0xffff, addresses[b * 2048 + 1024 + r]!], r * 4)
      batch.endUs[r] = batch.startUs[r] = batch.timeUs[r] = nowUs
    }
    return batch
  })
  const named: number[] = []
  for (let round = -1; round < options.pairs; round++) {
    const began = process.cpuUsage()
    const until = performance.now() + (options.quick ? 100 : 1000)
    let records = 0
    while (performance.now() < until) for (const batch of batches) records += names.name(batch).flows.count
    const { user, system } = process.cpuUsage(began)
    if (round >= 0) named.push((records / (user + system)) * 1e6)
  }
  return [
    row(
      'lookups of an address, history included',
      '1/CPU-s',
      spread(rates),
      { kind: 'atLeast', value: 5_000_000 },
      {
        addresses: size.pods,
        ended: index.tombstones,
        found: hits,
      },
    ),
    row('records named, two ends each', '1/CPU-s', spread(named)),
  ]
}
