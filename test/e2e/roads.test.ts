// The roads on which counting is hard: wherever a connection is translated, wrapped or redirected on a node, that node
// tells it as one flow, with each direction exactly what the sockets sent.

import { closeSync } from 'node:fs'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { withNetns } from '../../agent/kernel/netns.js'
import { appendTcx, foreignProgram } from '../agent/kernel/support.js'
import {
  endpoint,
  type Namespace,
  type Node,
  type Pod,
  type TcpReport,
  Testbed,
  tcpConnect,
  tcpServer,
} from '../testbed/index.js'
import { type FlowJson, RunningAgent, sums } from './agent.js'

const VIP = '10.96.7.7'
const BYTES = { bytesOut: 300_000, bytesIn: 700_000 }

let bed: Testbed | undefined
const agents: RunningAgent[] = []

afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.kill()))
  await bed?.close()
  bed = undefined
})

/** How the agent learns of translations; the whole file runs once with each. */
let conntrack: readonly string[] = []

async function agent(node: Node, name: string, flags: readonly string[] = []): Promise<RunningAgent> {
  const running = await RunningAgent.start(bed!, node, name, { flags: [...flags, ...conntrack] })
  agents.push(running)
  return running
}

/**
 * What the client's socket counted: segments out and in, SYN and SYN+ACK included. (The server's own count lacks the
 * SYN+ACK, which the kernel sends before there is a socket.)
 */
interface Exchange {
  readonly sent: TcpReport
}

/** One connection from `from` to `to`, served by `backend` at `port`. */
async function exchange(from: Namespace, to: string, backend: Namespace, port: number): Promise<Exchange> {
  const server = await tcpServer(backend, port)
  const sent = await tcpConnect(from, to, { count: 1, ...BYTES })
  await server.stop()
  expect(sent).toMatchObject({ ok: 1 })
  return { sent }
}

/** Ends the agent and expects that it told exactly one TCP flow, counted as the sockets did. */
async function expectOneFlow(running: RunningAgent, { sent }: Exchange): Promise<FlowJson> {
  await running.until('closed', (a) => a.flows.some((f) => f.protocol === 'TCP' && f.event === 'CLOSED'))
  await running.close()
  const flows = running.flows.filter((f) => f.protocol === 'TCP')
  const ids = new Set(flows.map((f) => f.id))
  const told = sums(flows)
  expect(
    { flows: ids.size, forward: told.forward, reverse: told.reverse, consistent: told.consistent },
    running.summary(),
  ).toEqual({ flows: 1, forward: sent.segmentsOut, reverse: sent.segmentsIn, consistent: true })
  expect(running.lost).toEqual([])
  expect(flows.filter((f) => f.event === 'OPENED')).toHaveLength(1)
  expect(flows.filter((f) => f.event === 'CLOSED')).toHaveLength(1)
  return flows.at(-1)!
}

function service(port: number, targetPort: number, backends: readonly Pod[], nodePort?: number) {
  return [
    {
      namespace: 'default',
      name: 'web',
      clusterIP: VIP,
      ports: [{ port, targetPort, ...(nodePort === undefined ? {} : { nodePort }) }],
      backends,
    },
  ]
}

