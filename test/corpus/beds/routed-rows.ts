// Who speaks to whom on routed veths, in both families, and what each node must tell of it.

import { at, type End, type Expected, type Row, type ServiceCell } from '../row.js'
import { direct, leaving, ping, tcp, udp, via } from '../words.js'

type Version = 4 | 6
const VERSIONS: readonly Version[] = [4, 6]

/** Both addresses of everybody. */
export const ADDRESSES = {
  client: ['10.244.1.10', 'fd00:244:0:1::10'],
  server: ['10.244.1.11', 'fd00:244:0:1::11'],
  controller: ['10.244.1.12', 'fd00:244:0:1::12'],
  published: ['10.244.1.13', 'fd00:244:0:1::13'],
  meshed: ['10.244.1.14', 'fd00:244:0:1::14'],
  far: ['10.244.2.10', 'fd00:244:0:2::10'],
  n1: ['172.18.0.2', 'fd00:18::2'],
  n2: ['172.18.0.3', 'fd00:18::3'],
  n1ToPods: ['10.244.1.1', 'fd00:244:0:1::1'],
  visitor: ['203.0.113.50', 'fd00:113::50'],
} as const
export const LAN = '172.18.0.77'
export const RETURNED = '198.51.100.50'

export const ip = (name: keyof typeof ADDRESSES, version: Version): string =>
  ADDRESSES[name][version === 4 ? 0 : 1]

const pod = (
  name: 'client' | 'server' | 'controller' | 'published' | 'meshed' | 'far',
  version: Version,
): End => ({
  kind: 'POD',
  ip: ip(name, version),
  namespace: 'shop',
  pod: name,
  ...(name === 'server' || name === 'controller' ? { workload: { kind: 'Deployment', name } } : {}),
  nodeName: name === 'far' ? 'n2' : 'n1',
})
const node = (name: 'n1' | 'n2' | 'n1ToPods', version: Version): End => ({
  kind: 'NODE',
  ip: ip(name, version),
  nodeName: name === 'n2' ? 'n2' : 'n1',
})
const visitor = (version: Version): End => ({ kind: 'WORLD', ip: ip('visitor', version) })
const lan: End = { kind: 'POD', ip: LAN, namespace: 'shop', pod: 'lan', nodeName: 'n1' }

export const CLUSTER_IPS = {
  near: ['10.96.1.1', 'fd00:96::1'],
  away: ['10.96.1.2', 'fd00:96::2'],
  echo: ['10.96.1.3', 'fd00:96::3'],
} as const
export const NODE_PORT = 30100
export const INGRESS_PORT = 30443

const service = (name: string, type: string, address: string, port: number): ServiceCell => ({
  namespace: 'shop',
  name,
  type,
  portName: 'main',
  ip: address,
  port,
  // the Ingress `storefront` leads there
  ...(name === 'away' ? { ingresses: ['storefront'] } : {}),
})
const cluster = (name: keyof typeof CLUSTER_IPS, version: Version, port = 80): ServiceCell =>
  service(name, 'ClusterIP', CLUSTER_IPS[name][version === 4 ? 0 : 1], port)
/** A backend that was reached without its service's address; exactly one service has it. */
const backendOf = (name: keyof typeof CLUSTER_IPS, end: End, port: number): ServiceCell =>
  service(name, 'ClusterIP', end.ip, port)

