import { afterEach, expect, test } from 'vitest'

import { FlowFlag } from '../../../agent/capture/flow-batch.js'
import { Gateway } from '../../../ui-stream/gateway/gateway.js'
import { Runs } from '../../../ui-stream/gateway/runs.js'
import type { StatusJson } from '../../../ui-stream/protocol/json-types.js'
import { Stage, Unit } from '../../../ui-stream/protocol/messages.js'
import type { StreamServer } from '../../../ui-stream/server/server.js'
import { TcpProxy } from '../client/tcp-proxy.js'
import { Client, closeAll, numbered, openServer, range, SILENT } from '../server/harness.js'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
})

function openAgent(n: number, more: Parameters<typeof openServer>[0] = {}): Promise<StreamServer> {
  return openServer({
    nodeName: `n${n}`,
    agentId: `run${n}`,
    status: () => ({
      nodeName: `n${n}`,
      agentId: `run${n}`,
      capturing: true,
      connected: true,
      flowsPerSecond: n,
    }),
    ...more,
  })
}

/** A gateway over `agents`, and a client of it, once all agents are connected. */
async function openGateway(agents: readonly string[], query = '', connected = agents.length) {
  const gateway = await Gateway.open(
    { agents, listen: { host: '127.0.0.1', port: 0 }, historyBytes: 8 << 20, insecure: false },
    SILENT,
  )
  ends.push(() => gateway.close())
  await expect.poll(() => gateway.connected, { timeout: 10_000 }).toBe(connected)
  // A client takes anything that has an address.
  const client = await Client.open(gateway as unknown as StreamServer, query)
  return { gateway, client }
}

async function statuses(gateway: Gateway): Promise<StatusJson[]> {
  const response = await fetch(`http://${gateway.address}/v1/status`)
  return ((await response.json()) as { agents: StatusJson[] }).agents
}

test('two agents are one stream, every record unchanged but for its cursor', async () => {
  const one = await openAgent(1)
  const two = await openAgent(2)
  const direct = await Client.open(one)
  const { client } = await openGateway([one.address, `ws://${two.address}`])
  one.publish(numbered(1, 300))
  two.publish(numbered(1001, 300))
  one.publish(numbered(301, 300))
  await client.until(() => client.flows.length === 900)
  await direct.until(() => direct.flows.length === 600)
  const from = (nodeName: string) => client.flows.filter((flow) => flow.nodeName === nodeName)
  expect(from('n1')).toEqual(direct.flows)
  expect(from('n1').map(({ id }) => id)).toEqual(range(1, 600))
  expect(from('n2').map(({ id }) => id)).toEqual(range(1001, 300))
  expect(from('n2').every(({ agentId }) => agentId === 'run2')).toBe(true)
  // The gateway numbers anew: its cursors lead through both agents' flows.
  const resumed = await Client.open(
    { address: client.socket.url.split('/')[2] } as StreamServer,
    `?cursor=${client.cursor}`,
  )
  one.publish(numbered(601, 1))
  await resumed.until(() => resumed.flows.length > 0)
  expect(resumed.ids).toEqual([601])
})

test('a stream that breaks is resumed without doubles, and the agent is named while it is away', async () => {
  const one = await openAgent(1)
  const two = await openAgent(2)
  const proxy = await TcpProxy.open(one.address)
  ends.push(() => proxy.close())
  const { gateway, client } = await openGateway([proxy.address, two.address])
  one.publish(numbered(1, 10))
  await client.until(() => client.flows.length === 10)
  await expect
    .poll(async () => (await statuses(gateway)).map(({ nodeName }) => nodeName))
    .toEqual(['n1', 'n2'])
  proxy.cut()
  await expect.poll(() => gateway.connected).toBe(1)
  const [missing, present] = await statuses(gateway)
  expect(missing).toMatchObject({ nodeName: 'n1', connected: false, capturing: false, flowsPerSecond: 0 })
  expect(missing?.problem).toContain(proxy.address)
  expect(present).toMatchObject({ nodeName: 'n2', connected: true, capturing: true, flowsPerSecond: 2 })
  expect(present?.problem).toBeUndefined()
  one.publish(numbered(11, 10))
  two.publish(numbered(1001, 10))
  await client.until(() => client.flows.length === 20)
  proxy.mend()
  await client.until(() => client.flows.length === 30)
  one.publish(numbered(21, 10))
  await client.until(() => client.flows.length === 40)
  expect(client.flows.filter(({ nodeName }) => nodeName === 'n1').map(({ id }) => id)).toEqual(range(1, 30))
  expect((await statuses(gateway))[0]).toMatchObject({ nodeName: 'n1', connected: true })
})

test('an agent that is not there from the start is named by its URL, and taken in when it comes', async () => {
  const one = await openAgent(1)
  const late = await openAgent(2)
  const { address } = late
  await late.close()
  const { gateway, client } = await openGateway([one.address, address], '', 1)
  const [, missing] = await statuses(gateway)
  expect(missing).toMatchObject({ connected: false })
  expect(missing?.nodeName).toBeUndefined()
  await expect
    .poll(async () => (await statuses(gateway))[1]?.problem)
    .toContain(`${address}: connection refused`)
  expect((await fetch(`http://${gateway.address}/readyz`)).status).toBe(503)
  const two = await openAgent(2, { listen: address })
  await expect.poll(() => gateway.connected, { timeout: 10_000 }).toBe(2)
  expect((await fetch(`http://${gateway.address}/readyz`)).status).toBe(200)
  two.publish(numbered(1, 3))
  await client.until(() => client.flows.length === 3)
})

