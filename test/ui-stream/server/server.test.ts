import { request } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { ClientMessage } from '../../../ui-stream/protocol/messages.js'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { StreamServer } from '../../../ui-stream/server/server.js'
import { Client, closeAll, numbered, openServer, range, SILENT } from './harness.js'

afterEach(closeAll)

interface Answer {
  status: number
  body: string
  type: string | undefined
}

/** One plain request, with any Host header. */
function get(
  server: StreamServer,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<Answer> {
  const [host, port] = server.address.split(':')
  return new Promise((resolve, reject) => {
    const req = request({ host, port: Number(port), path, headers, method }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        body += part
      })
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body, type: response.headers['content-type'] })
      })
    })
    req.on('error', reject)
    req.end()
  })
}

/** The HTTP answer to an upgrade that is refused. */
function refused(server: StreamServer, path: string, offer: string[], headers = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${server.address}${path}`, offer, { headers })
    socket.on('open', () => reject(new Error('was accepted')))
    socket.on('error', () => {})
    socket.on('unexpected-response', (_request, response) => {
      let body = ''
      response.on('data', (part: Buffer) => {
        body += part.toString()
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, type: undefined }))
    })
  })
}

describe('StreamServer', () => {
  it.each([Subprotocol.PROTOBUF, Subprotocol.JSON, ''])('streams by %j', async (subprotocol) => {
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

  it('replays history by last, since and cursor, then goes on without gap or duplicate', async () => {
    const server = await openServer()
    for (let first = 1; first <= 3000; first += 100) server.publish(numbered(first, 100))
    const last = await Client.open(server, '?last=10')
    expect(await last.closed()).toBe(1000)
    expect(last.ids).toEqual(range(2991, 10))

    const following = await Client.open(server, '?last=2500&follow=true', Subprotocol.JSON)
    server.publish(numbered(3001, 100))
    await following.until(() => following.received >= 2600)
    expect(following.ids).toEqual(range(501, 2600))

    const since = await Client.open(
      server,
      '?since=2026-09-21T14:13:20.002900Z&until=2026-09-21T14:13:20.003050Z',
    )
    expect(await since.closed()).toBe(1000)
    expect(since.ids).toEqual(range(2900, 151))

    const resumed = await Client.open(server, '?cursor=run1:3040')
    await resumed.until(() => resumed.received >= 60)
    server.publish(numbered(3101, 5))
    await resumed.until(() => resumed.received >= 65)
    expect(resumed.ids).toEqual(range(3041, 65))

    const stranger = await Client.open(server, '?cursor=run0:3040')
    await stranger.until(() => stranger.received >= 3105)
    expect(stranger.ids).toEqual(range(1, 3105))
  })

  it('says what fell out of history before a cursor', async () => {
    const server = await openServer({ historyBytes: 256 * 1024 })
    for (let first = 1; first <= 5000; first += 100) server.publish(numbered(first, 100))
    const client = await Client.open(server, '?cursor=run1:10')
    await client.until(() => client.cursor === 'run1:5000')
    expect(client.flows.length).toBeGreaterThan(100)
    expect(client.lost).toBeGreaterThan(100)
    expect(client.flows.length + client.lost).toBe(4990)
    expect(client.frames[0]!.lost!.count).toBe(client.lost)
  })

  it('ends a stream that follows when until has passed', async () => {
    const server = await openServer()
    const until = new Date(Date.now() + 300).toISOString()
    const client = await Client.open(server, `?follow=true&until=${until}`)
    await client.sync()
    server.publish(numbered(1, 3, 1, 1_000_000))
    expect(await client.closed()).toBe(1000)
    expect(client.ids).toEqual([1, 2, 3])
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

  it('closes with 1001 after sending what waits', async () => {
    const server = await openServer()
    const clients = [await Client.open(server), await Client.open(server, '', Subprotocol.JSON)]
    await Promise.all(clients.map((client) => client.sync()))
    server.publish(numbered(1, 2000))
    await server.close()
    for (const client of clients) {
      expect(await client.closed()).toBe(1001)
      expect(client.ids).toEqual(range(1, 2000))
    }
    expect(server.clients).toBe(0)
  })

  it('ends clients that do not answer pings', async () => {
    const server = await openServer({ pingIntervalMs: 50 })
    const well = await Client.open(server)
    const dead = await Client.open(server)
    const { _socket: raw } = dead.socket as unknown as { _socket: { pause(): void; resume(): void } }
    raw.pause()
    let pings = 0
    well.socket.on('ping', () => pings++)
    while (server.clients > 1) await new Promise((resolve) => well.socket.once('ping', resolve))
    expect(pings).toBeGreaterThan(0)
    raw.resume()
    expect(await dead.closed()).toBe(1006)
    await well.sync()
    expect(server.clients).toBe(1)
  })

  it('refuses more clients than it may have', async () => {
    const server = await openServer({ maxClients: 1 })
    await Client.open(server)
    const second = await Client.open(server)
    expect(await second.closed()).toBe(1013)
    expect(second.frames[0]!.error!.code).toBe('TOO_MANY_CLIENTS')
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

describe('what clients get wrong', () => {
  it.each([
    ['?pod=', 'BAD_FILTER', 'pod'],
    ['?port=http', 'BAD_FILTER', 'a port from 1 to 65535'],
    ['?from-verdict=DROPPED', 'BAD_QUERY', 'from-verdict'],
    ['?from-service=web', 'BAD_FILTER', 'to-service'],
    ['?namespce=default', 'BAD_QUERY', 'namespce'],
    ['?last=many', 'BAD_QUERY', 'last'],
    ['?since=yesterday', 'BAD_QUERY', 'since'],
    ['?cursor=x', 'BAD_CURSOR', 'cursor'],
    ['?filter=flow.port==80', 'FILTER_UNSUPPORTED', 'expressions'],
    ['?wait=true&ip=10.0.0.300', 'BAD_FILTER', 'ip'],
  ])('%s is refused with %s', async (query, code, text) => {
    const server = await openServer()
    for (const subprotocol of Object.values(Subprotocol)) {
      const client = await Client.open(server, query, subprotocol)
      expect(await client.closed()).toBe(1008)
      expect(client.frames).toHaveLength(1)
      expect(client.frames[0]!.error!.code).toBe(code)
      expect(client.frames[0]!.error!.message).toContain(text)
    }
  })

  it('keeps the old subscription when a new one is bad', async () => {
    const server = await openServer()
    const client = await Client.open(server, '?protocol=6', Subprotocol.JSON)
    client.socket.send('{"subscribe": {"filters": [{"name": "port", "values": ["x"]}]}}')
    await client.until(() => client.frames.length === 1)
    expect(client.frames[0]!.error!.code).toBe('BAD_FILTER')
    const named = numbered(1, 100)
    server.publish(named)
    await client.sync()
    expect(client.ids).toEqual(range(1, 100).filter((id) => named.flows.protocol[id - 1] === 6))
    expect(client.closeCode).toBeUndefined()
  })

  it.each([
    ['garbage', Subprotocol.PROTOBUF, Buffer.from('ffffffffffffff', 'hex'), 1002],
    ['truncated message', Subprotocol.PROTOBUF, Buffer.from('0a7f0102', 'hex'), 1002],
    ['unknown message', Subprotocol.PROTOBUF, Buffer.from('5a0101', 'hex'), 1002],
    ['empty message', Subprotocol.PROTOBUF, Buffer.alloc(0), 1002],
    ['text on protobuf', Subprotocol.PROTOBUF, '{}', 1002],
    ['no JSON', Subprotocol.JSON, '{"subscribe":', 1002],
    ['unknown JSON', Subprotocol.JSON, '{"hello": 1}', 1002],
    ['JSON that is no object', Subprotocol.JSON, 'null', 1002],
    ['binary on JSON', Subprotocol.JSON, Buffer.from('{}'), 1002],
    ['1 MB of JSON', Subprotocol.JSON, JSON.stringify({ subscribe: { expression: 'x'.repeat(1e6) } }), 1009],
    ['1 MB of protobuf', Subprotocol.PROTOBUF, Buffer.alloc(1e6), 1009],
  ])('%s is answered and harms nobody', async (_, subprotocol, data, code) => {
    const server = await openServer()
    const neighbour = await Client.open(server)
    const client = await Client.open(server, '', subprotocol)
    client.socket.send(data)
    expect(await client.closed()).toBe(code)
    if (code === 1002) expect(client.frames[0]!.error!.code).toBe('BAD_MESSAGE')
    server.publish(numbered(1, 10))
    await neighbour.until(() => neighbour.received === 10)
  })

  it('stops a client that subscribes without end', async () => {
    const server = await openServer()
    const client = await Client.open(server, '', Subprotocol.JSON)
    for (let i = 0; i < 60; i++) client.socket.send('{"subscribe": {"last": 1000000, "follow": true}}')
    expect(await client.closed()).toBe(1002)
  })

  it('survives bytes that are no WebSocket', async () => {
    const server = await openServer()
    const [host, port] = server.address.split(':')
    for (const text of [
      '\x00\x01\x02\x03',
      'GET / HTTP/1.1\r\n\r\n',
      `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`,
    ]) {
      await new Promise((resolve) => {
        const socket = connect(Number(port), host!, () => socket.write(text))
        socket.on('error', resolve)
        socket.on('data', () => socket.end())
        socket.on('close', resolve)
      })
    }
    expect((await get(server, '/healthz')).status).toBe(200)
  })
})

describe('HTTP', () => {
  it('answers health, readiness, status, metrics and the root page', async () => {
    let ready = false
    const server = await openServer({ ready: () => ready })
    expect(await get(server, '/healthz')).toMatchObject({ status: 200, body: 'ok\n' })
    expect(await get(server, '/readyz')).toMatchObject({ status: 503, body: 'not ready\n' })
    ready = true
    expect(await get(server, '/readyz')).toMatchObject({ status: 200, body: 'ready\n' })
    server.publish(numbered(1, 12))
    server.publishLost([{ stage: 2, unit: 1, count: 5 }])
    const status = await get(server, '/v1/status')
    expect(status.type).toContain('application/json')
    expect(JSON.parse(status.body)).toMatchObject({ nodeName: 'node-1', capturing: true, clients: 0 })
    const { historyBytes } = JSON.parse(status.body) as { historyBytes: number }
    expect(historyBytes).toBe(server.historyBytes)
    expect(historyBytes).toBeGreaterThan(0)
    const metrics = await get(server, '/metrics')
    expect(metrics.body).toMatch(/^vethflow_stream_records_published_total 12$/m)
    expect(metrics.body).toMatch(/^vethflow_lost_total\{stage="KERNEL_RING",unit="RECORDS"\} 5$/m)
    expect(metrics.body).toMatch(/^vethflow_history_records 12$/m)
    const root = await get(server, '/?x=1')
    for (const path of ['/v1/flows', '/v1/status', '/metrics', '/healthz', '/readyz'])
      expect(root.body).toContain(path)
    expect((await get(server, '/v1/flows')).status).toBe(426)
    expect((await get(server, '/etc/passwd')).status).toBe(404)
    expect((await get(server, '/', {}, 'POST')).status).toBe(405)
  })

  it("lists a gateway's agents", async () => {
    const server = await openServer({ status: () => [{ nodeName: 'a' }, { nodeName: 'b', connected: true }] })
    const { agents } = JSON.parse((await get(server, '/v1/status')).body) as { agents: unknown[] }
    expect(agents).toMatchObject([
      { nodeName: 'a', connected: false },
      { nodeName: 'b', connected: true },
    ])
  })

  it('refuses foreign hosts and origins', async () => {
    const server = await openServer()
    const port = server.address.split(':')[1]!
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      '127.0.0.1.evil.example',
      '[::1',
      '10.0.0.1',
    ]) {
      expect((await get(server, '/v1/status', { Host: host })).status, host).toBe(403)
      expect((await refused(server, '/v1/flows', [Subprotocol.JSON], { Host: host })).status, host).toBe(403)
    }
    for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`, 'LOCALHOST']) {
      expect((await get(server, '/v1/status', { Host: host })).status, host).toBe(200)
    }
    for (const origin of [
      'http://evil.example',
      'null',
      `http://127.0.0.1:1`,
      `http://${server.address}.evil.example`,
    ]) {
      expect(
        (await refused(server, '/v1/flows', [Subprotocol.JSON], { Origin: origin })).status,
        origin,
      ).toBe(403)
    }
    const client = await Client.open(server, '', Subprotocol.JSON, { Origin: `http://${server.address}` })
    await client.sync()
  })

  it('names the subprotocols to those who offer others', async () => {
    const server = await openServer()
    const answer = await refused(server, '/v1/flows', ['graphql-ws'])
    expect(answer.status).toBe(400)
    expect(answer.body).toContain('vethflow.v1.protobuf')
    expect((await refused(server, '/v2/flows', [Subprotocol.JSON])).status).toBe(404)
    const client = new WebSocket(`ws://${server.address}/v1/flows`, [
      'x',
      Subprotocol.JSON,
      Subprotocol.PROTOBUF,
    ])
    await new Promise((resolve) => client.once('open', resolve))
    expect(client.protocol).toBe(Subprotocol.JSON)
    client.terminate()
  })

  it('asks who may read, health apart', async () => {
    const server = await openServer({ authorize: () => ({ status: 401, message: 'A token is needed' }) })
    expect((await get(server, '/v1/status')).status).toBe(401)
    expect((await get(server, '/metrics')).status).toBe(401)
    expect((await get(server, '/healthz')).status).toBe(200)
    expect((await get(server, '/readyz')).status).toBe(200)
    expect(await refused(server, '/v1/flows', [])).toMatchObject({ status: 401, body: 'A token is needed\n' })
  })

  it('listens beyond loopback only when told that this is insecure', async () => {
    const options = {
      nodeName: 'n',
      agentId: 'a',
      version: '0',
      status: () => ({}),
      ready: () => true,
      hookInterface: () => undefined,
      log: SILENT,
    }
    for (const listen of ['0.0.0.0:0', '[::]:0', '192.0.2.1:0']) {
      await expect(StreamServer.open({ ...options, listen })).rejects.toMatchObject({
        code: 'INSECURE_LISTEN',
        exitCode: 2,
      })
    }
    for (const listen of ['4280', 'localhost', '127.0.0.1:99999', 'example.com:80', '::1:80', '']) {
      await expect(StreamServer.open({ ...options, listen })).rejects.toMatchObject({ code: 'USAGE' })
    }
    const open = await StreamServer.open({ ...options, listen: '0.0.0.0:0', insecure: true })
    const taken = `127.0.0.1:${open.address.split(':')[1]}`
    await expect(StreamServer.open({ ...options, listen: taken })).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
    })
    await open.close()
    const six = await StreamServer.open({ ...options, listen: '[::1]:0' })
    expect(six.address).toMatch(/^\[::1\]:\d+$/)
    await six.close()
  })
})
