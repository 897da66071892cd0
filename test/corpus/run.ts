// Runs the rows of a bed: agents on its nodes, everybody talks at once, and each record of each connection on each node is
// held against what was written down. One run for each way to conntrack.

import { RunningAgent } from '../e2e/agent.js'
import type { Built, CorpusBed } from './bed.js'
import { belongs, type Case, judge, type Mix, type Run } from './judge.js'
import { OpenBefore } from './open-before.js'
import type { Row, Rules } from './row.js'
import { talk } from './talk.js'

const AT_ONCE = 6
/**
 * For so long after a hook is attached nobody can say of UDP and the like whether it was under way before
 * (agent/capture/tracker.ts): such rows come after it, so that no record has to be a guess.
 */
const YOUNG_MS = 2100
/** Connections after which an outcome that chance has not brought is given up: one in 2^15 with two backends. */
const TRIES = 16
const STICKY_CONNECTIONS = 4
const FIRST_PORT = 40_000
const PORTS_A_ROW = 20

/** Client ports are never used twice in one bed: TIME_WAIT and conntrack remember them. */
export class Ports {
  #next = FIRST_PORT

  row(): number {
    const first = this.#next
    this.#next += PORTS_A_ROW
    if (this.#next > 64_000) throw new Error('no client ports are left in this bed')
    return first
  }
}

export interface RunOptions {
  readonly flags: readonly string[]
  /** Takes the rules in the other order. */
  readonly reversed?: boolean
  /** TCP rows alone, held to what a mix can know. */
  readonly mix?: Mix
}

/** Everything once, with agents that have these flags. */
export async function runBed(
  bed: CorpusBed,
  built: Built,
  ports: Ports,
  { flags, reversed = false, mix }: RunOptions,
): Promise<Case[]> {
  const order: readonly (Rules | undefined)[] = bed.rules ?? [undefined]
  const passes = reversed ? [...order].reverse() : order
  await built.load?.(passes[0] ?? 'nftables')
  const counted = bed.rows.filter((row) => row.waits === undefined && (mix === undefined || isTcp(row)))
  const before = await OpenBefore.start(
    built,
    counted.filter((row) => row.talk.openBefore),
    ports,
  )
  const agents = new Map<string, RunningAgent>()
  const runs: Run[] = []
  const listed: Case[] = []
  try {
    await Promise.all(
      Object.entries(built.nodes).map(async ([name, node]) => {
        agents.set(
          name,
          await RunningAgent.start(built.bed, node, name, {
            manifests: built.manifests,
            flags: [...flags, ...(mix?.flags ?? [])],
          }),
        )
      }),
    )
    const settledAt = performance.now() + YOUNG_MS
    for (const [row, made] of await before.goOn())
      runs.push({ row, rules: undefined, made: [made], failed: [] })
    for (const [pass, rules] of passes.entries()) {
      if (pass > 0) await built.load?.(rules ?? 'nftables')
      const rows = counted.filter(
        (row) =>
          !row.talk.openBefore &&
          (row.rules === undefined ? pass === 0 : rules !== undefined && row.rules.includes(rules)),
      )
      const work = (row: Row) => runRow(built, row, rules, ports.row())
      runs.push(...(await pool(rows.filter(isTcp), AT_ONCE, work)))
      const rest = rows.filter((row) => !isTcp(row))
      const young = settledAt - performance.now()
      if (rest.length > 0 && young > 0) await new Promise((wake) => setTimeout(wake, young))
      runs.push(...(await pool(rest, AT_ONCE, work)))
    }
    await settled(agents, runs)
    if (mix === undefined) listed.push(...(await uncoveredPods(bed, agents)))
    await Promise.all([...agents.values()].map((agent) => agent.close()))
  } finally {
    await before.close()
    await Promise.all([...agents.values()].map((agent) => agent.kill()))
  }
  return [...judge(bed, built, agents, runs, mix), ...listed]
}

/** Does the row begin with a SYN, and leave nothing behind but TCP? */
function isTcp(row: Row): boolean {
  const others = Object.values(row.records ?? {}).some((records) =>
    records.some(({ protocol }) => protocol !== undefined),
  )
  return (row.talk.kind === 'tcp' || row.talk.kind === 'unanswered') && !others
}

async function runRow(built: Built, row: Row, rules: Rules | undefined, firstPort: number): Promise<Run> {
  const run: Run = { row, rules, made: [], failed: [] }
  const missing = new Set(row.outcomes?.map((outcome) => outcome.answeredBy))
  try {
    for (let i = 0; i < TRIES; i++) {
      const made = await talk(built, row, firstPort + i)
      run.made.push(made)
      missing.delete(made.answeredBy)
      if (row.sticky ? run.made.length === STICKY_CONNECTIONS : missing.size === 0) break
    }
    const backends = new Set(run.made.map((made) => made.answeredBy))
    if (row.sticky && backends.size !== 1) run.failed.push(`${backends.size} backends with session affinity`)
    if (!row.sticky && missing.size > 0) run.failed.push(`never answered by ${[...missing].join(', ')}`)
  } catch (error) {
    run.failed.push(error instanceof Error ? error.message : String(error))
  }
  return run
}

/** What the agents say of pods that no hook of their own sees. */
async function uncoveredPods(bed: CorpusBed, agents: ReadonlyMap<string, RunningAgent>): Promise<Case[]> {
  if (bed.uncovered === undefined) return []
  const wrong: string[] = []
  for (const [node, agent] of agents) {
    const is = (await agent.status()).uncoveredPods
      .map(({ namespace, pod }) => `${namespace}/${pod}`)
      .join(', ')
    const should = (bed.uncovered[node] ?? []).join(', ')
    if (is !== should) wrong.push(`${node}: not covered are ${is || 'none'}, not ${should || 'none'}`)
  }
  const talk = { kind: 'tcp', from: '', to: '' } as const
  const row: Row = { name: 'listed', road: 'pods without a host-side veth', family: 4, talk }
  return [{ row, bed: bed.name, rules: undefined, connections: 0, records: 0, wrong }]
}

/** Verdicts that take time are waited for; everything else is told when the agents end. */
async function settled(agents: ReadonlyMap<string, RunningAgent>, runs: readonly Run[]): Promise<void> {
  for (const { row, made } of runs) {
    if (row.talk.kind !== 'unanswered') continue
    for (const node of Object.keys(row.records ?? {}))
      await agents
        .get(node)
        ?.until(`${row.name}: UNANSWERED`, (agent) =>
          made.every((one) =>
            agent.flows.some((flow) => belongs(flow, one) && flow.verdict === 'UNANSWERED'),
          ),
        )
  }
}

/** Works on all of `items`, so many at once. */
async function pool<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const queue = [...items.entries()]
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift())
        results[next[0]] = await work(next[1])
    }),
  )
  return results
}
