// What only a socket can tell: which host-network pod it is that shares the node's address with others, which process and
// which container of a pod. Real processes in real control groups, a real agent; each row's record stands here before it
// is run.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EndpointJson, FlowJson } from '../../ui-stream/protocol/json-types.js'
import {
  addManifests,
  type Container,
  ContainerGroups,
  containerStatuses,
  endpoint,
  hostPodManifest,
  type Manifest,
  type Namespace,
  type Node,
  ownGroup,
  type Pod,
  type Task,
  Testbed,
  tcpConnect,
  tcpServer,
  udpSend,
  udpServer,
} from '../testbed/index.js'
import { RunningAgent } from './agent.js'

const VIP = '10.96.7.7'
const UID = {
  proxy: '0b6f3a52-6d0e-4b0f-9d3c-6a3f5b0e1c01',
  dns: '0b6f3a52-6d0e-4b0f-9d3c-6a3f5b0e1c02',
  // of a static pod kubelet's groups bear a hash, the API server's object another uid
  static: '0b6f3a52-6d0e-4b0f-9d3c-6a3f5b0e1c03',
  unheard: '0b6f3a52-6d0e-4b0f-9d3c-6a3f5b0e1c04',
}
const STATIC_HASH = 'a1b2c3d4e5f60718293a4b5c6d7e8f90'
/** The names of the tool's process, and of an interpreter's. */
const TRAFFIC = 'traffic'

let bed: Testbed
let groups: ContainerGroups
let n1: Node
let n2: Node
let server: Pod
let client: Pod
let far: Pod
let agent: RunningAgent
let farAgent: RunningAgent
/** Containers on the node's own network. */
let proxy: Container
let proxySidecar: Container
let dns: Container
let manager: Container
let stranger: Container
let kubelet: Container
/** Containers of the pods `server` and `client`. */
let app: Container
let curl: Container

/** A server and a client's connection that are older than the agent. */
let older: Awaited<ReturnType<typeof tcpServer>>
let standing: Task
/** Connects, says so, and sends a byte every tenth of a second. */
const DIALOGUE = `my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1]) or die $!;
  $| = 1; print "open\n"; while (1) { syswrite($s, "x") or die $!; select(undef, undef, undef, 0.1) }`
/** Calls itself as told, then connects once. */
const HOSTILE = `$0 = shift; my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1]) or die $!;
  syswrite($s, "x"); close $s`

const v1 = ownGroup('v1') !== undefined

