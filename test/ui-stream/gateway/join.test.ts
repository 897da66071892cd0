// One record of what two nodes tell: who leads, what becomes of the other's counters, and that none of them gets lost.

import { describe, expect, test } from 'vitest'
import { GatewayDemand, NOTHING, unionOf, type Wanted } from '../../../ui-stream/gateway/demand.js'
import { Endpoints } from '../../../ui-stream/gateway/discover.js'
import { Join } from '../../../ui-stream/gateway/join.js'
import { Reorder } from '../../../ui-stream/gateway/reorder.js'
import { Event, type FlowMessage } from '../../../ui-stream/protocol/messages.js'

const count = (packets: number, totalPackets: number) => ({
  packets,
  bytes: packets * 100,
  totalPackets,
  totalBytes: totalPackets * 100,
})
const ip = (last: number) => Uint8Array.of(10, 0, 0, last)

/** A connection from a pod of n1 to one of n2, as `node` tells it. */
function told(
  node: string,
  event: number,
  forward: [number, number],
  more: Partial<FlowMessage> = {},
): FlowMessage {
  return {
    id: node === 'n1' ? 7 : 70,
    agentId: `run-${node}`,
    nodeName: node,
    event,
    timeUs: 1000,
    protocol: 6,
    source: { ip: ip(1), port: 40_000, nodeName: 'n1' },
    destination: { ip: ip(2), port: 80, nodeName: 'n2' },
    forward: count(...forward),
    reverse: count(0, 0),
    ...more,
  }
}
const { EVENT_OPENED: OPENED, EVENT_UPDATED: UPDATED, EVENT_CLOSED: CLOSED, EVENT_DROPPED: DROPPED } = Event
const short = ({ id, event, forward, views }: FlowMessage) => ({
  id,
  event,
  packets: forward?.packets,
  views: views?.map(({ nodeName, forward }) => [nodeName, forward?.packets, forward?.totalPackets]),
})

