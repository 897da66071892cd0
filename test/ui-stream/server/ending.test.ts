import { afterEach, describe, expect, it } from 'vitest'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { Client, closeAll, numbered, openServer, range } from './harness.js'

afterEach(closeAll)

describe('how connections end', () => {
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
})
