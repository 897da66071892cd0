// Runs the rows of a bed: agents on its nodes, everybody talks at once, and each record of each connection on each node is
// held against what was written down. One run for each way to conntrack.

import type { FlowJson } from '../../ui-stream/protocol/json-types.js'
import { Stage } from '../../ui-stream/protocol/messages.js'
import { RunningAgent, sums } from '../e2e/agent.js'
import type { Built, CorpusBed } from './bed.js'
import { cellsOf, differences, expectedCells } from './compare.js'
import { OpenBefore } from './open-before.js'
import type { Expected, Records, Row, Rules } from './row.js'
import { type Made, talk } from './talk.js'

/** A row that was run: right when `wrong` is empty. */
export interface Case {
  readonly row: Row
  readonly bed: string
  readonly rules: Rules | undefined
  readonly connections: number
  readonly records: number
  readonly wrong: readonly string[]
}

interface Run {
  readonly row: Row
  readonly rules: Rules | undefined
  readonly made: Made[]
  readonly failed: string[]
}

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

/**
 * Agents that see less than all, or more: each connection must still be one flow with the right ends, counted as its
 * socket did, wherever one of the hooks that it passes is among them; and no flow where none is.
 */
export interface Mix {
  readonly name: string
  readonly flags: readonly string[]
  /** Whether the interface that a word of `observations` stands for is captured; pods are veths. */
  sees(word: string): boolean
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

function judge(
  bed: CorpusBed,
  built: Built,
  agents: ReadonlyMap<string, RunningAgent>,
  runs: readonly Run[],
  mix: Mix | undefined,
): Case[] {
  const strays = new Map<string, Map<number, FlowJson>>()
  for (const [node, agent] of agents)
    strays.set(
      node,
      new Map(
        agent
          .latest()
          .filter((flow) => !isNeighbourTalk(flow))
          .map((flow) => [flow.id, flow]),
      ),
    )
  const cases = runs.map(({ row, rules, made, failed }): Case => {
    const wrong = [...failed]
    let records = 0
    for (const one of made)
      for (const [node, agent] of agents) {
        const written = recordsOf(row, one)?.[node] ?? []
        const expected =
          mix === undefined
            ? written
            : written.filter((record) =>
                record.observations.some((word) => mix.sees(word.replaceAll('>', ''))),
              )
        records += expected.length
        wrong.push(
          ...judgeOne(built, agent, strays.get(node)!, expected, one, mix).map((text) => `${node}: ${text}`),
        )
      }
    return { row, bed: bed.name, rules, connections: made.length, records, wrong }
  })
  for (const [node, agent] of agents) {
    const left = [...strays.get(node)!.values()].map((flow) => canonicalFlow(flow))
    // what crossed an interface before the agent was there is told, and is nobody's fault
    const losses = agent.lost.filter((loss) => loss.stage !== Stage.STAGE_UNATTACHED)
    const lost = losses.map((loss) => `lost ${JSON.stringify(loss)}`)
    if (left.length + lost.length === 0) continue
    const row: Row = {
      name: 'nothing-else',
      road: 'no flow that nobody made',
      family: 4,
      talk: { kind: 'tcp', from: '', to: '' },
    }
    cases.push({
      row,
      bed: bed.name,
      rules: undefined,
      connections: 0,
      records: 0,
      wrong: [...left, ...lost].map((text) => `${node}: ${text}`),
    })
  }
  return cases
}

/** What was written down for the one who answered. */
function recordsOf(row: Row, made: Made): Records | undefined {
  return row.records ?? row.outcomes?.find((outcome) => outcome.answeredBy === made.answeredBy)?.records
}

function judgeOne(
  built: Built,
  agent: RunningAgent,
  strays: Map<number, FlowJson>,
  expected: readonly Expected[],
  made: Made,
  mix: Mix | undefined,
): string[] {
  const wrong: string[] = []
  const found = [...strays.values()].filter((flow) => belongs(flow, made, expected))
  for (const flow of found) strays.delete(flow.id)
  if (found.length !== expected.length)
    return [`${found.length} flows, not ${expected.length}: ${found.map(canonicalFlow).join('; ')}`]
  const rest = [...found]
  for (const wanted of expected) {
    const protocol = wanted.protocol ?? made.protocol
    const at = rest.findIndex(
      (flow) => flow.protocol === protocol && isOfProxy(flow, made) === (wanted.ofProxy ?? false),
    )
    const flow = rest.splice(at, 1)[0]
    if (at < 0 || flow === undefined) {
      wrong.push(`no flow of ${protocol}`)
      continue
    }
    wrong.push(
      ...differences(
        cellsOf(flow),
        expectedCells(built, wanted, made),
        mix === undefined ? undefined : ['source', 'destination'],
      ),
    )
    wrong.push(...counts(agent, flow, wanted, made))
  }
  return wrong
}

function counts(agent: RunningAgent, flow: FlowJson, wanted: Expected, made: Made): string[] {
  const wrong: string[] = []
  const told = sums(agent.flows.filter((record) => record.id === flow.id))
  if (!told.consistent) wrong.push('the deltas do not add up to the totals')
  for (const direction of ['forward', 'reverse'] as const) {
    const should = wanted.counts?.[direction] ?? 'all'
    const all = wanted.ofProxy ? (made.proxied?.[direction] ?? 0) : made[direction]
    const packets = should === 'all' ? all : should
    if (flow[direction].totalPackets !== packets)
      wrong.push(`${direction} is ${flow[direction].totalPackets} packets, not ${packets}`)
    const octets =
      should === 'all' && wanted.protocol === undefined && !wanted.ofProxy
        ? made.octets?.[direction]
        : undefined
    if (octets !== undefined && flow[direction].totalBytes !== octets)
      wrong.push(`${direction} is ${flow[direction].totalBytes} octets, not ${octets}`)
  }
  return wrong
}

/** A flow is of a connection when one of its ends is the client, under either of its addresses and ports. */
function belongs(flow: FlowJson, made: Made, expected: readonly Expected[] = []): boolean {
  const ends = [flow.source, flow.destination]
  if (made.clientPort === 0 || flow.protocol !== made.protocol) {
    const addresses = expected
      .filter((wanted) => (wanted.protocol ?? made.protocol) === flow.protocol)
      .map((wanted) => [wanted.source.ip, wanted.destination.ip].sort().join())
    return addresses.includes(
      ends
        .map((end) => end?.ip ?? '')
        .sort()
        .join(),
    )
  }
  if (isOfProxy(flow, made)) return true
  return ends.some(
    (end) =>
      (end?.ip === made.clientIp && end.port === made.clientPort) ||
      (end?.ip === made.translatedIp && end.port === made.translatedPort),
  )
}

function isOfProxy(flow: FlowJson, { proxied }: Made): boolean {
  return (
    proxied !== undefined &&
    [flow.source, flow.destination].some((end) => end?.ip === proxied.ip && end.port === proxied.port)
  )
}

/** Neighbour discovery and multicast reports (RFC 4861, RFC 3810) come when the kernel likes. */
function isNeighbourTalk(flow: FlowJson): boolean {
  const type = flow.icmp?.type ?? 0
  return (
    flow.protocol === 'ICMPv6' &&
    ((type >= 133 && type <= 137) || type === 143 || (type >= 130 && type <= 132))
  )
}

function canonicalFlow(flow: FlowJson): string {
  const { source, destination, service } = flow
  return (
    `${flow.protocol} ${source?.ip}:${source?.port} -> ${service === undefined ? '' : `${service.ip}:${service.port} = `}` +
    `${destination?.ip}:${destination?.port} ${flow.forward.totalPackets}/${flow.reverse.totalPackets} ${cellsOf(flow).observations.join(' ')}`
  )
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
