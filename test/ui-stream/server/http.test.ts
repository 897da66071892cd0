import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { StreamServer } from '../../../ui-stream/server/server.js'
import { Client, closeAll, numbered, openServer, SILENT } from './harness.js'
import { get, refused } from './requests.js'

afterEach(closeAll)

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
