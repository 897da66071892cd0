import { afterEach, describe, expect, it } from 'vitest'
import { ClientMessage } from '../../../ui-stream/protocol/messages.js'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { Client, closeAll, numbered, openServer, range } from './harness.js'

afterEach(closeAll)

describe('a subscription', () => {
  it.each([...Object.values(Subprotocol), ''])('streams by %j', async (subprotocol) => {
    const server = await openServer()
    const client = await Client.open(server, '', subprotocol)
    expect(client.socket.protocol).toBe(subprotocol)
    await client.sync()
    server.publish(numbered(1, 300))
    server.publishLost([
      { nodeName: 'node-1', stage: 1, unit: 2, count: 7, sinceUs: 1_000_000, untilUs: 2_000_000 },
    ])
    server.publish(numbered(301, 50))
    await client.until(() => client.received === 350)
    expect(client.ids).toEqual(range(1, 350))
    expect(client.cursor).toBe('run1:350')
    expect(client.frames.filter((frame) => frame.flow).map((frame) => frame.cursor)).toEqual(
      range(1, 350).map((sequence) => `run1:${sequence}`),
    )
    const lost = client.frames.flatMap((frame) => frame.lost ?? [])
    expect(lost).toEqual([
      {
        nodeName: 'node-1',
        stage: 'KERNEL_MAP',
        unit: 'PACKETS',
        count: 7,
        since: '1970-01-01T00:00:01.000000Z',
        until: '1970-01-01T00:00:02.000000Z',
      },
    ])
  })

  it('says the same in both subprotocols', async () => {
    const server = await openServer()
    const [binary, text] = [
      await Client.open(server, '?own=true', Subprotocol.PROTOBUF),
      await Client.open(server, '?own=true', Subprotocol.JSON),
    ]
    await Promise.all([binary.sync(), text.sync()])
    server.publish(numbered(1, 200))
    await Promise.all([binary, text].map((client) => client.until(() => client.received === 200)))
    expect(binary.frames).toEqual(text.frames)
  })

  it('filters per client, and changes the filter without reconnecting', async () => {
    const server = await openServer()
    const named = numbered(1, 400)
    const tcp = range(0, 400).filter((row) => named.flows.protocol[row] === 6)
    const udp = range(0, 400).filter((row) => named.flows.protocol[row] === 17)
    const all = await Client.open(server)
    const some = await Client.open(server, '?protocol=tcp')
    const json = await Client.open(server, '?wait=true', Subprotocol.JSON)
    await Promise.all([all.sync(), some.sync(), json.sync()])
    server.publish(named)
    await some.until(() => some.received >= tcp.length)
    some.socket.send(
      ClientMessage.encode({ subscribe: { filters: [{ name: 'protocol', values: ['17'] }] } }).finish(),
    )
    json.socket.send(
      JSON.stringify({ subscribe: { filters: [{ name: 'protocol', values: ['TCP'], negate: true }] } }),
    )
    await Promise.all([some.sync(), json.sync()])
    server.publish(named)
    await all.until(() => all.received === 800)
    await Promise.all([some.sync(), json.sync()])
    expect(some.ids).toEqual([...tcp, ...udp].map((row) => row + 1))
    expect(json.ids).toEqual(range(1, 400).filter((id) => !tcp.includes(id - 1)))
  })

  it('sends labels and own flows only to those who ask', async () => {
    const server = await openServer()
    const plain = await Client.open(server)
    const asking = await Client.open(server, '?labels=true&own=true')
    await Promise.all([plain.sync(), asking.sync()])
    const named = numbered(1, 300)
    for (let row = 0; row < 300; row += 3) named.flows.flags[row] = 8
    server.publish(named)
    await asking.until(() => asking.received === 300)
    await plain.sync()
    expect(plain.flows.length).toBe(200)
    expect(plain.flows.some((flow) => flow.own)).toBe(false)
    expect(plain.flows.some((flow) => flow.source?.labels ?? flow.destination?.labels)).toBe(false)
    for (const [row, flow] of asking.flows.entries()) {
      expect(flow.source?.labels).toEqual(named.source[row]!.labels)
      expect(flow.destination?.labels).toEqual(named.destination[row]!.labels)
    }
    const { labels: _, ...source } = asking.flows[1]!.source!
    expect(source).toEqual(plain.flows[0]!.source)
    const replayed = await Client.open(server, '?last=1000&labels=true&own=true')
    await replayed.closed()
    expect(replayed.frames).toEqual(asking.frames)
  })

  it('keeps frames below what clients accept, however large the labels', async () => {
    const server = await openServer()
    const named = numbered(1, 1500)
    const labels = Object.fromEntries(range(0, 60).map((i) => [`label-${i}`, 'v'.repeat(63)]))
    for (let row = 0; row < 1500; row++) named.source[row] = { kind: 1, pod: 'p', labels }
    const live = await Client.open(server, '?labels=true')
    await live.sync()
    server.publish(named)
    const replayed = await Client.open(server, '?labels=true&last=1500')
    await replayed.closed()
    await live.until(() => live.received === 1500)
    for (const client of [live, replayed]) {
      expect(client.ids).toEqual(range(1, 1500))
      expect(client.flows[1499]!.source!.labels).toEqual(labels)
      expect(Math.max(...client.sizes)).toBeLessThan(1024 * 1024)
      expect(client.sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(6e6)
    }
  })

  it('sends status to those who ask', async () => {
    const server = await openServer()
    const client = await Client.open(server, '?status=true', Subprotocol.JSON)
    await client.until(() => client.frames.length > 0)
    expect(client.frames[0]!.status).toMatchObject({
      nodeName: 'node-1',
      capturing: true,
      clients: 1,
      historyBytes: 0,
    })
  })

  it('publishes what other servers sent, with every field and the right filters', async () => {
    const agent = await openServer({ agentId: 'a', nodeName: 'node-a' })
    const gateway = await openServer({ agentId: 'gw', nodeName: 'gateway' })
    const { StreamMessage } = await import('../../../ui-stream/protocol/messages.js')
    const upstream = await Client.open(agent, '?labels=true&own=true')
    upstream.socket.on('message', (data: Buffer) => gateway.publishFlows(StreamMessage.decode(data).flows))
    const queries = [
      '?own=true&labels=true',
      '?pod=default/web',
      '?label=app=web',
      '?node=node-a&port=80',
      '?interface=veth3',
    ]
    const direct = await Promise.all(queries.map((query) => Client.open(agent, query)))
    const merged = await Promise.all(queries.map((query) => Client.open(gateway, query)))
    await Promise.all([...direct, ...merged].map((client) => client.sync()))
    const named = numbered(1, 500)
    for (let row = 0; row < 500; row += 5) named.flows.flags[row] = 8
    agent.publish(named)
    await merged[0]!.until(() => merged[0]!.received === 500)
    await Promise.all([...direct, ...merged].map((client) => client.sync()))
    for (const [i, client] of direct.entries()) {
      expect(client.flows.length).toBeGreaterThan(10)
      expect(merged[i]!.flows).toEqual(client.flows)
    }
    expect(merged[0]!.cursor).toBe('gw:500')
    expect(merged[0]!.flows[0]!.nodeName).toBe('node-a')
    expect(merged[0]!.flows[0]!.agentId).toBe('a')
  })
})
