// A tuple that is used again: each connection is a flow of its own, with what its socket sent and no packet of another's.

import { afterEach, expect, it } from 'vitest'
import { endpoint, type TcpReport, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'
import { RunningAgent, sums } from './agent.js'

const VIP = '10.96.7.7'

let bed: Testbed | undefined
let running: RunningAgent | undefined

afterEach(async () => {
  await running?.kill()
  running = undefined
  await bed?.close()
  bed = undefined
})

it.each([
  ['the pod itself, conntrack read at the hook', false, []],
  ['a ClusterIP, conntrack read at the hook', true, []],
  ['a ClusterIP, conntrack told by ctnetlink', true, ['--disable-feature', 'conntrack']],
])(
  'each of five connections from one source port to %s, one after the other',
  async (_, vip, flags) => {
    bed = await Testbed.create('reuse')
    const node = await bed.node('n1')
    const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })]
    await bed.services([
      {
        namespace: 'default',
        name: 'web',
        clusterIP: VIP,
        ports: [{ port: 80, targetPort: 8080 }],
        backends: [server],
      },
    ])
    const agent = await RunningAgent.start(bed, node, 'n1', { flags })
    running = agent
    const tcp = await tcpServer(server, 8080)
    const reports: TcpReport[] = []
    for (let i = 0; i < 5; i++) {
      // by RST, so that no TIME_WAIT keeps the port; the third pauses longer than entries linger
      if (i === 3) await new Promise((wake) => setTimeout(wake, 3500))
      reports.push(
        await tcpConnect(client, endpoint(vip ? VIP : server.ip, vip ? 80 : 8080), {
          count: 1,
          sourcePort: 23_456,
          reset: true,
          bytesOut: 1000 * (i + 1),
          bytesIn: 500,
        }),
      )
    }
    await tcp.stop()
    const closed = () => agent.flows.filter((f) => f.protocol === 'TCP' && f.event === 'CLOSED')
    await agent.until('five closed', () => closed().length >= 5)
    await agent.close()
    const flows = agent.flows.filter((f) => f.protocol === 'TCP')
    const ids = [...new Set(flows.map((f) => f.id))]
    expect(ids, agent.summary()).toHaveLength(5)
    expect(
      ids.map((id) => sums(flows.filter((f) => f.id === id)).forward),
      agent.summary(),
    ).toEqual(reports.map((r) => r.segmentsOut + 1)) // and the RST, sent when nobody asks the socket any more
    expect(closed()).toHaveLength(5)
    for (const flow of flows.filter((f) => f.event === 'CLOSED'))
      expect(flow).toMatchObject({
        endReason: 'RST',
        source: { ip: client.ip },
        destination: { ip: server.ip },
      })
  },
  60_000,
)
