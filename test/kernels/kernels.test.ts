// The programs on other kernels than this one: does the verifier take them, at what cost, and do they count exactly?
// Debian's 5.10 and 6.1 under qemu, with VETHFLOW_KERNELS=all every series of KERNEL_SERIES, and always the kernel here.
// VETHFLOW_KERNELS_OUTPUT names a folder for what each kernel said.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, type TestContext } from 'vitest'
import { mark } from '../../agent/kernel/layout.gen.js'
import { bootGuest, unbootable } from './guest.js'
import { fetchKernel, KERNEL_SERIES, unfetchable } from './kernel-package.js'
import {
  type KernelResult,
  type RunResult,
  readResult,
  type SocketResult,
  type ViewResult,
} from './result.js'
import { type Count, direction, Script } from './script.js'
import { makeWork, runHere, unbuildable } from './work.js'

const ATTACHES = ['tcx', 'clsact']
const OBJECTS = ['flow', 'flow-5.12', 'flow-5.10']
/** A tenth of what the verifier bears: nothing may come near the limit unseen. */
const INSTRUCTION_BUDGET = 100_000
const TIMEOUT_MS = 600_000

const script = new Script()
const folder = mkdtempSync(join(tmpdir(), 'vethflow-kernels-'))
const work = join(folder, 'work')
let made: Promise<void> | undefined
const table: string[][] = [
  ['kernel', 'object', 'loads', 'instructions', 'load ms', 'attach', 'ct', 'ring', 'batch', 'exact'],
]

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  if (lines.length > 1) console.log(lines.join('\n'))
})

function prepared(): Promise<void> {
  if (made === undefined) {
    mkdirSync(work)
    made = makeWork(work, script)
  }
  return made
}

/** Is the release at least `major.minor`? Expectations only: the agent itself never compares versions. */
function atLeast(release: string, major: number, minor: number): boolean {
  const [a = 0, b = 0] = release.split('.').map((part) => Number.parseInt(part, 10))
  return a > major || (a === major && b >= minor)
}

/** Is this an object that an agent loads on such a kernel, or may be told to? Where not, it may be refused. */
function fits(object: string, release: string): boolean {
  if (object === 'flow') return atLeast(release, 6, 2)
  if (object === 'flow-5.12') return atLeast(release, 5, 12)
  return !atLeast(release, 5, 12) || atLeast(release, 6, 2)
}

/** The runs of a kind that must have gone well: each object that fits, by each way to attach that the kernel has. */
function runsOf(result: KernelResult, what: string): RunResult[] {
  const found: RunResult[] = []
  for (const run of result.runs) {
    if (run.what !== what || !fits(run.object, result.release)) continue
    expect(run.errors, run.object).toEqual([])
    expect(run.unsupported).toBe(run.way === 'tcx' && !atLeast(result.release, 6, 6))
    if (run.unsupported) continue
    expect(run.done, run.object).toBe(true)
    found.push(run)
  }
  expect(found.map((run) => run.object).sort()).toEqual(
    OBJECTS.filter((object) => fits(object, result.release))
      .flatMap((object) => (atLeast(result.release, 6, 6) ? [object, object] : [object]))
      .sort(),
  )
  return found
}

/** The kernel's own words, asked for once and judged by several tests. */
function kernel(name: string, missing: string | undefined, ask: () => Promise<string>): void {
  let answer: Promise<KernelResult> | undefined
  const result = async (context: TestContext): Promise<KernelResult> => {
    if (missing !== undefined) context.skip(missing)
    await prepared()
    answer ??= ask().then((text) => {
      const keep = process.env.VETHFLOW_KERNELS_OUTPUT
      if (keep !== undefined) writeFileSync(join(keep, `${name}.txt`), text)
      return readResult(text)
    })
    return await answer
  }

  describe(name, { timeout: TIMEOUT_MS }, () => {
    it('says nothing unforeseen and comes to its end', async (context) => {
      const { runs, unknown } = await result(context)
      expect(unknown).toEqual([])
      expect(runs.at(-1)?.what).toBe('end')
    })

    it("takes every program with the agent's three capabilities, at a small cost", async (context) => {
      const { runs, release } = await result(context)
      for (const run of runs.filter((one) => one.what === 'verify')) {
        table.push(...rows(release, run, runs))
        if (!fits(run.object, release)) continue
        expect(run.programs).toHaveLength(run.object === 'flow-5.12' ? 6 : 9)
        for (const program of run.programs)
          if (program.name.endsWith('_ct') && !atLeast(release, 6, 2))
            expect(program.refused, program.name).toBeDefined()
          else {
            expect(program.refused, `${run.object} ${program.name}`).toBeUndefined()
            expect(program.instructions, program.name).toBeGreaterThan(0)
            expect(program.instructions, program.name).toBeLessThan(INSTRUCTION_BUDGET)
          }
      }
    })

    it('counts every frame exactly', async (context) => {
      for (const run of runsOf(await result(context), 'frames')) expectFrames(run)
    })

    it('counts a translated connection as its sockets do', async (context) => {
      const kernel = await result(context)
      for (const run of runsOf(kernel, 'traffic')) {
        expect(run.conntrack).toBe(atLeast(kernel.release, 6, 2) && run.object !== 'flow-5.12')
        expectTraffic(run)
      }
    })
  })
}

