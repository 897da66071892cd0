import { afterEach, describe, expect, test } from 'vitest'

import { FlowFlag } from '../../../agent/capture/flow-batch.js'
import type { AgentCredentials } from '../../../ui-stream/gateway/agent-credentials.js'
import { Gateway } from '../../../ui-stream/gateway/gateway.js'
import { Runs } from '../../../ui-stream/gateway/runs.js'
import type { StatusJson } from '../../../ui-stream/protocol/json-types.js'
import { Stage, Unit } from '../../../ui-stream/protocol/messages.js'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import type { Subscription } from '../../../ui-stream/protocol/subscription.js'
import type { StreamServer } from '../../../ui-stream/server/server.js'
import { Authority } from '../auth/authority.js'
import { TcpProxy } from '../client/tcp-proxy.js'
import { Client, closeAll, numbered as numberedAt, openServer, range, SILENT } from '../server/harness.js'

/** Made now: of what is older than a few seconds only history tells. */
const numbered = (first: number, count: number) => numberedAt(first, count, 1, Date.now() * 1000)

/** What each agent was last asked for. */
const asked = new Map<number, Subscription>()
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
  asked.clear()
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
    demand: { set: (_client, subscription) => asked.set(n, subscription), delete: () => undefined },
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
  await settled(Math.min(connected, asked.size))
  return { gateway, client }
}

