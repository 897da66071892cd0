// The agent comes and goes on a node that lives: interfaces appear and vanish under it, it is killed, the kernel lacks
// something. What it took it gives back, and what it cannot do it says.

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { withNetns } from '../../agent/kernel/netns.js'
import { programName, queryTcx } from '../../agent/kernel/tcx.js'
import { endpoint, type Node, type Pod, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'
import { CLI, RunningAgent, sums } from './agent.js'

/** Less than this stays of 300 veths. */
const RSS_KEPT_KB = 10_000

let bed: Testbed | undefined
const agents: RunningAgent[] = []

afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.kill()))
  await bed?.close()
  bed = undefined
})

async function pair(name: string): Promise<{ node: Node; client: Pod; server: Pod }> {
  bed = await Testbed.create(name)
  const node = await bed.node('n1')
  return { node, client: await node.pod({ name: 'client' }), server: await node.pod({ name: 'server' }) }
}

async function start(node: Node, flags: readonly string[] = []): Promise<RunningAgent> {
  const agent = await RunningAgent.start(bed!, node, 'n1', { flags })
  agents.push(agent)
  return agent
}

/** The programs on the hooks of every interface of a node, one `interface program` a line: tcx, then clsact. */
function attached(node: Node): string {
  const links = JSON.parse(execFileSync('ip', ['-n', node.netns, '-j', 'link'], { encoding: 'utf8' })) as {
    ifindex: number
    ifname: string
  }[]
  const tcx = withNetns(node.path, () =>
    links.flatMap(({ ifindex, ifname }) =>
      [false, true].flatMap((egress) => {
        const ids = queryTcx(ifindex, egress)
        return typeof ids === 'number' ? [] : ids.map((id) => `${ifname} ${programName(id)}`)
      }),
    ),
  )
  const clsact = execFileSync('ip', ['netns', 'exec', node.netns, 'bpftool', 'net', 'show'], {
    encoding: 'utf8',
  })
  return `${tcx.join('\n')}\n${clsact}`
}

/** Of a process; `ip netns exec` and `setpriv` exec into what they start, so a task's pid is the agent's. */
function memoryOf(pid: number): { rssKb: number; descriptors: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return {
    rssKb: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  }
}

/** Makes `count` veths with their peers in a namespace of the node's, waits for `seen`, and removes them. */
async function churn(node: Node, pod: Pod, count: number, seen: () => Promise<void>): Promise<void> {
  const names = Array.from({ length: count }, (_, i) => `vchurn${i}`)
  // Not synchronously: a connection of the status that nobody looks after for seconds is closed by the server.
  await node.configure(
    ...names.map((name, i) => `link add ${name} type veth peer name p${i} netns ${pod.netns}`),
  )
  await node.configure(...names.map((name) => `link set ${name} up`))
  await seen()
  await node.configure(...names.map((name) => `link del ${name}`))
}

async function untilStatus(
  agent: RunningAgent,
  what: string,
  test: (names: string[]) => boolean,
): Promise<number> {
  const began = performance.now()
  for (;;) {
    const { interfaces } = await agent.status()
    const names = interfaces.filter((i) => i.attach !== undefined && i.attach !== '').map((i) => i.name ?? '')
    if (test(names)) return performance.now() - began
    if (performance.now() - began > 40_000) throw new Error(`not within 40 s: ${what}`)
    await new Promise((wake) => setTimeout(wake, 250))
  }
}