/** Rows of which there is one for each family. */
function both(version: Version): Row[] {
  const [client, server, far] = [pod('client', version), pod('server', version), pod('far', version)]
  const [n1, n2] = [node('n1', version), node('n2', version)]
  const acrossNodes = (port: number | undefined, rest: Partial<Expected> = {}): Row['records'] & object => ({
    n1: [
      direct(client, far, port, {
        direction: 'EGRESS',
        observations: [...via('client'), ...via('eth0')],
        ...rest,
      }),
    ],
    n2: [
      direct(client, far, port, {
        direction: 'INGRESS',
        observations: [...via('eth0'), ...via('far')],
        ...rest,
      }),
    ],
  })
  const translatedTo = (end: End, port: number) => ({ destinationIp: end.ip, destinationPort: port })
  return [
    {
      name: 'pod-routed',
      road: 'pod to pod, same node, routed veths',
      family: version,
      talk: tcp('client', server.ip, 7000),
      records: {
        n1: [
          direct(client, server, 7000, {
            direction: 'LOCAL',
            observations: [...via('client'), ...via('server')],
          }),
        ],
      },
    },
    {
      name: 'pod-routed-far',
      road: 'pod to pod across nodes, by routes',
      family: version,
      talk: tcp('client', far.ip, 7000),
      records: acrossNodes(7000),
    },
    {
      name: 'pod-routed-far-ping',
      road: 'pod to pod across nodes, by routes',
      family: version,
      talk: ping('client', far.ip),
      records: acrossNodes(undefined),
    },
    {
      name: 'one-service-has-it',
      road: 'a backend reached without its service',
      family: version,
      talk: tcp('client', far.ip, 8081),
      records: acrossNodes(8081, { service: backendOf('away', far, 8081) }),
    },
    {
      name: 'two-services-have-it',
      road: 'a backend reached without its service',
      family: version,
      talk: tcp('client', server.ip, 8080),
      records: {
        n1: [
          direct(client, server, 8080, {
            direction: 'LOCAL',
            observations: [...via('client'), ...via('server')],
          }),
        ],
      },
    },
    {
      name: 'cluster-ip-near',
      road: 'pod to ClusterIP, backend here or on another node',
      family: version,
      talk: tcp('client', cluster('near', version).ip, 80, 'n1'),
      records: {
        n1: [
          direct(client, server, 8080, {
            service: cluster('near', version),
            translation: translatedTo(server, 8080),
            direction: 'LOCAL',
            observations: [...via('client'), ...via('server')],
          }),
        ],
      },
    },
    {
      name: 'cluster-ip-away',
      road: 'pod to ClusterIP, backend here or on another node',
      family: version,
      talk: tcp('client', cluster('away', version).ip, 80, 'n1'),
      records: {
        n1: [
          direct(client, far, 8081, {
            service: cluster('away', version),
            translation: translatedTo(far, 8081),
            direction: 'EGRESS',
            observations: [...via('client'), ...via('eth0')],
          }),
        ],
        n2: [
          direct(client, far, 8081, {
            service: backendOf('away', far, 8081),
            direction: 'INGRESS',
            observations: [...via('eth0'), ...via('far')],
          }),
        ],
      },
    },
    {
      name: 'cluster-ip-echo',
      road: 'pod to ClusterIP, backend here or on another node',
      family: version,
      talk: udp('client', cluster('echo', version).ip, 7, 'n1'),
      records: {
        n1: [
          direct(client, server, 7007, {
            service: cluster('echo', version, 7),
            translation: translatedTo(server, 7007),
            direction: 'LOCAL',
            observations: [...via('client'), ...via('server')],
          }),
        ],
      },
    },
    {
      name: 'hairpin-routed',
      road: 'hairpin: a pod reaches itself through its service',
      family: version,
      talk: tcp('server', cluster('near', version).ip, 80, 'n1'),
      records: {
        n1: [
          direct(server, server, 8080, {
            service: cluster('near', version),
            translation: {
              sourceIp: ip('n1ToPods', version),
              sourcePort: 'translated',
              ...translatedTo(server, 8080),
            },
            direction: 'LOCAL',
            observations: via('server'),
          }),
        ],
      },
    },
    {
      name: 'node-port-away',
      road: 'outside to NodePort, policy Cluster',
      family: version,
      talk: tcp('visitor', n1.ip, NODE_PORT, 'n1'),
      records: {
        n1: [
          direct(visitor(version), far, 8081, {
            service: service('away', 'NodePort', n1.ip, NODE_PORT),
            translation: { sourceIp: n1.ip, sourcePort: 'translated', ...translatedTo(far, 8081) },
            direction: 'TRANSIT',
            observations: via('eth0'),
          }),
        ],
        n2: [
          direct(n1, far, 8081, {
            source: at(n1, 'translated'),
            service: backendOf('away', far, 8081),
            direction: 'INGRESS',
            observations: [...via('eth0'), ...via('far')],
          }),
        ],
      },
    },
    {
      name: 'masquerade-routed',
      road: 'pod to the world, masqueraded',
      family: version,
      talk: tcp('client', ip('visitor', version), 443, 'n1'),
      records: {
        n1: [
          direct(client, visitor(version), 443, {
            translation: { sourceIp: n1.ip, sourcePort: 'translated' },
            direction: 'EGRESS',
            observations: [...via('client'), ...via('eth0')],
          }),
        ],
      },
    },
    {
      name: 'nodes',
      road: 'node to node',
      family: version,
      talk: tcp('n1', n2.ip, 9001),
      records: {
        n1: [direct(n1, n2, 9001, { direction: 'EGRESS', observations: leaving('eth0') })],
        n2: [direct(n1, n2, 9001, { direction: 'INGRESS', observations: via('eth0') })],
      },
    },
    {
      name: 'probe',
      road: 'node process or kubelet probe to pod',
      family: version,
      talk: { ...tcp('n1', server.ip, 7000), fromIp: ip('n1ToPods', version) },
      records: {
        n1: [
          direct(node('n1ToPods', version), server, 7000, {
            direction: 'LOCAL',
            observations: leaving('server'),
          }),
        ],
      },
    },
    {
      name: 'node-process-away',
      road: 'node process to ClusterIP',
      family: version,
      talk: tcp('n1', cluster('away', version).ip, 80, 'n1'),
      records: {
        n1: [
          direct(n1, far, 8081, {
            service: cluster('away', version),
            translation: { sourceIp: n1.ip, sourcePort: 'translated', ...translatedTo(far, 8081) },
            direction: 'EGRESS',
            observations: leaving('eth0'),
          }),
        ],
        n2: [
          direct(n1, far, 8081, {
            source: at(n1, 'translated'),
            service: backendOf('away', far, 8081),
            direction: 'INGRESS',
            observations: [...via('eth0'), ...via('far')],
          }),
        ],
      },
    },
    {
      name: 'pod-to-own-node',
      road: 'pod to node',
      family: version,
      talk: tcp('client', n1.ip, 9001),
      records: { n1: [direct(client, n1, 9001, { direction: 'LOCAL', observations: via('client') })] },
    },
    {
      name: 'pod-to-other-node',
      road: 'pod to node',
      family: version,
      talk: tcp('client', n2.ip, 9001),
      records: {
        n1: [
          direct(client, n2, 9001, { direction: 'EGRESS', observations: [...via('client'), ...via('eth0')] }),
        ],
        n2: [direct(client, n2, 9001, { direction: 'INGRESS', observations: via('eth0') })],
      },
    },
    {
      name: 'open-before-routed',
      road: 'open before the agent started',
      family: version,
      talk: { ...tcp('client', cluster('near', version).ip, 80, 'n1'), openBefore: true },
      records: {
        n1: [
          direct(client, server, 8080, {
            service: cluster('near', version),
            translation: translatedTo(server, 8080),
            direction: 'LOCAL',
            observations: [...via('client'), ...via('server')],
          }),
        ],
      },
    },
  ]
}

