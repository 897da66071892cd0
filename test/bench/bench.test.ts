// The benchmarks themselves: a short run of every group makes sense of what it measured. Holds no figure to its target;
// `make bench` does.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { quantile, spread } from '../../bench/spread.js'
import { repository } from '../testbed/index.js'
import { build } from '../ui-stream/cli/built.js'

const MAIN = join(repository, 'dist/bench/main.js')
const clang = spawnSync('clang-19', ['--version']).status === 0

interface Result {
  readonly group: string
  readonly machine: {
    readonly cpu: string
    readonly kernel: string
    readonly node: string
    readonly commit: string
  }
  readonly rows: readonly {
    readonly name: string
    readonly unit: string
    readonly value: { readonly median: number; readonly rounds: number }
    readonly met?: boolean
  }[]
}

beforeAll(() => {
  build()
  const built = statSync(MAIN, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const sources = readdirSync(join(repository, 'bench')).filter((name) => name.endsWith('.ts'))
  if (sources.some((name) => statSync(join(repository, 'bench', name)).mtimeMs > built))
    spawnSync('npm', ['run', 'build'], { cwd: repository, stdio: 'ignore' })
})

function bench(...groups: string[]): Result[] {
  const run = spawnSync(process.execPath, [MAIN, '--quick', '--json', ...groups], {
    encoding: 'utf8',
    timeout: 50_000,
    maxBuffer: 64 << 20,
  })
  expect(run.stderr, 'nothing but progress').not.toMatch(/Error|^bench:/m)
  expect(run.status).toBe(0)
  return JSON.parse(run.stdout) as Result[]
}

/** The median of the one row whose name begins so. */
function median(results: readonly Result[], name: string): number {
  const rows = results.flatMap((result) => result.rows).filter((row) => row.name.startsWith(name))
  expect(rows, name).toHaveLength(1)
  return rows[0]?.value.median ?? Number.NaN
}

describe('spread', () => {
  it('knows quartiles of even and odd counts', () => {
    expect(spread([4, 1, 3, 2])).toEqual({
      median: 2.5,
      min: 1,
      lowerQuartile: 1.75,
      upperQuartile: 3.25,
      max: 4,
      rounds: 4,
    })
    expect(quantile([1, 2, 10], 0.5)).toBe(2)
    expect(() => spread([])).toThrow('nothing was measured')
  })
})

describe('the benchmarks', () => {
  it.skipIf(!clang)('measure programs (needs clang-19: make deps-bpf)', () => {
    const results = bench('kernel', 'rate')
    expect(results.map(({ group }) => group)).toEqual(['kernel', 'rate'])
    expect(results[0]?.machine.cpu).not.toBe('')
    // A hash costs more than nothing and less than a microsecond; the full program is neither free nor ten times that.
    for (const kind of ['IPv4, 64 flows', 'IPv6, 64 flows', 'IPv4, TCP with GSO', 'IPv4, 64 flows, egress']) {
      expect(median(results, `${kind}: empty program`)).toBeGreaterThan(5)
      const yardstick = median(results, `${kind}: yardstick`)
      expect(yardstick).toBeGreaterThan(5)
      expect(yardstick).toBeLessThan(5000)
      const name = kind.endsWith('egress') ? 'veth_egress_ct' : 'veth_ingress'
      const ratio = median(results, `${kind}: ${name} over yardstick`)
      expect(ratio).toBeGreaterThan(0.3)
      expect(ratio).toBeLessThan(10)
    }
    const rate = median(results, 'packets a second, 64 flows: without')
    expect(rate).toBeGreaterThan(10_000)
  })

  it('measure the agent', () => {
    const results = bench('encode', 'line', 'idle', 'connections', 'latency', 'memory')
    expect(median(results, 'encode, names cached')).toBeGreaterThan(50_000)
    expect(median(results, 'drain into typed arrays')).toBeGreaterThan(50_000)
    expect(median(results, 'kernel map to protobuf')).toBeGreaterThan(0)
    const flood = '20,000 new connections a second for 1 s'
    // Every OPENED and, of TCP, every CLOSED that was sent is there or told as lost.
    const came = median(results, `${flood}: OPENED and CLOSED`)
    const lost = median(results, `${flood}: told as lost`)
    expect(came === 1 || lost > 0, `${came} came, ${lost} told as lost`).toBe(true)
    expect(median(results, 'packet to record: not found')).toBe(0)
    expect(median(results, 'packet to record, --update-interval 1s: median')).toBeGreaterThan(0)
    expect(median(results, 'agent with 10,000 live connections above')).toBeGreaterThan(-50)
  })

  it('measure identity', () => {
    const results = bench('identity')
    for (const mode of ['full', 'local']) {
      expect(median(results, `${mode}: 2,000 pods, synced`)).toBeGreaterThan(0.01)
      expect(median(results, `${mode}: 2,000 pods, memory above`)).toBeLessThan(100)
      expect(median(results, `${mode}: 200 changes a second for 2 s, CPU`)).toBeGreaterThan(0)
    }
    expect(median(results, 'lookups of an address')).toBeGreaterThan(500_000)
  })

  it('leave no namespace behind, and refuse what they do not know', () => {
    expect(readdirSync('/run/netns').filter((name) => name.includes('-bench'))).toEqual([])
    const run = spawnSync(process.execPath, [MAIN, 'nonsense'], { encoding: 'utf8' })
    expect(run.status).toBe(2)
    expect(run.stderr).toContain('there is no group nonsense')
    expect(existsSync(MAIN)).toBe(true)
  })
})