describe('join', () => {
  test("the source's node leads, also when the other's record is in front; views come with its next record", () => {
    const join = new Join()
    const [first, second] = [told('n2', OPENED, [1, 1]), told('n1', OPENED, [1, 1])]
    for (const flow of [first, second]) join.announce(flow, 0)
    expect(join.join(first, 0)).toEqual([])
    expect(join.join(second, 0).map(short)).toEqual([
      {
        id: 7,
        event: OPENED,
        packets: 1,
        views: [
          ['n1', 1, 1],
          ['n2', 1, 1],
        ],
      },
    ])
    expect(join.join(told('n1', UPDATED, [5, 6]), 10).map(short)).toEqual([
      { id: 7, event: UPDATED, packets: 5, views: undefined },
    ])
    // Two of the other's are one view, deltas added up.
    expect(join.join(told('n2', UPDATED, [2, 3]), 20)).toEqual([])
    expect(join.join(told('n2', UPDATED, [3, 6]), 30)).toEqual([])
    const [closed] = join.join(told('n1', CLOSED, [0, 6]), 40)
    expect(short(closed!)).toEqual({
      id: 7,
      event: CLOSED,
      packets: 0,
      views: [
        ['n1', 0, 6],
        ['n2', 5, 6],
      ],
    })
    expect(closed).toMatchObject({ nodeName: 'n1', agentId: 'run-n1' })
  })

  test('a view behind CLOSED is told by one more UPDATED, with deltas of zero; then the connection is forgotten', () => {
    const join = new Join()
    join.join(told('n1', CLOSED, [4, 4]), 0)
    expect(join.join(told('n2', CLOSED, [4, 4], { timeUs: 2000 }), 100)).toEqual([])
    expect(join.late(500)).toEqual([])
    expect(join.late(700).map(short)).toEqual([
      {
        id: 7,
        event: UPDATED,
        packets: 0,
        views: [
          ['n1', 0, 4],
          ['n2', 4, 4],
        ],
      },
    ])
    expect(join.late(800)).toEqual([])
    join.late(20_000)
    expect(join.size).toBe(0)
  })

  test('a view that the leader has nothing more to say to is told after six seconds, or at the end', () => {
    const join = new Join()
    join.join(told('n1', OPENED, [1, 1]), 0)
    join.join(told('n2', OPENED, [1, 1]), 0)
    expect(join.late(6000)).toEqual([])
    expect(join.late(6001).map(short)).toEqual([
      {
        id: 7,
        event: UPDATED,
        packets: 0,
        views: [
          ['n1', 0, 1],
          ['n2', 1, 1],
        ],
      },
    ])
    join.join(told('n2', UPDATED, [2, 3]), 7000)
    expect(join.end().map(short)).toEqual([
      {
        id: 7,
        event: UPDATED,
        packets: 0,
        views: [
          ['n1', 0, 1],
          ['n2', 2, 3],
        ],
      },
    ])
  })

  test("where the source's node is not there, the other leads for the connection's life", () => {
    const join = new Join()
    expect(join.join(told('n2', OPENED, [1, 1]), 0).map(short)).toEqual([
      { id: 70, event: OPENED, packets: 1, views: undefined },
    ])
    join.announce(told('n1', UPDATED, [1, 1]), 10)
    expect(join.join(told('n1', UPDATED, [1, 1]), 10)).toEqual([])
    expect(join.join(told('n2', CLOSED, [1, 2]), 20).map(short)).toEqual([
      {
        id: 70,
        event: CLOSED,
        packets: 1,
        views: [
          ['n2', 1, 2],
          ['n1', 1, 1],
        ],
      },
    ])
  })

  test('the two agree also where the one translates the source, or takes the other end for the opener', () => {
    const join = new Join()
    const translation = { sourceIp: ip(99), sourcePort: 50_000 }
    join.join(told('n1', OPENED, [1, 1], { translation }), 0)
    const seen = { source: { ip: ip(99), port: 50_000, nodeName: 'n1' } }
    expect(join.join(told('n2', OPENED, [1, 1], seen), 0)).toEqual([])
    const turned = new Join()
    turned.join(told('n1', OPENED, [1, 1]), 0)
    const flow = told('n2', UPDATED, [0, 0])
    turned.join(
      {
        ...flow,
        source: flow.destination!,
        destination: flow.source!,
        forward: count(3, 3),
        reverse: count(1, 1),
      },
      0,
    )
    const [record] = turned.join(told('n1', UPDATED, [0, 1]), 0)
    expect(record?.views?.[1]).toMatchObject({
      nodeName: 'n2',
      forward: { packets: 1 },
      reverse: { packets: 3 },
    })
  })

  test('what cannot be joined goes on as it is', () => {
    const join = new Join()
    const within = told('n1', OPENED, [1, 1], { destination: { ip: ip(2), port: 80, nodeName: 'n1' } })
    const world = told('n1', OPENED, [1, 1], { destination: { ip: ip(2), port: 80 } })
    const icmp = told('n1', OPENED, [1, 1], { protocol: 1 })
    for (const flow of [within, world, icmp]) expect(join.join(flow, 0)).toEqual([flow])
    expect(join.size).toBe(0)
  })

  test("packets that the other node dropped are told at once, as the leader's connection", () => {
    const join = new Join()
    join.join(told('n1', OPENED, [1, 1]), 0)
    const [dropped] = join.join(told('n2', DROPPED, [0, 1], { drop: { reason: 'X', packets: 2 } }), 1)
    expect(dropped).toMatchObject({
      id: 7,
      nodeName: 'n1',
      drop: { packets: 2 },
      views: [{ nodeName: 'n2' }],
    })
  })

  test('no more connections than allowed are kept, and no counter is lost with those that go', () => {
    const join = new Join(100)
    let given = 0
    const sum = (flows: readonly FlowMessage[]) => {
      for (const { forward, views } of flows) {
        given += views?.reduce((all, view) => all + (view.forward?.packets ?? 0), 0) ?? forward?.packets ?? 0
      }
    }
    for (let port = 1; port <= 1000; port++) {
      const ends = { source: { ip: ip(1), port, nodeName: 'n1' } }
      sum(join.join(told('n1', OPENED, [1, 1], ends), port))
      sum(join.join(told('n2', OPENED, [1, 1], ends), port))
      expect(join.size).toBeLessThanOrEqual(100)
    }
    sum(join.late(1001))
    sum(join.end())
    // The leader's own packets stand in its record and are zero where that is repeated.
    expect(given).toBe(2000)
    expect(join.forgotten).toBe(900)
  })
})

