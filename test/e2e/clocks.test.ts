// Time that does not go as it should: the wall clock steps by an hour in both directions, and the agent stands still for
// a while, as on a machine that was suspended or starved. Counts stay exact, and no record says that it ended before it
// began. The agent is a real one; only its view of the wall clock is shifted (test/testbed/timeshift.c).

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { endpoint, Testbed, tcpConnect, tcpServer, tool } from '../testbed/index.js'
import { RunningAgent, sums } from './agent.js'

const HOUR_MS = 3_600_000
const STANDS_MS = Number(process.env.VETHFLOW_STANDSTILL_SECONDS ?? 3) * 1000

let bed: Testbed | undefined
let agent: RunningAgent | undefined
let folder: string | undefined

afterEach(async () => {
  await agent?.kill()
  agent = undefined
  await bed?.close()
  bed = undefined
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
  folder = undefined
})

async function start(name: string, env: Readonly<Record<string, string>>) {
  bed = await Testbed.create(name)
  const node = await bed.node('n1')
  const client = await node.pod({ name: 'client' })
  const server = await node.pod({ name: 'server' })
  agent = await RunningAgent.start(bed, node, 'n1', { env })
  return { client, server, agent }
}

describe('the wall clock', () => {
  it('steps an hour on, two hours back and an hour on: counts are exact, nothing ends before it began', async () => {
    folder = mkdtempSync(join(tmpdir(), 'vethflow-clock-'))
    const file = join(folder, 'shift')
    const shift = (ms: number): void => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigInt64LE(BigInt(ms) * 1_000_000n)
      // In place: the process has the file mapped.
      writeFileSync(file, bytes, { flag: 'r+' })
    }
    writeFileSync(file, Buffer.alloc(8))
    const { client, server, agent } = await start('clocks', {
      LD_PRELOAD: await tool('timeshift.so'),
      VETHFLOW_TIMESHIFT: file,
    })
    const tcp = await tcpServer(server, 7700)
    // 8 s of connections, and one that lives through all of it.
    const short = tcpConnect(client, endpoint(server.ip, 7700), {
      count: 400,
      rate: 50,
      bytesOut: 300,
      bytesIn: 700,
    })
    const from = Date.now()
    const seen: number[] = []
    for (const ms of [HOUR_MS, -HOUR_MS, 0]) {
      const before = agent.flows.length
      await agent.until('records', () => agent.flows.length > before + 20)
      shift(ms)
      // Records are stamped by the clock as it is now: the newest differ from ours by the shift.
      await agent.until(
        'the step is seen',
        () => Math.abs(Date.parse(agent.flows.at(-1)?.time ?? '') - Date.now() - ms) < 60_000,
      )
      seen.push(ms)
    }
    expect(seen).toEqual([HOUR_MS, -HOUR_MS, 0])
    const sent = await short
    await tcp.stop()
    const mine = () => agent.flows.filter((f) => f.destination?.port === 7700)
    await agent.until('all closed', () => mine().filter((f) => f.event === 'CLOSED').length >= 400, 20_000)
    expect(sums(mine())).toMatchObject({
      forward: sent.segmentsOut,
      reverse: sent.segmentsIn,
      consistent: true,
    })
    expect(new Set(mine().map((f) => f.id)).size).toBe(400)
    expect(agent.lost).toEqual([])
    for (const flow of agent.flows) {
      const lasted = Date.parse(flow.endTime ?? '') - Date.parse(flow.startTime ?? '')
      // No connection of this test lasts longer than the test, whatever the clock does.
      expect(lasted).toBeGreaterThanOrEqual(0)
      expect(lasted).toBeLessThanOrEqual(Date.now() - from + 60_000)
    }
  }, 60_000)
})

describe('an agent that stands still', () => {
  it(`for ${STANDS_MS / 1000} s counts all that flew meanwhile, and goes on`, async () => {
    const { client, server, agent } = await start('still', {})
    const tcp = await tcpServer(server, 7701)
    const options = { rate: 500, bytesOut: 300, bytesIn: 700 }
    const first = await tcpConnect(client, endpoint(server.ip, 7701), { ...options, count: 200 })
    agent.task.signal('SIGSTOP')
    const began = Date.now()
    const meanwhile = await tcpConnect(client, endpoint(server.ip, 7701), {
      ...options,
      count: (STANDS_MS / 1000) * 500,
    })
    await new Promise((wake) => setTimeout(wake, Math.max(0, STANDS_MS - (Date.now() - began))))
    agent.task.signal('SIGCONT')
    const last = await tcpConnect(client, endpoint(server.ip, 7701), { ...options, count: 200 })
    await tcp.stop()
    const all = 400 + (STANDS_MS / 1000) * 500
    const mine = () => agent.flows.filter((f) => f.destination?.port === 7701)
    await agent.until('all closed', () => mine().filter((f) => f.event === 'CLOSED').length >= all, 30_000)
    expect(sums(mine())).toMatchObject({
      forward: first.segmentsOut + meanwhile.segmentsOut + last.segmentsOut,
      reverse: first.segmentsIn + meanwhile.segmentsIn + last.segmentsIn,
      consistent: true,
    })
    // Told late, but of when they flew: all within the standstill, none at its end.
    const during = mine().filter((f) => f.event === 'OPENED' && Date.parse(f.startTime ?? '') >= began)
    const late = during.filter((f) => Date.parse(f.startTime ?? '') - began < STANDS_MS - 100)
    expect(late.length).toBeGreaterThan((STANDS_MS / 1000) * 250)
    expect(agent.lost).toEqual([])
  }, 120_000)
})
