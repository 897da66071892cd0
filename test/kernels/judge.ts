// The tests that every kernel has to pass, from what scenario.sh said on it, and a table of what was seen.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it, type TestContext } from 'vitest'
import { documentedFeatures, features } from './feature-table.js'
import { expectContended, expectFrames } from './judge-frames.js'
import { expectRoads } from './judge-roads.js'
import { type KernelResult, type RunResult, readResult } from './result.js'
import type { Script } from './script.js'

const ATTACHES = ['tcx', 'clsact']
const OBJECTS = ['flow', 'flow-5.12', 'flow-5.10']
/** A tenth of what the verifier bears: nothing may come near the limit unseen. */
const INSTRUCTION_BUDGET = 100_000
const TIMEOUT_MS = 1_200_000

const HEAD = [
  'kernel',
  'object',
  'loads',
  'instructions',
  'load ms',
  'attach',
  'ct',
  'ring',
  'batch',
  'exact',
]

function print(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  console.log(lines.join('\n'))
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

/** The frames on each object that fits, by each way to attach that the kernel has. */
function frameRuns(result: KernelResult): RunResult[] {
  const found: RunResult[] = []
  for (const run of result.runs) {
    if (run.what !== 'frames' || !fits(run.object, result.release)) continue
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

/**
 * The tests of one kernel. `missing` is why it cannot be tried; `ask` gives what it said, once for all tests. `column` is
 * its place in the documented table of features.
 */
export function judge(
  name: string,
  missing: string | undefined,
  script: Script,
  ask: () => Promise<string>,
  column?: string,
): void {
  let answer: Promise<KernelResult> | undefined
  const result = async (context: TestContext): Promise<KernelResult> => {
    if (missing !== undefined) context.skip(missing)
    answer ??= ask().then((text) => {
      const keep = process.env.VETHFLOW_KERNELS_OUTPUT
      if (keep !== undefined) writeFileSync(join(keep, `${name}.txt`), text)
      return readResult(text)
    })
    return await answer
  }

  describe(name, { timeout: TIMEOUT_MS }, () => {
    afterAll(async () => {
      const said = await answer?.catch(() => undefined)
      if (said === undefined) return
      const verified = said.runs.filter((run) => run.what === 'verify')
      print([HEAD, ...verified.flatMap((run) => rows(said.release, run, said.runs, script))])
      print(features(said.runs.find((run) => run.what === 'roads')?.status))
    })

    it('says nothing unforeseen and comes to its end', async (context) => {
      const { runs, unknown } = await result(context)
      expect(unknown).toEqual([])
      expect(runs.at(-1)?.what).toBe('end')
    })

    it("takes every program with the agent's three capabilities, at a small cost", async (context) => {
      const { runs, release } = await result(context)
      for (const run of runs.filter((one) => one.what === 'verify')) {
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
      for (const run of frameRuns(await result(context))) expectFrames(run, script)
    })

    it('counts exactly where a task comes in the midst of another', async (context) => {
      const { runs, release } = await result(context)
      for (const object of OBJECTS.filter((one) => fits(one, release))) {
        // where it cannot claim a place atomically it is not for kernels whose programs are preemptible
        if (object === 'flow-5.10' && release.includes('-rt-')) continue
        const run = runs.find((one) => one.what === 'contend' && one.object === object)
        expect(run, object).toBeDefined()
        if (run !== undefined) expectContended(run)
      }
    })

    it('tells a translated connection as one flow, counted as its sockets do', async (context) => {
      const { runs, release } = await result(context)
      expect(runs.find((run) => run.what === 'rules')?.rules).toBe(
        release.includes('-rt-') ? 'nftables' : 'iptables',
      )
      const roads = runs.filter((run) => run.what === 'roads')
      expect(roads.map((run) => run.object)).toEqual(atLeast(release, 6, 2) ? ['all', 'fallback'] : ['all'])
      for (const run of roads) expectRoads(run)
    })

    if (column !== undefined)
      it('has the features that the documentation says', async (context) => {
        const { runs } = await result(context)
        const run = runs.find((one) => one.what === 'roads')
        expect(Object.fromEntries(features(run?.status))).toEqual(documentedFeatures(column))
      })
  })
}

/** One row of the table for each way to attach. */
function rows(release: string, verified: RunResult, runs: readonly RunResult[], script: Script): string[][] {
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
      expectFrames(frames, script)
    } catch {
      exact = false
    }
    return [...head, ...costs, way, yes(frames.conntrack), yes(frames.done), yes(frames.batch), yes(exact)]
  })
}