describe('an agent', () => {
  it('is on a new veth within a second', async () => {
    const { node, client } = await pair('newveth')
    const agent = await start(node)
    execFileSync('ip', [
      '-n',
      node.netns,
      'link',
      'add',
      'vnew',
      'type',
      'veth',
      'peer',
      'name',
      'pnew',
      'netns',
      client.netns,
    ])
    const ms = await untilStatus(agent, 'vnew attached', (names) => names.includes('vnew'))
    console.log(`attached after ${ms.toFixed(0)} ms`)
    expect(ms).toBeLessThan(1000)
    // and the pod that comes while it runs is seen from its first connection on
    const late = await node.pod({ name: 'late' })
    const tcp = await tcpServer(late, 7400)
    const sent = await tcpConnect(client, endpoint(late.ip, tcp.port), {
      count: 1,
      bytesOut: 100,
      bytesIn: 100,
    })
    await tcp.stop()
    await agent.until('closed', (a) =>
      a.flows.some((f) => f.destination?.port === 7400 && f.event === 'CLOSED'),
    )
    expect(sums(agent.flows.filter((f) => f.destination?.port === 7400))).toMatchObject({
      forward: sent.segmentsOut,
    })
  }, 60_000)

  it('keeps nothing of 300 veths that came and went', async () => {
    const { node, client } = await pair('churn')
    const agent = await start(node)
    const { pid } = agent.task
    const all = (count: number) => async () => {
      await untilStatus(
        agent,
        `${count} attached`,
        (names) => names.filter((n) => n.startsWith('vchurn')).length === count,
      )
    }
    const none = () => untilStatus(agent, 'none left', (names) => !names.some((n) => n.startsWith('vchurn')))
    const hooks = () => agent.metric('vethflow_interface_other_packets_total')
    // the first round takes what stays: code that is compiled, pages of buffers
    await churn(node, client, 60, all(60))
    await none()
    await hooks()
    const before = memoryOf(pid)
    await churn(node, client, 300, all(300))
    await none()
    await hooks()
    // what is garbage is not kept: asking on makes the collector come round
    let after = memoryOf(pid)
    for (let asked = 0; asked < 200 && after.rssKb - before.rssKb >= RSS_KEPT_KB; asked++) {
      await hooks()
      after = memoryOf(pid)
    }
    console.log(`before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`)
    expect(after.descriptors).toBe(before.descriptors)
    expect(after.rssKb - before.rssKb).toBeLessThan(RSS_KEPT_KB)
    expect(attached(node)).not.toMatch(/vchurn/)
  }, 90_000)

  it('leaves nothing on the hooks when it is killed, and detaches when it is told to stop', async () => {
    const { node } = await pair('killed')
    const first = await start(node)
    expect(attached(node)).toMatch(/veth_ingress/)
    await first.kill()
    expect(attached(node)).not.toMatch(/veth_ingress|veth_egress|uplink_/)
    const second = await start(node)
    await second.close()
    expect(attached(node)).not.toMatch(/veth_ingress|veth_egress|uplink_/)
  }, 60_000)

  it('on clsact is swept after a kill by the next start and by detach', async () => {
    const { node } = await pair('swept')
    const flags = ['--disable-feature', 'tcx']
    const first = await start(node, flags)
    await first.kill()
    expect(attached(node)).toMatch(/veth_ingress/)
    await node.exec([process.execPath, CLI, 'detach'])
    expect(attached(node)).not.toMatch(/veth_ingress|veth_egress|uplink_/)
    const second = await start(node, flags)
    await second.kill()
    expect(attached(node)).toMatch(/veth_ingress/)
    const third = await start(node)
    expect(attached(node).match(/veth_ingress/g)).toHaveLength(2)
    await third.close()
    expect(attached(node)).not.toMatch(/veth_ingress|veth_egress|uplink_/)
  }, 90_000)

  it.each([
    'btf',
    'ring_buffer',
    'atomic_fetch',
    'batch',
    'tcx',
    'conntrack',
    'ctnetlink',
    'conntrack ctnetlink',
  ])(
    'without %s does all that does not hang on it',
    async (features) => {
      const missing = features.split(' ')
      const { node, client, server } = await pair(`no-${features.replaceAll(/[_ ]/g, '')}`)
      await bed!.services([
        {
          namespace: 'default',
          name: 'web',
          clusterIP: '10.96.8.8',
          ports: [{ port: 80, targetPort: 8080 }],
          backends: [server],
        },
      ])
      const agent = await start(
        node,
        missing.flatMap((name) => ['--disable-feature', name]),
      )
      const found = Object.fromEntries((await agent.status()).features.map((f) => [f.name, f.enabled]))
      const expected: Record<string, boolean> = {
        btf: true,
        ring_buffer: true,
        boot_clock: true,
        atomic_fetch: true,
        batch: true,
        tcx: true,
        clsact: true,
        conntrack: true,
        ctnetlink: true,
        sockets: true,
        socket_walk: true,
      }
      for (const name of missing) expected[name] = false
      if (features === 'btf') expected.conntrack = false
      if (features === 'btf' || features === 'ring_buffer') expected.sockets = false
      expected.socket_walk = expected.sockets === true
      expect(found).toEqual(expected)
      // translations are read at the hook or told by netlink; only without both they are two flows
      const joins = expected.conntrack || expected.ctnetlink
      const tcp = await tcpServer(server, 8080)
      const direct = await tcpConnect(client, endpoint(server.ip, 8080), {
        count: 5,
        bytesOut: 5000,
        bytesIn: 5000,
      })
      await tcpConnect(client, '10.96.8.8:80', { count: 1, bytesOut: 100, bytesIn: 100 })
      await tcp.stop()
      const mine = () =>
        agent.flows.filter(
          (f) =>
            f.service?.ip !== '10.96.8.8' &&
            f.destination?.ip === server.ip &&
            f.destination?.port === 8080 &&
            f.source?.ip === client.ip,
        )
      await agent.until(
        'closed',
        (a) =>
          a.latest().filter((f) => f.protocol === 'TCP' && f.event === 'CLOSED').length >= (joins ? 6 : 7),
      )
      await agent.close()
      const joined = agent
        .latest()
        .filter((f) => f.service?.ip === '10.96.8.8' && f.destination?.ip === server.ip)
      expect(joined).toHaveLength(joins ? 1 : 0)
      if (joins)
        expect(sums(mine())).toMatchObject({
          forward: direct.segmentsOut,
          reverse: direct.segmentsIn,
          consistent: true,
        })
    },
    60_000,
  )
})
