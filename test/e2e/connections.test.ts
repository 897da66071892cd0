// Many short connections: each is opened once and closed once, with the right ends, and shown soon.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endpoint, type Node, type Pod, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'
import { CLI, type FlowJson, RunningAgent, sums } from './agent.js'

describe('short connections', () => {
  let bed: Testbed
  let node: Node
  let client: Pod
  let server: Pod

  beforeAll(async () => {
    bed = await Testbed.create('short')
    node = await bed.node('n1')
    client = await node.pod({ name: 'client' })
    server = await node.pod({ name: 'server' })
  })
  afterAll(() => bed?.close())

  it('20,000 at 2,000 a second are 20,000 OPENED and 20,000 CLOSED, or told as lost', async () => {
    const agent = await RunningAgent.start(bed, node, 'n1')
    try {
      const tcp = await tcpServer(server, 7100)
      const sent = await tcpConnect(client, endpoint(server.ip, tcp.port), {
        count: 20_000,
        rate: 2000,
        bytesOut: 100,
        bytesIn: 100,
      })
      await tcp.stop()
      expect(sent.ok).toBe(20_000)
      const mine = () => agent.flows.filter((f) => f.destination?.port === 7100)
      const count = (event: string) => mine().filter((f) => f.event === event).length
      const lost = () => agent.lost.reduce((sum, { count }) => sum + (count ?? 0), 0)
      await agent.until('all closed', () => count('CLOSED') + lost() >= 20_000, 20_000)
      await agent.close()
      console.log(`OPENED ${count('OPENED')}, CLOSED ${count('CLOSED')}, lost ${lost()}`)
      expect(count('OPENED') + lost()).toBe(20_000)
      expect(count('CLOSED') + lost()).toBe(20_000)
      expect(lost()).toBe(0)
      const opened = new Set(
        mine()
          .filter((f) => f.event === 'OPENED')
          .map((f) => f.id),
      )
      expect(opened.size).toBe(20_000)
      for (const flow of mine())
        if (flow.source?.ip !== client.ip || flow.destination?.ip !== server.ip)
          throw new Error(`wrong ends: ${JSON.stringify(flow)}`)
      const told = sums(mine())
      expect(told).toMatchObject({ forward: sent.segmentsOut, reverse: sent.segmentsIn, consistent: true })
    } finally {
      await agent.kill()
    }
  }, 120_000)

  it('from the first packet to the printed line: p99 under 250 ms at 1,000 a second', async () => {
    const agent = await RunningAgent.start(bed, node, 'n1')
    const argv = ['tail', '-o', 'json', '--protocol', 'tcp', '--port', '7200', '--event', 'opened']
    const tail = spawn('ip', ['netns', 'exec', node.netns, process.execPath, CLI, ...argv], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const delays: number[] = []
    let rest = ''
    tail.stdout.setEncoding('utf8').on('data', (text: string) => {
      const now = performance.timeOrigin + performance.now()
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const { flow } = JSON.parse(line) as { flow?: FlowJson }
        if (flow !== undefined) delays.push(now - microseconds(flow.startTime!) / 1000)
      }
    })
    try {
      while ((await agent.status()).clients < 2) await new Promise((wake) => setTimeout(wake, 20))
      const tcp = await tcpServer(server, 7200)
      await tcpConnect(client, endpoint(server.ip, tcp.port), {
        count: 10_000,
        rate: 1000,
        bytesOut: 100,
        bytesIn: 100,
      })
      await tcp.stop()
      const end = Date.now() + 10_000
      while (delays.length < 10_000 && Date.now() < end) await once(tail.stdout, 'data')
      delays.sort((a, b) => a - b)
      const at = (share: number) => delays[Math.floor(delays.length * share)]!
      console.log(
        `first packet to printed line: median ${at(0.5).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms, max ${delays.at(-1)!.toFixed(1)} ms`,
      )
      expect(delays).toHaveLength(10_000)
      expect(delays[0]).toBeGreaterThan(0)
      expect(at(0.99)).toBeLessThan(250)
    } finally {
      tail.kill('SIGINT')
      await agent.kill()
    }
  }, 120_000)
})

/** RFC 3339 with microseconds, which Date does not keep. */
function microseconds(time: string): number {
  const [seconds = '', fraction = ''] = time.replace('Z', '').split('.')
  return Date.parse(`${seconds}Z`) * 1000 + Number(fraction.padEnd(6, '0').slice(0, 6))
}