function counted(views: readonly ViewResult[]): Record<string, Count> {
  const counts: Record<string, Count> = {}
  for (const view of views)
    for (const dir of [0, 1] as const)
      if (view.counts[dir].packets > 0 || view.counts[dir].bytes > 0)
        counts[view.names[dir]] = view.counts[dir]
  return counts
}

function expectFrames(run: RunResult): void {
  expect(run.sent).toBe(script.frames)
  expect(counted(run.views)).toEqual(Object.fromEntries(script.counts))
  expect(run.views).toHaveLength(script.tuples)
  const others: Record<string, Count> = {}
  for (const [hook, { packets, bytes, lost }] of run.hooks) {
    expect(lost).toBe(0)
    if (packets > 0) others[`${run.devices.indexOf(hook >>> 1)} ${hook & 1}`] = { packets, bytes }
  }
  expect(others).toEqual(Object.fromEntries(script.others))
  expect(Object.fromEntries(run.events)).toEqual(script.events)
  expect(run.losses).toEqual([0, 0, 0])
  expect(run.batch).toBe(true)
  // the connection that began again, seen at the uplink too and owned at the veth
  const name = direction(6, { address: '10.1.0.9', port: 40000 }, { address: '10.2.0.3', port: 80 })
  const view = run.views.find((one) => one.names.includes(name))
  expect(view?.generation).toBe(1)
  expect((view?.owners[view.names.indexOf(name)] ?? 0) >>> 1).toBe(run.devices[0])
}

/** The view with a direction from `from` to `to` (hexadecimal address and port as a pattern). */
function viewOf(run: RunResult, pattern: RegExp): { view: ViewResult; forward: Count; reverse: Count } {
  for (const view of run.views)
    for (const dir of [0, 1] as const)
      if (pattern.test(view.names[dir]))
        return { view, forward: view.counts[dir], reverse: view.counts[dir === 0 ? 1 : 0] }
  throw new Error(`no view ${pattern}`)
}

function expectTraffic(run: RunResult): void {
  const sockets = run.sockets.get('client') ?? []
  expect(sockets).toHaveLength(2)
  const [translated, plain] = sockets as [SocketResult, SocketResult]
  // every segment of TCP over IPv4 with timestamps has 52 bytes of headers, a SYN 8 more
  const service = viewOf(run, /^6\/0 0af40102:\d+ > 0a60000a:80$/)
  const pod = viewOf(run, /^6\/0 0af40102:\d+ > 0af40202:8080$/)
  for (const { forward } of [service, pod])
    expect(forward).toEqual({ packets: translated.sent, bytes: translated.bytes + translated.sent * 52 + 8 })
  for (const { reverse } of [service, pod])
    expect(reverse).toEqual({ packets: translated.received, bytes: translated.received * 52 + 8 })
  const links = mark.MARK_PEER_IS_ALIAS | mark.MARK_PEER_IS_ROOT
  if (run.conntrack) {
    expect(service.view.marks & links).toBe(mark.MARK_PEER_IS_ALIAS)
    expect(pod.view.marks & links).toBe(mark.MARK_PEER_IS_ROOT)
    expect(service.view.peer).toEqual(pod.view.names)
    expect(pod.view.peer).toEqual(service.view.names)
  } else expect((service.view.marks | pod.view.marks) & links).toBe(0)
  const direct = viewOf(run, /^6\/0 fd00000100000000(0{15}2):\d+ > fd00000200000000(0{15}2):9090$/)
  expect(direct.forward).toEqual({ packets: plain.sent, bytes: plain.bytes + plain.sent * 72 + 8 })
  expect(run.losses).toEqual([0, 0, 0])
}

/** One row of the table for each way to attach. */
function rows(release: string, verified: RunResult, runs: readonly RunResult[]): string[][] {
  const { object, programs } = verified
  const loaded = programs.filter((one) => one.refused === undefined)
  const head = [release, object, `${loaded.length}/${programs.length}`]
  if (loaded.length === 0) return [[...head, '-', '-', '-', '-', '-', '-', '-']]
  const span = (values: readonly number[]): string =>
    `${Math.round(Math.min(...values))}-${Math.round(Math.max(...values))}`
  return ATTACHES.map((way) => {
    const frames = runs.find((one) => one.what === 'frames' && one.object === object && one.way === way)
    const costs = [span(loaded.map((one) => one.instructions)), span(loaded.map((one) => one.milliseconds))]
    if (frames === undefined || frames.unsupported)
      return [...head, ...costs, `no ${way}`, '-', '-', '-', '-']
    const yes = (value: boolean): string => (value ? 'yes' : 'no')
    let exact = true
    try {
      expectFrames(frames)
    } catch {
      exact = false
    }
    return [...head, ...costs, way, yes(frames.conntrack), yes(frames.done), yes(frames.batch), yes(exact)]
  })
}

const missing = unbuildable()
kernel('the kernel that runs here', missing, () => runHere(work))
const all = process.env.VETHFLOW_KERNELS === 'all'
for (const series of KERNEL_SERIES.filter(({ always }) => all || always))
  kernel(`Linux ${series.series}`, missing ?? unfetchable() ?? unbootable(), async () => {
    const guest = mkdtempSync(join(folder, 'guest-'))
    return bootGuest(await fetchKernel(series), work, guest)
  })