describe.each([
  ['read at the hook', []],
  ['told by ctnetlink', ['--disable-feature', 'conntrack']],
])('with conntrack %s: one flow on', (_, flags) => {
  beforeAll(() => {
    conntrack = flags
  })

  it('a ClusterIP whose backend is on the same node', async () => {
    bed = await Testbed.create('cip')
    const node = await bed.node('n1')
    const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })]
    await bed.services(service(80, 8080, [server]))
    const running = await agent(node, 'n1')
    const flow = await expectOneFlow(running, await exchange(client, endpoint(VIP, 80), server, 8080))
    expect(flow.source).toMatchObject({ ip: client.ip })
    expect(flow.destination).toMatchObject({ ip: server.ip, port: 8080 })
    expect(flow.translation).toMatchObject({ destinationIp: server.ip, destinationPort: 8080 })
  }, 60_000)

  it.each([
    ['every hook', []],
    ['no hook on the overlay device', ['--exclude-interface', 'flannel*']],
    ['no hook on the uplink', ['--exclude-interface', 'eth*']],
  ])(
    'a ClusterIP with a backend behind VXLAN, %s',
    async (_, flags) => {
      bed = await Testbed.create('vxlan')
      const [n1, n2] = [await bed.node('n1'), await bed.node('n2')]
      await bed.vxlan()
      const [client, server] = [await n1.pod({ name: 'client' }), await n2.pod({ name: 'server' })]
      await bed.services(service(80, 8080, [server]))
      const [a1, a2] = [await agent(n1, 'n1', flags), await agent(n2, 'n2', flags)]
      const done = await exchange(client, endpoint(VIP, 80), server, 8080)
      const near = await expectOneFlow(a1, done)
      const far = await expectOneFlow(a2, done)
      expect(near.destination).toMatchObject({ ip: server.ip, port: 8080 })
      expect(near.source).toMatchObject({ ip: client.ip })
      expect(far.source).toMatchObject({ ip: client.ip })
      if (flags.length === 0)
        expect(near.tunnel).toMatchObject({ type: 'VXLAN', source: n1.ip, destination: n2.ip })
    },
    60_000,
  )

  it('a hairpin: a pod that reaches itself through a ClusterIP', async () => {
    bed = await Testbed.create('hairpin')
    const node = await bed.node('n1')
    const pod = await node.pod({ name: 'self' })
    await bed.services(service(80, 8080, [pod]))
    const running = await agent(node, 'n1')
    const flow = await expectOneFlow(running, await exchange(pod, endpoint(VIP, 80), pod, 8080))
    expect(flow.source).toMatchObject({ ip: pod.ip })
    expect(flow.destination).toMatchObject({ ip: pod.ip, port: 8080 })
  }, 60_000)

  it.each([
    ['at veth and uplink', []],
    ['at the uplink only', ['--interface', 'eth0']],
    ['at the veth only', ['--interface', 'veth*']],
  ])(
    'a pod that speaks to the world as the node, seen %s',
    async (_, flags) => {
      bed = await Testbed.create('masq')
      const node = await bed.node('n1')
      const pod = await node.pod({ name: 'client' })
      const world = await bed.world('outside')
      const running = await agent(node, 'n1', flags)
      const flow = await expectOneFlow(running, await exchange(pod, endpoint(world.ip, 443), world, 443))
      expect(flow.source).toMatchObject({ ip: pod.ip })
      expect(flow.destination).toMatchObject({ ip: world.ip, port: 443 })
      if (!flags.includes('veth*')) expect(flow.translation).toMatchObject({ sourceIp: node.ip })
    },
    60_000,
  )

  it("a node's own process to a ClusterIP, its backend here", async () => {
    bed = await Testbed.create('proc')
    const node = await bed.node('n1')
    const server = await node.pod({ name: 'server' })
    await bed.services(service(80, 8080, [server]))
    const running = await agent(node, 'n1')
    const flow = await expectOneFlow(running, await exchange(node, endpoint(VIP, 80), server, 8080))
    expect(flow.service).toMatchObject({ ip: VIP, port: 80 })
    expect(flow.destination).toMatchObject({ ip: server.ip, port: 8080 })
  }, 60_000)

  it("a node's own process to a ClusterIP, its backend on another node", async () => {
    bed = await Testbed.create('procfar')
    const [n1, n2] = [await bed.node('n1'), await bed.node('n2')]
    await bed.routes()
    const server = await n2.pod({ name: 'server' })
    await bed.services(service(80, 8080, [server]))
    const [a1, a2] = [await agent(n1, 'n1'), await agent(n2, 'n2')]
    const done = await exchange(n1, endpoint(VIP, 80), server, 8080)
    const near = await expectOneFlow(a1, done)
    await expectOneFlow(a2, done)
    expect(near.destination).toMatchObject({ ip: server.ip, port: 8080 })
  }, 60_000)

  it.each([
    ['here', true],
    ['on another node', false],
  ])(
    'a NodePort with its backend %s',
    async (_, local) => {
      bed = await Testbed.create('nodeport')
      const [n1, n2] = [await bed.node('n1'), await bed.node('n2')]
      await bed.routes()
      const server = await (local ? n1 : n2).pod({ name: 'server' })
      const world = await bed.world('outside')
      await bed.services(service(80, 8080, [server], 30080))
      const [a1, a2] = [await agent(n1, 'n1'), await agent(n2, 'n2')]
      const done = await exchange(world, endpoint(n1.ip, 30080), server, 8080)
      const near = await expectOneFlow(a1, done)
      expect(near.source).toMatchObject({ ip: world.ip })
      expect(near.destination).toMatchObject({ ip: server.ip, port: 8080 })
      expect(near.service).toMatchObject({ ip: n1.ip, port: 30080 })
      if (!local) await expectOneFlow(a2, done)
    },
    60_000,
  )

  it('two pods between which a neighbour on the hook redirects past the other hooks', async () => {
    bed = await Testbed.create('peer')
    const node = await bed.node('n1')
    const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })]
    const running = await agent(node, 'n1')
    // bpf_redirect_peer: from one host-side veth straight into the other pod
    const held = withNetns(node.path, () =>
      [
        [client.hostIfindex, server.hostIfindex] as const,
        [server.hostIfindex, client.hostIfindex] as const,
      ].flatMap(([from, to]) => {
        const program = foreignProgram({ redirectPeer: to })
        return [program, appendTcx(program, from, false)]
      }),
    )
    try {
      const flow = await expectOneFlow(
        running,
        await exchange(client, endpoint(server.ip, 8080), server, 8080),
      )
      expect(flow.observations).toEqual([
        { interface: client.hostVeth, direction: 'INGRESS' },
        { interface: server.hostVeth, direction: 'INGRESS' },
      ])
    } finally {
      for (const fd of held) closeSync(fd)
    }
  }, 60_000)

  it.each([
    ['on the same node', true],
    ['behind VXLAN', false],
  ])(
    'a ClusterIP connection that was open before the agent, backend %s',
    async (_, local) => {
      bed = await Testbed.create('mid')
      const [n1, n2] = [await bed.node('n1'), await bed.node('n2')]
      await bed.vxlan()
      const [client, server] = [
        await n1.pod({ name: 'client' }),
        await (local ? n1 : n2).pod({ name: 'server' }),
      ]
      await bed.services(service(80, 8080, [server]))
      // a dialogue of one line each way, begun before the agent; 25 lines more from when it has come
      const listening = await server.start(['socat', '-d', '-d', 'TCP-LISTEN:8080,reuseaddr', 'SYSTEM:cat'])
      await listening.said(/listening on/)
      const talking = await client.start([
        'perl',
        '-MIO::Socket::INET',
        '-e',
        `my $s = IO::Socket::INET->new("${VIP}:80") or die $!; $| = 1;
       my $left; $SIG{USR1} = sub { $left = 25 };
       for (my $n = 0; !defined $left || $left-- > 0; $n++) {
         print $s "line $n\n"; my $back = <$s>; print "got $back"; select(undef, undef, undef, 0.1) }
       close $s; print "done\n"`,
      ])
      await talking.said(/got line 3/)
      const running = await agent(n1, 'n1')
      await running.until('told', (a) => a.flows.some((f) => f.protocol === 'TCP'), 5000)
      process.kill(talking.pid, 'SIGUSR1')
      await talking.said(/^done$/m, 20_000)
      await running.until('closed', (a) => a.flows.some((f) => f.protocol === 'TCP' && f.event === 'CLOSED'))
      await running.close()
      const flows = running.flows.filter((f) => f.protocol === 'TCP')
      expect(new Set(flows.map((f) => f.id)).size, running.summary()).toBe(1)
      const last = flows.at(-1)!
      expect(last.source).toMatchObject({ ip: client.ip })
      expect(last.service).toMatchObject({ ip: VIP, port: 80 })
      expect(last.destination).toMatchObject({ ip: server.ip, port: 8080 })
      const told = sums(flows)
      expect(told.consistent).toBe(true)
      // each line is a segment and its answer, whose acknowledgement goes with the next line or alone
      expect(Math.abs(told.forward - told.reverse)).toBeLessThanOrEqual(told.forward / 2 + 2)
      expect(told.reverse).toBeGreaterThanOrEqual(20)
    },
    60_000,
  )

  it.each([
    ['the pod itself', (_: Pod) => 8080, false],
    ['a ClusterIP', () => 80, true],
  ])(
    'each of five connections that use one source port to %s, one after the other',
    async (_, port, vip) => {
      bed = await Testbed.create('reuse')
      const node = await bed.node('n1')
      const [client, server] = [await node.pod({ name: 'client' }), await node.pod({ name: 'server' })]
      await bed.services(service(80, 8080, [server]))
      const running = await agent(node, 'n1')
      const tcp = await tcpServer(server, 8080)
      const reports: TcpReport[] = []
      for (let i = 0; i < 5; i++) {
        // by RST, so that no TIME_WAIT keeps the port; the third pauses longer than entries linger
        if (i === 3) await new Promise((wake) => setTimeout(wake, 3500))
        reports.push(
          await tcpConnect(client, endpoint(vip ? VIP : server.ip, port(server)), {
            count: 1,
            sourcePort: 23_456,
            reset: true,
            bytesOut: 1000 * (i + 1),
            bytesIn: 500,
          }),
        )
      }
      await tcp.stop()
      const closed = () => running.flows.filter((f) => f.protocol === 'TCP' && f.event === 'CLOSED')
      await running.until('five closed', () => closed().length >= 5)
      await running.close()
      const flows = running.flows.filter((f) => f.protocol === 'TCP')
      const ids = [...new Set(flows.map((f) => f.id))]
      expect(ids, running.summary()).toHaveLength(5)
      expect(
        ids.map((id) => sums(flows.filter((f) => f.id === id)).forward),
        running.summary(),
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
})
