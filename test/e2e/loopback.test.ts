// What the containers of a pod say to each other, and who forwards a port into it: `lo` inside each pod's network
// namespace. Real pods that use the same addresses and ports at the same time.

import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { withNetns } from '../../agent/kernel/netns.js'
import { programName, queryTcx } from '../../agent/kernel/tcx.js'
import type { EndpointJson } from '../../ui-stream/protocol/json-types.js'
import {
  addManifests,
  type Container,
  ContainerGroups,
  containerStatuses,
  type Namespace,
  type Node,
  type Pod,
  Testbed,
  tcpConnect,
  tcpServer,
} from '../testbed/index.js'
import { CLI, type FlowJson, RunningAgent, sums } from './agent.js'

let bed: Testbed | undefined
let groups: ContainerGroups | undefined
const agents: RunningAgent[] = []

afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.kill()))
  await bed?.close()
  groups?.close()
  bed = undefined
})

interface Set {
  readonly node: Node
  readonly pods: readonly [Pod, Pod]
  /** By pod: a server's and a client's container. */
  readonly containers: readonly (readonly [Container, Container])[]
  readonly manifests: string
}

async function setUp(name: string): Promise<Set> {
  bed = await Testbed.create(name)
  groups = new ContainerGroups()
  const node = await bed.node('n1')
  const pods = [await node.pod({ name: 'one' }), await node.pod({ name: 'two' })] as const
  const objects = bed.manifests().filter((object) => object.kind === 'Pod')
  const containers = pods.map((pod) => {
    const uid = objects.find((object) => object.metadata.name === pod.name)?.metadata.uid ?? ''
    const made = groups as ContainerGroups
    return [made.container(pod, uid, 'envoy'), made.container(pod, uid, 'app')] as const
  })
  const manifests = bed.writeManifests()
  addManifests(
    manifests,
    'pods',
    objects.map((object) => ({
      ...object,
      status: {
        ...(object.status as object),
        containerStatuses: containerStatuses(
          containers[pods.findIndex((pod) => pod.name === object.metadata.name)] ?? [],
        ),
      },
    })),
  )
  return { node, pods, containers, manifests }
}

async function start(node: Node, manifests: string, flags: readonly string[] = []): Promise<RunningAgent> {
  const agent = await RunningAgent.start(bed as Testbed, node, 'n1', {
    manifests,
    flags: ['--loopback', ...flags],
  })
  agents.push(agent)
  return agent
}

/** Until the agent says that it is on so many loopbacks; milliseconds since the call. */
async function untilEntered(agent: RunningAgent, count: number): Promise<number> {
  const began = performance.now()
  for (;;) {
    const status = await agent.status()
    const there = status.interfaces.filter(
      ({ name, attach }) => name === 'lo' && attach !== '' && attach !== undefined,
    )
    if (there.length === count) return performance.now() - began
    if (performance.now() - began > 15_000)
      throw new Error(JSON.stringify([status.interfaces, status.features]))
    await new Promise((wake) => setTimeout(wake, 10))
  }
}

/** Names of our programs on a namespace's loopback, by tcx and clsact. */
function programsOnLoopback(where: Namespace): string[] {
  const tcx = withNetns(where.path, () =>
    [false, true].flatMap((egress) => {
      const ids = queryTcx(1, egress)
      return typeof ids === 'number' ? [] : ids.map(programName)
    }),
  )
  const filters = execFileSync('tc', ['-n', where.netns, 'filter', 'show', 'dev', 'lo', 'egress'], {
    encoding: 'utf8',
  })
  return [...tcx, ...filters.matchAll(/vethflow:\w+/g)].map(String)
}

const told = (end: EndpointJson | undefined) => ({
  kind: end?.kind,
  pod: end?.pod,
  container: end?.process?.container,
  command: end?.process?.command,
})

const over = (agent: RunningAgent, port: number) => agent.flows.filter((f) => f.destination?.port === port)
const ids = (flows: readonly FlowJson[]) => [...new Set(flows.map((f) => f.id))]