beforeAll(async () => {
  bed = await Testbed.create('sockets')
  groups = new ContainerGroups()
  n1 = await bed.node('n1')
  n2 = await bed.node('n2')
  await bed.routes()
  server = await n1.pod({ name: 'server', owner: { kind: 'Deployment', name: 'web' } })
  client = await n1.pod({ name: 'client' })
  far = await n2.pod({ name: 'far' })
  await bed.services([
    {
      namespace: 'default',
      name: 'web',
      clusterIP: VIP,
      ports: [{ port: 80, targetPort: 8080 }],
      backends: [server],
    },
  ])
  const uidOf = (pod: Pod): string =>
    bed.manifests().find((object) => object.kind === 'Pod' && object.metadata.name === pod.name)?.metadata
      .uid ?? ''
  proxy = groups.container(n1, UID.proxy, 'kube-proxy', { qos: 'besteffort' })
  proxySidecar = groups.container(n1, UID.proxy, 'metrics', {
    qos: 'besteffort',
    runtime: 'cri-o systemd',
    below: 'system.slice/exporter.service',
  })
  dns = groups.container(n1, UID.dns, 'dns-cache', {
    qos: 'burstable',
    ...(v1 ? { hierarchy: 'v1', runtime: 'containerd cgroupfs' } : { runtime: 'containerd cgroupfs' }),
  })
  manager = groups.container(n1, STATIC_HASH, 'manager', { runtime: 'docker systemd' })
  stranger = groups.container(n1, UID.unheard, 'unheard')
  kubelet = groups.plain(n1, 'system.slice/kubelet.service')
  app = groups.container(server, uidOf(server), 'app', { qos: 'burstable' })
  curl = groups.container(client, uidOf(client), 'curl', { runtime: 'cri-o cgroupfs' })

  const directory = bed.writeManifests()
  const items: Manifest[] = bed
    .manifests()
    .filter((object) => object.kind === 'Pod')
    .map((object) => {
      const containers =
        object.metadata.name === 'server' ? [app] : object.metadata.name === 'client' ? [curl] : []
      return {
        ...object,
        status: { ...(object.status as object), containerStatuses: containerStatuses(containers) },
      }
    })
  addManifests(directory, 'pods', [
    ...items,
    hostPodManifest(n1, { namespace: 'kube-system', name: 'proxy-n1', uid: UID.proxy }, [
      proxy,
      proxySidecar,
    ]),
    hostPodManifest(n1, { namespace: 'kube-system', name: 'dns-n1', uid: UID.dns }, [dns]),
    // its status has not come yet: the group alone says which pod it is
    hostPodManifest(
      n1,
      { namespace: 'kube-system', name: 'manager-n1', uid: UID.static, configHash: STATIC_HASH },
      [],
    ),
  ])
  // with exactly the capabilities of the DaemonSet
  const under = ['setpriv', '--bounding-set=-all,+bpf,+net_admin,+perfmon', '--inh-caps=-all']
  older = await tcpServer(proxy, 7050)
  standing = await client.start(['perl', '-MIO::Socket::INET', '-e', DIALOGUE, n1.ip, '7050'])
  await standing.said(/^open$/m)
  agent = await RunningAgent.start(bed, n1, 'n1', { manifests: directory, under })
  farAgent = await RunningAgent.start(bed, n2, 'n2', { manifests: directory })
}, 120_000)

afterAll(async () => {
  await agent?.kill()
  await farAgent?.kill()
  await bed?.close()
  groups?.close()
})

/** Of an end, what a socket tells, beside its kind. */
function told(end: EndpointJson | undefined): object {
  const { kind, namespace, pod, nodeName, process } = end ?? {}
  const { pid, ...rest } = process ?? {}
  return {
    kind,
    ...(pod === undefined ? { nodeName } : { pod: `${namespace}/${pod}` }),
    ...(process === undefined ? {} : { process: { ...rest, pid: pid !== undefined && pid > 1 } }),
  }
}

const node = (name: string) => ({ kind: 'NODE', nodeName: name })
const pod = (name: string) => ({ kind: 'POD', pod: name })
const process = (command: string, container?: string) => ({
  process: { command, ...(container === undefined ? {} : { container }), pid: true },
})

/** The flow to a port, as it was told last. */
async function flowTo(
  running: RunningAgent,
  port: number,
  done: (flow: FlowJson) => boolean,
): Promise<FlowJson> {
  const flow = () =>
    running
      .latest()
      .find((f) => (f.service?.port ?? f.destination?.port) === port || f.destination?.port === port)
  await running.until(`the flow to port ${port}`, () => {
    const found = flow()
    return found !== undefined && done(found)
  })
  return flow() as FlowJson
}

const closed = (flow: FlowJson) => flow.event === 'CLOSED'

interface Row {
  readonly road: string
  readonly from: () => Namespace
  readonly to: () => Namespace
  readonly address: () => string
  readonly port: number
  /** Where the server listens, when that is not `port`. */
  readonly target?: number
  readonly source: object
  readonly destination: object
}

