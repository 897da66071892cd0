// A thousand interfaces at once, and names that change faster than anybody can follow.

import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { RunningAgent } from '../e2e/agent.js'
import { endpoint, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'

const COUNT = 1000

it('a thousand veths come, are renamed three times each, and go; the agent counts on', async () => {
  const bed = await Testbed.create('thousand')
  try {
    const node = await bed.node('n1')
    const client = await node.pod({ name: 'client' })
    const server = await node.pod({ name: 'server' })
    const agent = await RunningAgent.start(bed, node, 'n1')
    try {
      const batch = (lines: readonly string[]): void => {
        execFileSync('ip', ['-n', node.netns, '-batch', '-'], { input: `${lines.join('\n')}\n` })
      }
      const all = Array.from({ length: COUNT }, (_, i) => i)
      const attached = async (prefix: string): Promise<number> =>
        (await agent.status()).interfaces.filter((i) => (i.attach ?? '') !== '' && i.name?.startsWith(prefix))
          .length
      const until = async (what: string, test: () => Promise<boolean>): Promise<void> => {
        const end = Date.now() + 180_000
        while (!(await test())) {
          if (Date.now() > end) throw new Error(`not within 180 s: ${what}`)
          await new Promise((wake) => setTimeout(wake, 200))
        }
      }
      batch(all.map((i) => `link add vt${i} type veth peer name p${i} netns ${client.netns}`))
      const began = performance.now()
      await until('all attached', async () => (await attached('vt')) === COUNT)
      console.log(`${COUNT} veths attached after ${((performance.now() - began) / 1000).toFixed(1)} s`)
      for (const name of ['va', 'vb', 'vc'])
        batch(all.map((i) => `link set ${{ va: 'vt', vb: 'va', vc: 'vb' }[name]}${i} name ${name}${i}`))
      await until('all renamed', async () => (await attached('vc')) === COUNT)
      const tcp = await tcpServer(server, 7600)
      const sent = await tcpConnect(client, endpoint(server.ip, 7600), {
        count: 500,
        rate: 500,
        bytesOut: 100,
        bytesIn: 100,
      })
      await tcp.stop()
      const closed = () => agent.flows.filter((f) => f.destination?.port === 7600 && f.event === 'CLOSED')
      await agent.until('all closed', () => closed().length >= 500, 30_000)
      expect(closed().reduce((sum, f) => sum + f.forward.totalPackets, 0)).toBe(sent.segmentsOut)
      batch(all.map((i) => `link del vc${i}`))
      await until('all gone', async () => (await attached('vc')) === 0)
      expect(agent.lost).toEqual([])
    } finally {
      await agent.kill()
    }
  } finally {
    await bed.close()
  }
}, 600_000)
