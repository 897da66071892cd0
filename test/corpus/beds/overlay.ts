// Nodes joined by VXLAN as flannel does it, and by a tunnel through user space that hides what it carries; pods behind the
// bridge plugin, IPv4 and IPv6 inside.

import {
  endpoint,
  type Namespace,
  type Pod,
  relay,
  type Service,
  Testbed,
  tcpServer,
  udpServer,
} from '../../testbed/index.js'
import type { Built, CorpusBed } from '../bed.js'
import type { End, Row, ServiceCell, TunnelCell } from '../row.js'
import { direct, ping, tcp, udp, via } from '../words.js'

const ADDRESSES = {
  client: ['10.244.1.10', 'fd00:244:0:1::10'],
  server: ['10.244.2.10', 'fd00:244:0:2::10'],
  near: ['10.244.1.11', 'fd00:244:0:1::11'],
  hidden: ['10.244.1.12', 'fd00:244:0:1::12'],
  secret: ['10.244.2.12', 'fd00:244:0:2::12'],
} as const
type Name = keyof typeof ADDRESSES
const NAMES = Object.keys(ADDRESSES) as Name[]
const ip = (name: Name, version: 4 | 6): string => ADDRESSES[name][version === 4 ? 0 : 1]
const isFar = (name: Name): boolean => name === 'server' || name === 'secret'
const pod = (name: Name, version: 4 | 6): End => ({
  kind: 'POD',
  ip: ip(name, version),
  namespace: 'shop',
  pod: name,
  nodeName: isFar(name) ? 'n2' : 'n1',
})
const n1: End = { kind: 'NODE', ip: '172.18.0.2', nodeName: 'n1' }
const n2: End = { kind: 'NODE', ip: '172.18.0.3', nodeName: 'n2' }
/** The address of n1's overlay device, from which it speaks to pods of other nodes; the API knows nothing of it. */
const N1_INSIDE = '10.244.1.0'
/** As the opener's packets carried it. */
const TUNNEL: TunnelCell = { type: 'VXLAN', id: 1, source: n1.ip, destination: n2.ip }

const CLUSTER_IPS = ['10.96.2.1', 'fd00:96::2:1'] as const
const service = (address: string, port: number, type = 'ClusterIP'): ServiceCell => ({
  namespace: 'shop',
  name: 'away',
  type,
  portName: 'main',
  ip: address,
  port,
})
/** The uplink only notes what the overlay's own device counts. */
const UPLINK_1 = [...via('flannel.1'), ...via('eth0')]

function both(version: 4 | 6): Row[] {
  const [client, server, near] = [pod('client', version), pod('server', version), pod('near', version)]
  const clusterIp = CLUSTER_IPS[version === 4 ? 0 : 1]
  const road = 'pod to pod across nodes, by VXLAN'
  const across = (port: number | undefined): Row['records'] & object => ({
    n1: [
      direct(client, server, port, {
        direction: 'EGRESS',
        tunnel: TUNNEL,
        observations: [...via('client'), ...UPLINK_1],
      }),
    ],
    n2: [
      direct(client, server, port, {
        direction: 'INGRESS',
        tunnel: TUNNEL,
        observations: [...via('flannel.1'), ...via('eth0'), ...via('server')],
      }),
    ],
  })
  return [
    { name: 'vxlan', road, family: version, talk: tcp('client', server.ip, 7000), records: across(7000) },
    { name: 'vxlan-udp', road, family: version, talk: udp('client', server.ip, 7007), records: across(7007) },
    {
      name: 'vxlan-ping',
      road,
      family: version,
      talk: ping('client', server.ip),
      records: across(undefined),
    },
    {
      name: 'vxlan-cluster-ip',
      road: 'pod to ClusterIP, backend behind VXLAN',
      family: version,
      talk: tcp('client', clusterIp, 80, 'n1'),
      records: {
        n1: [
          direct(client, server, 8080, {
            service: service(clusterIp, 80),
            translation: { destinationIp: server.ip, destinationPort: 8080 },
            direction: 'EGRESS',
            tunnel: TUNNEL,
            observations: [...via('client'), ...UPLINK_1],
          }),
        ],
        n2: [
          direct(client, server, 8080, {
            service: service(server.ip, 8080),
            direction: 'INGRESS',
            tunnel: TUNNEL,
            observations: [...via('flannel.1'), ...via('eth0'), ...via('server')],
          }),
        ],
      },
    },
    {
      name: 'pod-bridge-again',
      road: 'pod to pod, same node, bridge',
      family: version,
      talk: tcp('client', near.ip, 7000),
      records: {
        n1: [
          direct(client, near, 7000, {
            direction: 'LOCAL',
            observations: [...via('client'), ...via('near')],
          }),
        ],
      },
    },
    {
      name: 'vxlan-open-before',
      road: 'open before the agent started',
      family: version,
      talk: { ...tcp('client', clusterIp, 80, 'n1'), openBefore: true },
      records: {
        n1: [
          direct(client, server, 8080, {
            service: service(clusterIp, 80),
            translation: { destinationIp: server.ip, destinationPort: 8080 },
            direction: 'EGRESS',
            tunnel: TUNNEL,
            observations: [...via('client'), ...UPLINK_1],
          }),
        ],
        n2: [
          direct(client, server, 8080, {
            service: service(server.ip, 8080),
            direction: 'INGRESS',
            tunnel: TUNNEL,
            observations: [...via('flannel.1'), ...via('eth0'), ...via('server')],
          }),
        ],
      },
    },
  ]
}

