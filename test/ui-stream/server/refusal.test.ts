import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { Client, closeAll, numbered, openServer, range } from './harness.js'
import { get } from './requests.js'

afterEach(closeAll)

describe('what clients get wrong', () => {
  it.each([
    ['?pod=', 'BAD_FILTER', 'pod'],
    ['?port=http', 'BAD_FILTER', 'a port from 1 to 65535'],
    ['?from-verdict=DROPPED', 'BAD_QUERY', 'from-verdict'],
    ['?namespce=default', 'BAD_QUERY', 'namespce'],
    ['?last=many', 'BAD_QUERY', 'last'],
    ['?since=yesterday', 'BAD_QUERY', 'since'],
    ['?cursor=x', 'BAD_CURSOR', 'cursor'],
    ['?filter=flow.port==80', 'BAD_FILTER', 'Unknown variable: flow'],
    ['?filter=verdict', 'BAD_FILTER', 'it says string'],
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