const ROWS: readonly Row[] = [
  {
    road: "a node's process to a pod",
    from: () => n1,
    to: () => app,
    address: () => server.ip,
    port: 7001,
    source: { ...node('n1'), ...process(TRAFFIC) },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
  {
    road: 'a kubelet probe',
    from: () => kubelet,
    to: () => app,
    address: () => server.ip,
    port: 7002,
    source: { ...node('n1'), ...process(TRAFFIC) },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
  {
    road: 'a host-network pod to a pod',
    from: () => proxy,
    to: () => app,
    address: () => server.ip,
    port: 7003,
    source: { ...pod('kube-system/proxy-n1'), ...process(TRAFFIC, 'kube-proxy') },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
  {
    road: 'its other container, in a group of its own making',
    from: () => proxySidecar,
    to: () => app,
    address: () => server.ip,
    port: 7004,
    source: { ...pod('kube-system/proxy-n1'), ...process(TRAFFIC, 'metrics') },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
  {
    road: 'another host-network pod with the same address, on version 1 where there is one',
    from: () => dns,
    to: () => app,
    address: () => server.ip,
    port: 7005,
    source: { ...pod('kube-system/dns-n1'), ...process(TRAFFIC, 'dns-cache') },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
  {
    road: 'a static pod whose containers nobody has told of yet',
    from: () => manager,
    to: () => app,
    address: () => server.ip,
    port: 7006,
    source: { ...pod('kube-system/manager-n1'), ...process(TRAFFIC) },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
  {
    road: 'a host-network pod that nobody has heard of',
    from: () => stranger,
    to: () => app,
    address: () => server.ip,
    port: 7007,
    source: { ...node('n1'), ...process(TRAFFIC) },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
  {
    road: "a pod to a host-network pod's port",
    from: () => curl,
    to: () => proxy,
    address: () => n1.ip,
    port: 7008,
    source: { ...pod('default/client'), ...process(TRAFFIC, 'curl') },
    destination: { ...pod('kube-system/proxy-n1'), ...process(TRAFFIC, 'kube-proxy') },
  },
  {
    road: "a pod to a port of the other one at the node's address",
    from: () => curl,
    to: () => dns,
    address: () => n1.ip,
    port: 7009,
    source: { ...pod('default/client'), ...process(TRAFFIC, 'curl') },
    destination: { ...pod('kube-system/dns-n1'), ...process(TRAFFIC, 'dns-cache') },
  },
  {
    road: "a pod to a node's process",
    from: () => curl,
    to: () => n1,
    address: () => n1.ip,
    port: 7010,
    source: { ...pod('default/client'), ...process(TRAFFIC, 'curl') },
    destination: { ...node('n1'), ...process(TRAFFIC) },
  },
  {
    road: 'a host-network pod to a ClusterIP',
    from: () => proxy,
    to: () => app,
    address: () => VIP,
    port: 80,
    target: 8080,
    source: { ...pod('kube-system/proxy-n1'), ...process(TRAFFIC, 'kube-proxy') },
    destination: { ...pod('default/server'), ...process(TRAFFIC, 'app') },
  },
]

describe.each(ROWS)('$road', ({ from, to, address, port, target, source, destination }) => {
  it('is told with the process at both ends', async () => {
    const tcp = await tcpServer(to(), target ?? port)
    await tcpConnect(from(), endpoint(address(), port), { count: 1, bytesOut: 100, bytesIn: 100 })
    const flow = await flowTo(agent, port, closed)
    await tcp.stop()
    expect({ source: told(flow.source), destination: told(flow.destination) }).toEqual({
      source,
      destination,
    })
    expect(flow.destination?.process?.pid).toBe(tcp.task.pid)
    // known with the first record already, not found out later
    const opened = agent.flows.find((f) => f.id === flow.id && f.event === 'OPENED')
    expect(told(opened?.source)).toEqual(source)
  }, 30_000)
})

it('on the other node the same address is honestly the node', async () => {
  const tcp = await tcpServer(far, 7020)
  await tcpConnect(proxy, endpoint(far.ip, 7020), { count: 1, bytesOut: 100, bytesIn: 100 })
  const near = await flowTo(agent, 7020, closed)
  const there = await flowTo(farAgent, 7020, closed)
  await tcp.stop()
  expect(told(near.source)).toEqual({ ...pod('kube-system/proxy-n1'), ...process(TRAFFIC, 'kube-proxy') })
  expect(told(near.destination)).toEqual(pod('default/far'))
  expect(told(there.source)).toEqual(node('n1'))
  expect(told(there.destination)).toEqual({ ...pod('default/far'), ...process(TRAFFIC) })
}, 30_000)

it('UDP: a server is found by its socket, soon', async () => {
  const udp = await udpServer(dns, 7030, { address: n1.ip })
  const task = udpSend(curl, endpoint(n1.ip, 7030), { count: 60, rate: 10, size: 100 })
  const flow = await flowTo(agent, 7030, (f) => f.destination?.pod !== undefined)
  expect(told(flow.destination)).toEqual({ ...pod('kube-system/dns-n1'), ...process(TRAFFIC, 'dns-cache') })
  expect(told(flow.source)).toEqual({ ...pod('default/client'), ...process(TRAFFIC, 'curl') })
  await task
  await udp.stop()
}, 30_000)

it('a refused connection and an unanswered one have their process', async () => {
  await tcpConnect(proxy, endpoint(server.ip, 7040), { count: 1 })
  const refused = await flowTo(agent, 7040, (f) => f.verdict === 'REFUSED')
  expect(told(refused.source)).toEqual({
    ...pod('kube-system/proxy-n1'),
    ...process(TRAFFIC, 'kube-proxy'),
  })
  await n1.drop(`ip daddr ${server.ip} tcp dport 7041`)
  await tcpConnect(curl, endpoint(server.ip, 7041), { count: 1, connectTimeout: 3500 })
  const silent = await flowTo(agent, 7041, (f) => f.verdict === 'UNANSWERED')
  expect(told(silent.source)).toEqual({ ...pod('default/client'), ...process(TRAFFIC, 'curl') })
}, 30_000)

it('sockets that are older than the agent are found, the server at once and the client with a walk', async () => {
  const flow = await flowTo(agent, 7050, (f) => f.source?.process !== undefined)
  expect(told(flow.source)).toEqual({ ...pod('default/client'), ...process('perl') })
  expect(told(flow.destination)).toEqual({
    ...pod('kube-system/proxy-n1'),
    ...process(TRAFFIC, 'kube-proxy'),
  })
  expect(flow.source?.process?.pid).toBe(standing.pid)
  await standing.stop()
  // gone, and still known when its end is told
  const last = await flowTo(agent, 7050, closed)
  expect(told(last.source)).toEqual({ ...pod('default/client'), ...process('perl') })
  await older.stop()
}, 30_000)

it.each([
  ['escapes and lines', '\u001b[31mred\n\t"x"', '\u001b[31mred\n\t"x"'],
  ['spaces and more than there is room for', 'a b  c d e f g h i', 'a b  c d e f g '],
  ['4 KB', 'z'.repeat(4096), 'z'.repeat(15)],
  ['what is no text', '\u00ff\u00fe', '\u00ff\u00fe'],
])(
  'a process that calls itself %s is told so',
  async (_, name, command) => {
    const port = 7060
    const tcp = await tcpServer(app, port, { hold: true })
    const task = await curl.start([
      'perl',
      '-MIO::Socket::INET',
      '-e',
      HOSTILE,
      name,
      server.ip,
      String(port),
    ])
    await task.done()
    const mine = () =>
      agent.flows.filter((f) => f.destination?.port === port && f.source?.process?.pid === task.pid)
    await agent.until('told', () => mine().length > 0)
    await tcp.stop()
    expect(mine().at(-1)?.source?.process).toEqual({ pid: task.pid, command, container: 'curl' })
  },
  30_000,
)

it('a worker that closes what another process has accepted is who had it', async () => {
  // the listener forks for each connection, and its child serves and closes it
  const serve = `TCP-LISTEN:7070,bind=${n1.ip},fork,reuseaddr`
  const forking = await proxy.start(['socat', '-d', '-d', serve, 'EXEC:cat'])
  await forking.said(/listening on/)
  await client.exec(['socat', '-u', '/dev/null', `TCP:${n1.ip}:7070`])
  const flow = await flowTo(agent, 7070, closed)
  expect(told(flow.destination)).toEqual({
    ...pod('kube-system/proxy-n1'),
    ...process('socat', 'kube-proxy'),
  })
  expect(flow.destination?.process?.pid).not.toBe(forking.pid)
  await forking.stop()
}, 30_000)