describe('--loopback', () => {
  it('tells the containers of a pod apart, and 127.0.0.1 of two pods', async () => {
    const { node, containers, manifests } = await setUp('lo')
    const agent = await start(node, manifests)
    await untilEntered(agent, 2)
    const servers = await Promise.all(containers.map(([server]) => tcpServer(server, 8080)))
    // the same four numbers in both pods at the same time; the sizes tell them apart
    const sent = await Promise.all(
      containers.map(([, client], i) =>
        tcpConnect(client, '127.0.0.1:8080', {
          count: 1,
          sourcePort: 23_456,
          bytesOut: 50_000 * (i + 1),
          bytesIn: 1_000,
        }),
      ),
    )
    await agent.until('both closed', (a) => over(a, 8080).filter((f) => f.event === 'CLOSED').length === 2)
    await Promise.all(servers.map((server) => server.stop()))
    const flows = over(agent, 8080)
    expect(ids(flows)).toHaveLength(2)
    for (const [i, name] of ['one', 'two'].entries()) {
      const mine = flows.filter((f) => f.source?.pod === name)
      expect(ids(mine)).toHaveLength(1)
      const last = mine.at(-1) as FlowJson
      expect([told(last.source), told(last.destination)]).toEqual([
        { kind: 'POD', pod: name, container: 'app', command: 'traffic' },
        { kind: 'POD', pod: name, container: 'envoy', command: 'traffic' },
      ])
      expect(last).toMatchObject({
        source: { ip: '127.0.0.1', port: 23_456 },
        destination: { ip: '127.0.0.1' },
        direction: 'LOCAL',
        observations: [{ interface: 'lo', direction: 'EGRESS' }],
      })
      expect(sums(mine)).toMatchObject({
        forward: sent[i]?.segmentsOut,
        reverse: sent[i]?.segmentsIn,
        consistent: true,
      })
    }
    expect(agent.lost).toEqual([])
  }, 60_000)

  it('tells who forwards a port into a pod, a pod that speaks to its own address, and ::1', async () => {
    const { node, pods, containers, manifests } = await setUp('forward')
    const [server, client] = containers[0] as readonly [Container, Container]
    // what serves `kubectl port-forward`: the runtime, in the pod's network namespace and not in its groups
    const runtime = (groups as ContainerGroups).plain(pods[0], 'system.slice/containerd.service')
    const agent = await start(node, manifests)
    await untilEntered(agent, 2)
    const one = { kind: 'POD', pod: 'one', command: 'traffic' }
    const rows = [
      { port: 9001, from: runtime, to: '127.0.0.1', listen: '127.0.0.1', container: undefined },
      { port: 9002, from: client, to: pods[0].ip, listen: '0.0.0.0', container: 'app' },
      { port: 9003, from: client, to: '[::1]', listen: '::1', container: 'app' },
    ]
    for (const { port, from, to, listen, container } of rows) {
      const tcp = await tcpServer(server, port, { address: listen })
      const sent = await tcpConnect(from, `${to}:${port}`, { count: 1, bytesOut: 100, bytesIn: 100 })
      await agent.until(`closed ${port}`, (a) => over(a, port).some((f) => f.event === 'CLOSED'))
      await tcp.stop()
      const flows = over(agent, port)
      expect(ids(flows)).toHaveLength(1)
      expect([told(flows.at(-1)?.source), told(flows.at(-1)?.destination)]).toEqual([
        { ...one, container },
        { ...one, container: 'envoy' },
      ])
      expect(sums(flows)).toMatchObject({ forward: sent.segmentsOut, reverse: sent.segmentsIn })
    }
  }, 60_000)

  it('is in a new pod within a second, leaves with it, and holds nothing of it', async () => {
    const { node, manifests } = await setUp('come')
    const agent = await start(node, manifests)
    await untilEntered(agent, 2)
    const descriptors = () => readdirSync(`/proc/${agent.task.pid}/fd`).length
    const before = descriptors()
    const late = await node.pod({ name: 'late' })
    const ms = await untilEntered(agent, 3)
    console.log(`entered after ${ms.toFixed(0)} ms`)
    expect(ms).toBeLessThan(1000)
    const tcp = await tcpServer(late, 9100)
    await tcpConnect(late, '127.0.0.1:9100', { count: 1, bytesOut: 100, bytesIn: 100 })
    await agent.until('closed', (a) => over(a, 9100).some((f) => f.event === 'CLOSED'))
    await tcp.stop()
    // no manifest names it: it is a pod that nobody has told of
    expect(told(over(agent, 9100).at(-1)?.source)).toMatchObject({ kind: 'UNKNOWN', command: 'traffic' })
    await late.delete()
    await untilEntered(agent, 2)
    // those of a walk or of a request come and go
    await expect.poll(descriptors, { timeout: 5_000, interval: 20 }).toBeLessThanOrEqual(before)
  }, 60_000)

  it('leaves nothing in any namespace when it is killed', async () => {
    const { node, pods, manifests } = await setUp('killed-lo')
    const agent = await start(node, manifests)
    await untilEntered(agent, 2)
    for (const pod of pods) expect(programsOnLoopback(pod)).toEqual([expect.stringMatching(/^veth_egress/)])
    await agent.kill()
    for (const pod of pods) expect(programsOnLoopback(pod)).toEqual([])
  }, 60_000)

  it('on clsact is swept after a kill by the next start and by detach', async () => {
    const { node, pods, manifests } = await setUp('swept-lo')
    const flags = ['--disable-feature', 'tcx']
    const ours = () => pods.map((pod) => programsOnLoopback(pod).length)
    const first = await start(node, manifests, flags)
    await untilEntered(first, 2)
    await first.kill()
    expect(ours()).toEqual([1, 1])
    await node.exec([process.execPath, CLI, 'detach'])
    expect(ours()).toEqual([0, 0])
    const second = await start(node, manifests, flags)
    await untilEntered(second, 2)
    await second.kill()
    expect(ours()).toEqual([1, 1])
    const third = await start(node, manifests, flags)
    await untilEntered(third, 2)
    expect(ours()).toEqual([1, 1])
    await third.close()
    expect(ours()).toEqual([0, 0])
  }, 90_000)

  it('without CAP_SYS_ADMIN does not start, and says what is lacking', async () => {
    bed = await Testbed.create('lo-perm')
    const node = await bed.node('n1')
    const three = ['setpriv', '--bounding-set=-all,+bpf,+net_admin,+perfmon', '--inh-caps=-all']
    const run = await node.exec([...three, process.execPath, CLI, 'agent', '--no-kubernetes', '--loopback'], {
      accept: [77],
    })
    expect(run.stderr).toMatch(/NO_PERMISSION: .*CAP_SYS_ADMIN is lacking/)
  }, 30_000)
})