/** What a client of the gateway wants has come through to all agents that were opened. */
async function settled(connected: number): Promise<void> {
  const wanted = () => [...asked.values()].filter(({ filters }) => filters[0]?.values[0] !== '-').length
  await expect.poll(wanted, { timeout: 10_000 }).toBeGreaterThanOrEqual(connected)
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

test('agents are asked for what clients want between them, and for nothing when there are none', async () => {
  const one = await openAgent(1)
  const { gateway, client } = await openGateway([one.address], '?namespace=shop&port=80')
  const of = () => ({ filters: asked.get(1)?.filters, labels: asked.get(1)?.labels ?? false })
  const filter = (name: string, ...values: string[]) => ({ name, values, negate: false })
  await expect
    .poll(of)
    .toEqual({ filters: [filter('namespace', 'shop'), filter('port', '80')], labels: false })
  const other = await Client.open(gateway as unknown as StreamServer, '?namespace=bank&from-label=app%3Dx')
  await expect.poll(of).toEqual({ filters: [filter('namespace', 'bank', 'shop')], labels: true })
  const batch = numbered(1, 600)
  one.publish(batch)
  const rows = Array.from({ length: 600 }, (_, row) => row)
  const inShop = rows.filter((row) =>
    [batch.source[row], batch.destination[row]].some((name) => name?.namespace === 'shop'),
  )
  const wanted = inShop.filter((row) =>
    [batch.flows.sourcePort[row], batch.flows.destinationPort[row]].includes(80),
  )
  expect(wanted.length).toBeGreaterThan(10)
  await client.until(() => client.flows.length >= wanted.length)
  expect(client.ids).toEqual(wanted.map((row) => row + 1))
  expect(other.flows).toEqual([])
})

test('a new client wants more: the first misses nothing and gets nothing twice, nothing old comes as new', async () => {
  const one = await openAgent(1)
  const { gateway, client } = await openGateway([one.address], '?protocol=6')
  const old = numberedAt(1, 50, 1, Date.now() * 1000 - 60_000_000)
  one.publish(old)
  let first = 51
  const publish = (count: number) => {
    const batch = numbered(first, count)
    first += count
    for (let row = 0; row < count; row++) batch.flows.protocol[row] = row % 2 === 0 ? 6 : 17
    one.publish(batch)
    return new Promise((resolve) => setImmediate(resolve))
  }
  for (let i = 0; i < 10; i++) await publish(10)
  const all = await Client.open(gateway as unknown as StreamServer)
  for (let i = 0; i < 20; i++) await publish(10)
  await all.until(() => all.ids.at(-1) === 350)
  await client.until(() => client.ids.at(-1) === 349)
  expect(client.ids.filter((id) => id > 50)).toEqual(range(51, 300).filter((id) => id % 2 === 1))
  expect(Math.min(...all.ids)).toBeGreaterThan(50)
  // What was on its way for the first when the second came is shown to it as well; from then on it gets everything.
  const whole = all.ids.slice(all.ids.findIndex((id) => id % 2 === 0))
  expect(whole).toEqual(range(whole[0]!, 351 - whole[0]!))
  expect(whole.length).toBeGreaterThanOrEqual(200)
  expect([client.lost, all.lost]).toEqual([0, 0])
})

describe('the past', () => {
  test('comes from the agents, in one order, and goes over into what happens now without gap or double', async () => {
    const [one, two] = await Promise.all([openAgent(1), openAgent(2)])
    const start = Date.now() * 1000 - 30_000_000
    one.publish(numberedAt(1, 400, 1, start))
    two.publish(numberedAt(1001, 400, 1, start - 1010))
    const { gateway } = await openGateway([one.address, two.address], '?port=1')
    let next = 401
    const talk = setInterval(() => {
      one.publish(numbered(next, 5))
      next += 5
    }, 5)
    ends.push(() => clearInterval(talk))
    const client = await Client.open(gateway as unknown as StreamServer, '?since=1m&follow=true')
    await client.until(() => client.flows.filter(({ nodeName }) => nodeName === 'n1').length > 600)
    clearInterval(talk)
    await client.until(() => client.ids.includes(next - 1))
    const of = (nodeName: string) =>
      client.flows.filter((flow) => flow.nodeName === nodeName).map(({ id }) => id)
    expect(of('n1')).toEqual(range(1, next - 1))
    expect(of('n2')).toEqual(range(1001, 400))
    const times = client.flows.slice(0, 800).map(({ time }) => time)
    expect(times).toEqual([...times].sort())
    // Those of n2 that were made first stand first, though n1 was asked first.
    expect(client.ids[0]).toBe(1001)
  })

  test.each([
    ['', Subprotocol.PROTOBUF],
    ['', Subprotocol.JSON],
    ['', Subprotocol.DEFLATE],
    ['&unjoined=true', Subprotocol.PROTOBUF],
  ])('the last 100 of all%s in %s', async (more, subprotocol) => {
    const [one, two] = await Promise.all([openAgent(1), openAgent(2)])
    const start = Date.now() * 1000 - 30_000_000
    one.publish(numberedAt(1, 300, 1, start))
    two.publish(numberedAt(301, 50, 1, start))
    const { gateway } = await openGateway([one.address, two.address])
    const client = await Client.open(gateway as unknown as StreamServer, `?last=100${more}`, subprotocol)
    expect(await client.closed()).toBe(1000)
    expect(client.ids).toEqual(range(251, 100))
  })

  test('an agent that is missing is told as a gap of its node', async () => {
    const [one, two] = await Promise.all([openAgent(1), openAgent(2)])
    one.publish(numbered(1, 10))
    const { gateway } = await openGateway([one.address, two.address])
    await expect
      .poll(async () => (await statuses(gateway)).map(({ nodeName }) => nodeName))
      .toEqual(['n1', 'n2'])
    await two.close()
    await expect.poll(() => gateway.connected).toBe(1)
    const client = await Client.open(gateway as unknown as StreamServer, '?last=100')
    expect(await client.closed()).toBe(1000)
    expect(client.ids).toEqual(range(1, 10))
    expect(client.frames.flatMap(({ lost }) => lost ?? [])).toMatchObject([
      { nodeName: 'n2', stage: 'GATEWAY', unit: 'RECORDS', count: 0 },
    ])
  })
})

test("agents are spoken to by TLS and the gateway's certificate, and nobody else gets in", async () => {
  const authority = new Authority()
  ends.push(() => authority.remove())
  const served = authority.issue('agent')
  const shown = authority.issue('gateway', 'clientAuth')
  const tls = { cert: served.certFile, key: served.keyFile, clientCa: authority.caFile }
  const one = await openAgent(1, { listen: '0.0.0.0:0', security: { tls } })
  const url = `wss://127.0.0.1:${one.address.split(':')[1]}`
  const open = (credentials: AgentCredentials) =>
    Gateway.open(
      {
        agents: [url],
        credentials,
        listen: { host: '127.0.0.1', port: 0 },
        historyBytes: 1 << 20,
        insecure: false,
      },
      SILENT,
    )
  const right = await open({ caFile: authority.caFile, certFile: shown.certFile, keyFile: shown.keyFile })
  ends.push(() => right.close())
  await expect.poll(() => right.connected, { timeout: 10_000 }).toBe(1)
  const stranger = await open({ caFile: authority.caFile })
  ends.push(() => stranger.close())
  await expect.poll(async () => (await statuses(stranger))[0]?.problem).toContain('A token is needed')
  await expect(open({ caFile: '/nonexistent' })).rejects.toMatchObject({ code: 'USAGE', exitCode: 2 })
})
