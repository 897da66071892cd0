// Which flows belong to which connection, and whether they are what was written down.

import type { FlowJson } from '../../ui-stream/protocol/json-types.js'
import { Stage } from '../../ui-stream/protocol/messages.js'
import { type RunningAgent, sums } from '../e2e/agent.js'
import type { Built, CorpusBed } from './bed.js'
import { cellsOf, differences, expectedCells } from './compare.js'
import type { Expected, Records, Row, Rules } from './row.js'
import type { Made } from './talk.js'

/** A row that was run: right when `wrong` is empty. */
export interface Case {
  readonly row: Row
  readonly bed: string
  readonly rules: Rules | undefined
  readonly connections: number
  readonly records: number
  readonly wrong: readonly string[]
}

/** What a row's talks came to. */
export interface Run {
  readonly row: Row
  readonly rules: Rules | undefined
  readonly made: Made[]
  readonly failed: string[]
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

/** Holds all that the agents told against all that was made; what is left over is wrong, too. */
export function judge(
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
export function belongs(flow: FlowJson, made: Made, expected: readonly Expected[] = []): boolean {
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
