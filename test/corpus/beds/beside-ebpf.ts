// An eBPF CNI beside us, on the same hooks: it redirects into pods and to neighbours past other hooks, and rewrites
// connect(2) in place of NAT.

import { closeSync } from 'node:fs'
import { type Namespace, type Service, Testbed, tcpServer } from '../../testbed/index.js'
import type { Built, CorpusBed } from '../bed.js'
import { balanceSockets, redirect } from '../foreign.js'
import type { End, Row, ServiceCell } from '../row.js'
import { direct, ping, tcp, via } from '../words.js'

const IPS = { client: '10.244.1.10', server: '10.244.1.11', far: '10.244.2.10' } as const
type Name = keyof typeof IPS
const end = (name: Name): End => ({
  kind: 'POD',
  ip: IPS[name],
  namespace: 'shop',
  pod: name,
  nodeName: name === 'far' ? 'n2' : 'n1',
})
const [client, server, far] = [end('client'), end('server'), end('far')]
const CLUSTER_IP = '10.96.3.1'
const SHARED_IP = '10.96.3.2'
const service = (name: string, ip: string, port: number): ServiceCell => ({
  namespace: 'shop',
  name,
  type: 'ClusterIP',
  portName: 'main',
  ip,
  port,
})
const peers = 'redirected into the pod past its hook'
const neighbours = 'redirected to the neighbour and into the pod'
const sockets = 'socket load balancing, no NAT on the wire'

const ROWS: Row[] = [
  {
    name: 'redirect-peer',
    road: peers,
    family: 4,
    talk: tcp('client', server.ip, 7000),
    records: {
      n1: [direct(client, server, 7000, { direction: 'LOCAL', observations: ['client>', 'server>'] })],
    },
  },
  {
    name: 'redirect-peer-ping',
    road: peers,
    family: 4,
    talk: ping('client', server.ip),
    records: {
      n1: [direct(client, server, undefined, { direction: 'LOCAL', observations: ['client>', 'server>'] })],
    },
  },
  {
    name: 'redirect-neighbour',
    road: neighbours,
    family: 4,
    talk: tcp('client', far.ip, 7000),
    records: {
      n1: [direct(client, far, 7000, { direction: 'EGRESS', observations: ['client>', 'eth0>', '>eth0'] })],
      n2: [
        direct(client, far, 7000, { direction: 'INGRESS', observations: [...via('eth0'), ...via('far')] }),
      ],
    },
  },
  {
    name: 'socket-balancer',
    road: sockets,
    family: 4,
    talk: tcp('balanced', CLUSTER_IP, 80),
    records: {
      n1: [
        direct(client, far, 8081, {
          service: service('alone', far.ip, 8081),
          direction: 'EGRESS',
          observations: ['client>', 'eth0>', '>eth0'],
        }),
      ],
      n2: [
        direct(client, far, 8081, {
          service: service('alone', far.ip, 8081),
          direction: 'INGRESS',
          observations: [...via('eth0'), ...via('far')],
        }),
      ],
    },
  },
  {
    name: 'socket-balancer-shared-backend',
    road: sockets,
    family: 4,
    talk: tcp('shared', SHARED_IP, 80),
    records: {
      n1: [direct(server, far, 8080, { direction: 'EGRESS', observations: ['server>', 'eth0>', '>eth0'] })],
      n2: [
        direct(server, far, 8080, { direction: 'INGRESS', observations: [...via('eth0'), ...via('far')] }),
      ],
    },
  },
]

async function build(): Promise<Built> {
  const bed = await Testbed.create('ebpf')
  const [one, two] = await Promise.all([bed.node('n1', { cni: 'ptp' }), bed.node('n2', { cni: 'ptp' })])
  await bed.routes()
  const make = (name: Name) => (name === 'far' ? two : one).pod({ name, namespace: 'shop', ip: IPS[name] })
  const [pClient, pServer, pFar] = await Promise.all([make('client'), make('server'), make('far')])
  const ports = (targetPort: number) => [{ name: 'main', port: 80, targetPort }]
  const services: Service[] = [
    { namespace: 'shop', name: 'alone', clusterIP: CLUSTER_IP, ports: ports(8081), backends: [pFar] },
    { namespace: 'shop', name: 'shared', clusterIP: SHARED_IP, ports: ports(8080), backends: [pFar] },
    { namespace: 'shop', name: 'shared-too', clusterIP: '10.96.3.3', ports: ports(8080), backends: [pFar] },
  ]
  await bed.services(services)
  const held: (() => void)[] = []
  const keep = (descriptors: readonly number[]) => {
    for (const fd of descriptors) held.push(() => closeSync(fd))
  }
  const uplink = await one.ifindex('eth0')
  for (const [own, other] of [
    [pClient, pServer],
    [pServer, pClient],
  ] as const)
    keep(
      redirect(one, own.hostIfindex, [
        { to: other.ip, ifindex: other.hostIfindex, how: 'peer' },
        { to: pFar.ip, ifindex: uplink, how: 'neighbour' },
      ]),
    )
  keep(
    redirect(
      one,
      uplink,
      [pClient, pServer].map(({ ip, hostIfindex }) => ({
        to: ip,
        ifindex: hostIfindex,
        how: 'peer' as const,
      })),
    ),
  )
  const balancers = [
    balanceSockets(pClient, { address: CLUSTER_IP, port: 80, backend: pFar.ip, backendPort: 8081 }),
    balanceSockets(pServer, { address: SHARED_IP, port: 80, backend: pFar.ip, backendPort: 8080 }),
  ] as const
  for (const balancer of balancers) held.push(() => balancer.close())
  await Promise.all([...[7000, 8080, 8081].map((port) => tcpServer(pFar, port)), tcpServer(pServer, 7000)])
  const places: Record<string, Namespace> = {
    n1: one,
    n2: two,
    client: pClient,
    server: pServer,
    far: pFar,
    balanced: balancers[0].place,
    shared: balancers[1].place,
  }
  const speaksAs: Record<string, Name> = { balanced: 'client', shared: 'server' }
  return {
    bed,
    nodes: { n1: one, n2: two },
    places,
    address: (place) => IPS[speaksAs[place] ?? (place as Name)],
    manifests: bed.writeManifests(),
    close: () => {
      for (const end of held.splice(0).reverse()) end()
    },
  }
}

export const besideEbpf: CorpusBed = { name: 'eBPF CNI', rows: ROWS, build }