const [hidden, secret, server] = [pod('hidden', 4), pod('secret', 4), pod('server', 4)]

const ROWS: Row[] = [
  ...both(4),
  ...both(6),
  {
    name: 'vxlan-node-to-pod',
    road: 'node process or kubelet probe to pod',
    family: 4,
    talk: { ...tcp('n1', server.ip, 7000), fromIp: N1_INSIDE },
    records: {
      n1: [
        direct({ ...n1, ip: N1_INSIDE }, server, 7000, {
          direction: 'EGRESS',
          tunnel: TUNNEL,
          observations: ['>flannel.1', 'flannel.1>', ...via('eth0')],
        }),
      ],
      n2: [
        direct({ kind: 'UNKNOWN', ip: N1_INSIDE }, server, 7000, {
          direction: 'INGRESS',
          tunnel: TUNNEL,
          observations: [...via('flannel.1'), ...via('eth0'), ...via('server')],
        }),
      ],
    },
  },
  {
    name: 'hidden-tunnel',
    road: 'an encrypted tunnel between nodes',
    family: 4,
    talk: tcp('hidden', secret.ip, 7000),
    records: {
      n1: [
        direct(hidden, secret, 7000, {
          direction: 'EGRESS',
          observations: [...via('hidden'), ...via('wire0')],
        }),
        // each packet inside was one outside
        {
          ...direct(n1, n2, 51_820, { direction: 'EGRESS', observations: ['>eth0', 'eth0>'] }),
          source: { ...n1, port: 51_820 },
          protocol: 'UDP',
        },
      ],
      n2: [
        direct(hidden, secret, 7000, {
          direction: 'INGRESS',
          observations: [...via('wire0'), ...via('secret')],
        }),
        {
          ...direct(n1, n2, 51_820, { direction: 'INGRESS', observations: via('eth0') }),
          source: { ...n1, port: 51_820 },
          protocol: 'UDP',
        },
      ],
    },
  },
]

async function build(): Promise<Built> {
  const bed = await Testbed.create('overlay')
  const [one, two] = await Promise.all(
    ([1, 2] as const).map((number) =>
      bed.node(`n${number}`, {
        ip: `172.18.0.${number + 1}`,
        ip6: `fd00:18::${number + 1}`,
        podCidr: `10.244.${number}.0/24`,
        podCidr6: `fd00:244:0:${number}::/64`,
      }),
    ),
  )
  if (one === undefined || two === undefined) throw new Error('the nodes are missing')
  await bed.vxlan()
  const pods = await Promise.all(
    NAMES.map((name) =>
      (isFar(name) ? two : one).pod({ name, namespace: 'shop', ips: [...ADDRESSES[name]] }),
    ),
  )
  const there = Object.fromEntries(NAMES.map((name, i) => [name, pods[i]!])) as Record<Name, Pod>
  const away: Service = {
    namespace: 'shop',
    name: 'away',
    clusterIP: CLUSTER_IPS[0],
    clusterIP6: CLUSTER_IPS[1],
    ports: [{ name: 'main', port: 80, targetPort: 8080 }],
    backends: [there.server],
  }
  await bed.services([away])
  await Promise.all([
    relay(one, 'wire0', endpoint(n1.ip, 51_820), endpoint(n2.ip, 51_820)),
    relay(two, 'wire0', endpoint(n2.ip, 51_820), endpoint(n1.ip, 51_820)),
  ])
  for (const [where, peer] of [
    [one, secret],
    [two, hidden],
  ] as const) {
    await where.sysctl({ 'ipv6/conf/wire0/disable_ipv6': 1 })
    await where.configure('link set wire0 mtu 1450 up', `route add ${peer.ip}/32 dev wire0`)
  }
  await Promise.all([
    ...([there.server, there.near] as Namespace[]).flatMap((where) =>
      [7000, 8080].map((port) => tcpServer(where, port, { address: '::' })),
    ),
    tcpServer(there.secret, 7000),
    udpServer(there.server, 7007, { address: '::' }),
  ])
  return {
    bed,
    nodes: { n1: one, n2: two },
    places: { n1: one, n2: two, ...there },
    address: (place, family) => ip(place as Name, family),
    manifests: bed.writeManifests(),
  }
}

export const overlay: CorpusBed = { name: 'overlay', rows: ROWS, build }
