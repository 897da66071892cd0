import { afterEach, describe, expect, it } from 'vitest'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { Client, closeAll, numbered, openServer, range } from './harness.js'

afterEach(closeAll)

describe('history for clients', () => {
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

    // Of another run: a loss of unknown size up to where this one began, then all that there is.
    const stranger = await Client.open(server, '?cursor=run0:3040&history=true')
    await stranger.until(() => stranger.received >= 3105)
    expect(stranger.ids).toEqual(range(1, 3105))
    const [begin, gap] = stranger.frames
    expect(begin!.history).toMatchObject({
      begins: '2026-09-21T14:13:20.000001Z',
      records: 3105,
      resumed: false,
    })
    expect(gap!.lost).toEqual({
      nodeName: 'node-1',
      stage: 'AGENT',
      unit: 'RECORDS',
      count: 0,
      until: begin!.history!.started,
    })
    expect(Date.parse(begin!.history!.started!)).toBeGreaterThan(Date.now() - 60_000)
    const known = await Client.open(server, '?cursor=run1:3100&history=true', Subprotocol.JSON)
    await known.until(() => known.received >= 5)
    expect(known.frames[0]!.history!.resumed).toBe(true)
    expect(known.frames.some((frame) => frame.lost)).toBe(false)
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
})