const [client, far] = [pod('client', 4), pod('far', 4)]
export const [n1, n2] = [node('n1', 4), node('n2', 4)]

export const routedRows: readonly Row[] = [
  ...VERSIONS.flatMap(both),
  {
    name: 'host-port',
    road: 'hostPort',
    family: 4,
    talk: tcp('visitor', n1.ip, 8088, 'n1'),
    records: {
      n1: [
        direct(visitor(4), pod('published', 4), 8080, {
          service: { ip: n1.ip, port: 8088 },
          translation: { destinationIp: ip('published', 4), destinationPort: 8080 },
          direction: 'INGRESS',
          observations: [...via('eth0'), ...via('published')],
        }),
      ],
    },
  },
  {
    name: 'ingress',
    road: 'Ingress: the controller between two connections',
    family: 4,
    talk: { ...tcp('visitor', n1.ip, INGRESS_PORT, 'n1'), proxy: 'controller' },
    records: {
      n1: [
        direct(visitor(4), pod('controller', 4), 8443, {
          service: service('controller', 'NodePort', n1.ip, INGRESS_PORT),
          translation: {
            sourceIp: ip('n1ToPods', 4),
            sourcePort: 'translated',
            destinationIp: ip('controller', 4),
            destinationPort: 8443,
          },
          direction: 'INGRESS',
          observations: [...via('eth0'), ...via('controller')],
        }),
        {
          source: at(pod('controller', 4), 'proxy'),
          destination: at(far, 8081),
          service: backendOf('away', far, 8081),
          direction: 'EGRESS',
          observations: [...via('controller'), ...via('eth0')],
          verdict: 'FORWARDED',
          ofProxy: true,
        },
      ],
      n2: [
        {
          source: at(pod('controller', 4), 'proxy'),
          destination: at(far, 8081),
          service: backendOf('away', far, 8081),
          direction: 'INGRESS',
          observations: [...via('eth0'), ...via('far')],
          verdict: 'FORWARDED',
          ofProxy: true,
        },
      ],
    },
  },
  {
    name: 'host-network-pod',
    road: "host-network pods that share the node's address",
    family: 4,
    talk: { ...tcp('hostnet', ip('server', 4), 7000), fromIp: n1.ip },
    records: {
      n1: [
        direct(
          {
            kind: 'POD',
            ip: n1.ip,
            namespace: 'shop',
            pod: 'hostnet',
            nodeName: 'n1',
            process: { command: 'traffic', container: 'main' },
          },
          pod('server', 4),
          7000,
          { direction: 'LOCAL', observations: leaving('server') },
        ),
      ],
    },
  },
  {
    name: 'sidecar',
    road: 'sidecar proxy inside the pod',
    family: 4,
    talk: tcp('client', ip('meshed', 4), 80),
    records: {
      n1: [
        direct(client, pod('meshed', 4), 80, {
          direction: 'LOCAL',
          observations: [...via('client'), ...via('meshed')],
        }),
      ],
    },
  },
  {
    name: 'macvlan',
    road: 'pods without a host-side veth',
    family: 4,
    talk: tcp('lan', n2.ip, 9001),
    records: {
      n1: [direct(lan, n2, 9001, { direction: 'EGRESS', observations: leaving('eth0') })],
      n2: [direct(lan, n2, 9001, { direction: 'INGRESS', observations: via('eth0') })],
    },
  },
  {
    name: 'direct-return',
    road: 'asymmetric: out here, back elsewhere',
    family: 4,
    talk: tcp('visitor', RETURNED, 8082),
    records: {
      n1: [
        direct(visitor(4), { kind: 'UNKNOWN', ip: RETURNED }, 8082, {
          service: service('returned', 'LoadBalancer', RETURNED, 8082),
          direction: 'TRANSIT',
          observations: ['eth0>', '>eth0'],
          unseen: 'REVERSE',
          counts: { forward: 'all', reverse: 0 },
        }),
      ],
      n2: [
        direct(visitor(4), { kind: 'UNKNOWN', ip: RETURNED }, 8082, {
          service: service('returned', 'LoadBalancer', RETURNED, 8082),
          direction: 'INGRESS',
          observations: [...via('eth0'), ...via('far')],
        }),
      ],
    },
  },
]