test('own connections are left out unless a client asks', async () => {
  const one = await openAgent(1)
  const { gateway, client } = await openGateway([one.address])
  const curious = await Client.open(gateway as unknown as StreamServer, '?own=true')
  const batch = numbered(1, 4)
  batch.flows.flags[1] = FlowFlag.OWN
  batch.flows.flags[3] = FlowFlag.OWN
  one.publish(batch)
  await curious.until(() => curious.flows.length === 4)
  await client.until(() => client.flows.length === 2)
  expect(curious.flows.map(({ own }) => own)).toEqual([undefined, true, undefined, true])
  expect(client.ids).toEqual([1, 3])
})

test('labels are there for filters, and for clients that ask', async () => {
  const one = await openAgent(1)
  const { gateway } = await openGateway([one.address])
  const filtered = await Client.open(gateway as unknown as StreamServer, '?from-label=app%3Dweb&labels=true')
  const plain = await Client.open(gateway as unknown as StreamServer)
  one.publish(numbered(1, 500))
  await plain.until(() => plain.flows.length === 500)
  await filtered.sync()
  expect(filtered.flows.length).toBeGreaterThan(0)
  expect(filtered.flows.every(({ source }) => source?.labels?.app === 'web')).toBe(true)
  expect(filtered.ids).toEqual(
    plain.flows.filter(({ source }) => source?.pod === 'web-7d4b9c6f5-abcde').map(({ id }) => id),
  )
  expect(plain.flows.every(({ source, destination }) => !source?.labels && !destination?.labels)).toBe(true)
})

test('losses are passed on with the node that they happened on', async () => {
  const one = await openAgent(1)
  const { client } = await openGateway([one.address])
  const loss = { nodeName: 'n1', unit: Unit.UNIT_PACKETS, sinceUs: 1_000_000, untilUs: 2_000_000 }
  one.publishLost([{ ...loss, stage: Stage.STAGE_KERNEL_MAP, count: 7 }])
  await client.until(() => client.frames.some(({ lost }) => lost !== undefined))
  expect(client.frames.map(({ lost }) => lost)).toEqual([
    {
      nodeName: 'n1',
      stage: 'KERNEL_MAP',
      unit: 'PACKETS',
      count: 7,
      since: '1970-01-01T00:00:01.000000Z',
      until: '1970-01-01T00:00:02.000000Z',
    },
  ])
})

test('what the gateway was too slow for is told as lost at the gateway, and the sum is right', async () => {
  // A burst far beyond what waits for one client: the gateway, on this same thread, cannot read in between.
  const one = await openAgent(1, { clientQueueRecords: 1000, historyBytes: 0 })
  const { client } = await openGateway([one.address])
  const batch = numbered(1, 20_000)
  one.publish(batch)
  one.publish(numbered(20_001, 10))
  const lost = () =>
    client.frames.reduce((sum, frame) => sum + (frame.lost?.stage === 'GATEWAY' ? frame.lost.count : 0), 0)
  await client.until(() => client.ids.at(-1) === 20_010)
  expect(lost()).toBeGreaterThan(0)
  expect(client.lost).toBe(0)
  expect(client.flows.length + lost()).toBe(20_010)
  expect(client.frames.find((frame) => frame.lost)?.lost?.nodeName).toBe('n1')
})

test('two URLs of one agent count once', async () => {
  const one = await openAgent(1)
  const proxy = await TcpProxy.open(one.address)
  ends.push(() => proxy.close())
  const { gateway, client } = await openGateway([one.address, proxy.address])
  for (let round = 0; round < 20; round++) {
    one.publish(numbered(round * 10 + 1, 10))
    await client.until(() => client.flows.length >= (round + 1) * 10)
  }
  one.publishLost([{ nodeName: 'n1', stage: Stage.STAGE_AGENT, unit: Unit.UNIT_RECORDS, count: 1 }])
  await client.until(() => client.frames.some(({ lost }) => lost !== undefined))
  await client.sync()
  expect(client.ids).toEqual(range(1, 200))
  expect(client.frames.filter(({ lost }) => lost !== undefined)).toHaveLength(1)
  const problems = (await statuses(gateway)).map(({ problem }) => problem)
  expect(problems.filter((problem) => problem?.includes('leads to the same agent'))).toHaveLength(1)
})

test('runs: what one reader passed on is not fresh for another, and nothing is kept of runs that nobody reads', () => {
  const runs = new Runs()
  const [a, b] = [{}, {}]
  const flows = (from: number, to: number) => range(from, to - from + 1).map((sequence) => ({ sequence }))
  runs.join(a, 'r', 0)
  runs.join(b, 'r', 0)
  expect(runs.fresh('r', flows(1, 5), 5)).toHaveLength(5)
  expect(runs.fresh('r', flows(3, 7), 7).map(({ sequence }) => sequence)).toEqual([6, 7])
  expect([runs.leads(a, 'r'), runs.leads(b, 'r')]).toEqual([true, false])
  runs.leave(a, 'r')
  expect(runs.leads(b, 'r')).toBe(true)
  expect(runs.fresh('r', flows(7, 8), 8).map(({ sequence }) => sequence)).toEqual([8])
  runs.leave(b, 'r')
  runs.join(a, 'r', 7)
  expect(runs.fresh('r', flows(8, 9), 9).map(({ sequence }) => sequence)).toEqual([8, 9])
})