describe('order', () => {
  const flow = (timeUs: number) => ({ timeUs })
  test('flows are let go by time, and wait no longer than told', async () => {
    const released: number[] = []
    const order = new Reorder((flows) => released.push(...flows.map(({ timeUs }) => timeUs ?? 0)), {
      holdMs: 60,
    })
    const began = performance.now()
    order.push([flow(5), flow(7)])
    order.push([flow(2), flow(9), flow(1)])
    await expect.poll(() => released.length, { interval: 5 }).toBe(5)
    expect(released).toEqual([1, 2, 5, 7, 9])
    expect(performance.now() - began).toBeGreaterThanOrEqual(60)
    order.push([flow(4), flow(3)])
    order.flush()
    expect(released.slice(5)).toEqual([3, 4])
    order.close()
  })

  test('no more than allowed wait; none is lost', () => {
    let released = 0
    const order = new Reorder(
      (flows) => {
        released += flows.length
      },
      { mostWaiting: 1000 },
    )
    for (let i = 0; i < 100; i++) {
      order.push(Array.from({ length: 100 }, (_, n) => flow(i * 100 + n)))
      expect(order.waiting).toBeLessThanOrEqual(1000)
    }
    order.close()
    expect(released).toBe(10_000)
  })
})

describe('demand', () => {
  const spec = (name: string, values: string[], negate = false) => ({ name, values, negate })
  test.each([
    ['nobody', [], NOTHING],
    ['one who wants all', [{ filters: [] }], { filters: [], labels: false, own: false }],
    [
      'the same filter: the values of both',
      [{ filters: [spec('port', ['80'])] }, { filters: [spec('port', ['443']), spec('namespace', ['a'])] }],
      { filters: [spec('port', ['443', '80'])], labels: false, own: false },
    ],
    [
      'excluded is what all exclude',
      [{ filters: [spec('port', ['53', '80'], true)] }, { filters: [spec('port', ['53'], true)] }],
      { filters: [spec('port', ['53'], true)], labels: false, own: false },
    ],
    [
      'different filters: everything',
      [{ filters: [spec('port', ['80'])] }, { filters: [spec('node', ['a'])], own: true }],
      { filters: [], labels: false, own: true },
    ],
    [
      'an expression may ask for labels',
      [{ filters: [], expression: 'true' }],
      { filters: [], labels: true, own: false },
    ],
  ])('%s', (_name, subscriptions, wanted) => {
    expect(unionOf(subscriptions)).toEqual(wanted)
  })

  test('who has left is remembered for a while', async () => {
    const changes: Wanted[] = []
    const demand = new GatewayDemand((wanted) => changes.push(wanted), 50)
    const client = {}
    demand.set(client, { filters: [] })
    await expect.poll(() => changes.length).toBe(1)
    demand.delete(client)
    demand.apply()
    expect(demand.current.filters).toEqual([])
    await expect.poll(() => demand.current).toEqual(NOTHING)
    demand.close()
  })
})

describe('discovery', () => {
  const slice = (name: string, addresses: (readonly [string, string])[], port?: number) => ({
    metadata: { name, namespace: 'kube-system' },
    ports:
      port === undefined
        ? []
        : [
            { port: 9, protocol: 'UDP' },
            { port, protocol: 'TCP' },
          ],
    endpoints: addresses.map(([address, nodeName]) => ({
      addresses: [address],
      nodeName,
      conditions: { ready: false },
    })),
  })
  test('agents come and go with slices, ready or not, each once', () => {
    const told: string[][] = []
    const endpoints = new Endpoints((agents) =>
      told.push(agents.map(({ address, nodeName }) => `${nodeName} ${address}`)),
    )
    endpoints.begin('EndpointSlice')
    endpoints.upsert(
      'EndpointSlice',
      slice(
        'a',
        [
          ['10.0.0.1', 'n1'],
          ['10.0.0.2', 'n2'],
        ],
        4280,
      ),
    )
    endpoints.upsert(
      'EndpointSlice',
      slice(
        'b',
        [
          ['10.0.0.2', 'n2'],
          ['fd00::1', 'n3'],
        ],
        4280,
      ),
    )
    endpoints.commit('EndpointSlice')
    expect(told).toEqual([['n1 10.0.0.1:4280', 'n2 10.0.0.2:4280', 'n3 [fd00::1]:4280']])
    endpoints.remove('EndpointSlice', slice('b', []))
    endpoints.upsert('EndpointSlice', slice('a', [['10.0.0.1', 'n1']]))
    endpoints.upsert('EndpointSlice', slice('a', [['10.0.0.1', 'n1']]))
    expect(told.slice(1)).toEqual([['n1 10.0.0.1:4280', 'n2 10.0.0.2:4280'], ['n1 10.0.0.1:4280']])
    expect(endpoints.upsert('EndpointSlice', { metadata: {} })).toBe(false)
    endpoints.begin('EndpointSlice')
    endpoints.commit('EndpointSlice')
    expect(told.at(-1)).toEqual([])
  })
})
