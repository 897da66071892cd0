// A thousand interfaces at once, and names that change faster than anybody can follow: all are hooked in the end, the
// event loop goes on meanwhile, and what the others carry is counted to the packet.

import { expect, it } from 'vitest'
import { Stage } from '../../ui-stream/protocol/messages.js'
import { RunningAgent } from '../e2e/agent.js'
import { LOOP_PROBE, longestTurn } from '../e2e/loop-probe.js'
import { endpoint, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'

const COUNT = 1000

it('a thousand veths come, are renamed three times each, and go; the agent counts on', async () => {
  const bed = await Testbed.create('thousand')
  try {
    const node = await bed.node('n1')
    const client = await node.pod({ name: 'client' })
    const server = await node.pod({ name: 'server' })
    const agent = await RunningAgent.start(bed, node, 'n1', { env: LOOP_PROBE })
    try {
      const all = Array.from({ length: COUNT }, (_, i) => i)
      const attached = async (prefix: string): Promise<number> =>
        (await agent.status()).interfaces.filter((i) => i.attach === 'tcx' && i.name?.startsWith(prefix))
          .length
      const seconds = async (what: string, test: () => Promise<boolean>): Promise<string> => {
        const began = performance.now()
        while (!(await test())) {
          if (performance.now() - began > 180_000) throw new Error(`not within 180 s: ${what}`)
          await new Promise((wake) => setTimeout(wake, 200))
        }
        return ((performance.now() - began) / 1000).toFixed(1)
      }
      // ip(8) waits for the same lock in the kernel as attaching does.
      const configure = (lines: readonly string[]) =>
        node.exec(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n`, timeoutMs: 240_000 })
      // Connections go on all the time, and are counted to the packet.
      const tcp = await tcpServer(server, 7600)
      const sending = tcpConnect(client, endpoint(server.ip, 7600), {
        count: 4000,
        rate: 100,
        bytesOut: 100,
        bytesIn: 100,
      })
      await longestTurn(agent)
      await node.configure(
        ...all.map((i) => `link add vt${i} type veth peer name p${i} netns ${client.netns}`),
      )
      const hooked = await seconds('all attached', async () => (await attached('vt')) === COUNT)
      const turns = [await longestTurn(agent)]
      for (const [from, to] of [
        ['vt', 'va'],
        ['va', 'vb'],
        ['vb', 'vc'],
      ])
        await configure(all.map((i) => `link set ${from}${i} name ${to}${i}`))
      const renamed = await seconds('all renamed', async () => (await attached('vc')) === COUNT)
      turns.push(await longestTurn(agent))
      const sent = await sending
      await tcp.stop()
      const closed = () => agent.flows.filter((f) => f.destination?.port === 7600 && f.event === 'CLOSED')
      await agent.until('all closed', () => closed().length >= 4000, 30_000)
      expect(closed().reduce((sum, f) => sum + f.forward.totalPackets, 0)).toBe(sent.segmentsOut)
      await configure(all.map((i) => `link del vc${i}`))
      const gone = await seconds('all gone', async () => (await attached('vc')) === 0)
      turns.push(await longestTurn(agent))
      console.log(
        `${COUNT} veths hooked after ${hooked} s, known by their last name after ${renamed} s, let go after ${gone} s; ` +
          `longest turn of the loop ${turns.map((ms) => ms.toFixed(0)).join(', ')} ms`,
      )
      expect(agent.lost.filter(({ stage }) => stage !== Stage.STAGE_UNATTACHED)).toEqual([])
      expect(Math.max(...turns)).toBeLessThan(100)
    } finally {
      await agent.kill()
    }
  } finally {
    await bed.close()
  }
}, 600_000)
