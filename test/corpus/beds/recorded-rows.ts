// Who speaks to whom in the recorded cluster, and what each node must tell of it.

import {
  at,
  type End,
  type Expected,
  type Outcome,
  type Records,
  type Row,
  type Rules,
  type ServiceCell,
  type Talk,
} from '../row.js'
import { direct, leaving, ping, tcp, udp, via } from '../words.js'

/** Everything that is translated is run with both. */
export const BOTH: readonly Rules[] = ['nftables', 'iptables']

const pod = (name: string, workload: [string, string], node: 1 | 2, ip: string, namespace = 'shop'): End => ({
  kind: 'POD',
  ip,
  namespace,
  pod: name,
  workload: { kind: workload[0], name: workload[1] },
  nodeName: `n${node}`,
  zone: `z${node}`,
})
export const db0 = pod('db-0', ['StatefulSet', 'db'], 1, '10.244.1.2')
export const db1 = pod('db-1', ['StatefulSet', 'db'], 2, '10.244.2.2')
export const web1 = pod('web-859494c7d5-fgph8', ['Deployment', 'web'], 1, '10.244.1.3')
export const web2 = pod('web-859494c7d5-crjtt', ['Deployment', 'web'], 2, '10.244.2.3')
export const dns1 = pod('coredns-cfccdf558-rdtq2', ['Deployment', 'coredns'], 1, '10.244.1.4', 'dns-system')
export const dns2 = pod('coredns-cfccdf558-7h6kj', ['Deployment', 'coredns'], 2, '10.244.2.4', 'dns-system')
const node = (number: 1 | 2, ip: string): End => ({
  kind: 'NODE',
  ip,
  nodeName: `n${number}`,
  zone: `z${number}`,
})
export const n1 = node(1, '172.18.0.2')
export const n2 = node(2, '172.18.0.3')
/** n1 on its bridge, as it speaks to its own pods. */
const n1OnBridge = node(1, '10.244.1.1')
export const visitor: End = { kind: 'WORLD', ip: '203.0.113.50' }
export const outside: End = { kind: 'WORLD', ip: '192.0.2.77' }

const service = (
  name: string,
  type: string,
  ip: string,
  port: number,
  portName?: string,
  namespace = 'shop',
): ServiceCell => ({
  namespace,
  name,
  type,
  ...(portName === undefined ? {} : { portName }),
  ip,
  port,
})
/** The `shop` Ingress leads to `web`. */
const web: ServiceCell = { ...service('web', 'ClusterIP', '10.96.136.227', 80, 'http'), ingresses: ['shop'] }
const dns = (ip: string): ServiceCell => service('kube-dns', 'ClusterIP', ip, 53, 'dns', 'dns-system')
const dnsTcp = (ip: string): ServiceCell => service('kube-dns', 'ClusterIP', ip, 53, 'dns-tcp', 'dns-system')
const metrics = (ip: string): ServiceCell =>
  service('kube-dns', 'ClusterIP', ip, 9153, 'metrics', 'dns-system')

/** One connection from db-0 to a service of n1, its backend here or on n2. `far` is what n2 calls the address there. */
function fromDb0(to: ServiceCell, port: number, near: End, far: End, farService?: ServiceCell): Outcome[] {
  const source = at(db0, 'client')
  return [
    {
      answeredBy: near.ip,
      records: {
        n1: [
          {
            source,
            destination: at(near, port),
            service: to,
            translation: { destinationIp: near.ip, destinationPort: port },
            direction: 'LOCAL',
            observations: [...via('db-0'), ...via(places[near.ip] ?? '')],
            verdict: 'FORWARDED',
          },
        ],
      },
    },
    {
      answeredBy: far.ip,
      records: {
        n1: [
          {
            source,
            destination: at(far, port),
            service: to,
            translation: { destinationIp: far.ip, destinationPort: port },
            direction: 'EGRESS',
            observations: [...via('db-0'), ...via('eth0')],
            verdict: 'FORWARDED',
          },
        ],
        n2: [
          {
            source,
            destination: at(far, port),
            ...(farService === undefined ? {} : { service: farService }),
            direction: 'INGRESS',
            observations: [...via('eth0'), ...via(places[far.ip] ?? '')],
            verdict: 'FORWARDED',
          },
        ],
      },
    },
  ]
}

const places: Readonly<Record<string, string>> = {
  [web1.ip]: 'web-1',
  [web2.ip]: 'web-2',
  [dns1.ip]: 'dns-1',
  [dns2.ip]: 'dns-2',
}

/** The visitor through n1, which speaks to the backend as itself. */
function fromOutside(to: ServiceCell): Outcome[] {
  const source = at(visitor, 'client')
  const seen = (
    destination: End,
    sourceIp: string,
    rest: Pick<Expected, 'direction' | 'observations'>,
  ): Expected => ({
    source,
    destination: at(destination, 8080),
    service: to,
    translation: { sourceIp, sourcePort: 'translated', destinationIp: destination.ip, destinationPort: 8080 },
    verdict: 'FORWARDED',
    ...rest,
  })
  return [
    {
      answeredBy: web1.ip,
      records: {
        n1: [
          seen(web1, n1OnBridge.ip, {
            direction: 'INGRESS',
            observations: [...via('eth0'), ...via('web-1')],
          }),
        ],
      },
    },
    {
      answeredBy: web2.ip,
      records: {
        n1: [seen(web2, n1.ip, { direction: 'TRANSIT', observations: via('eth0') })],
        n2: [
          {
            source: at(n1, 'translated'),
            destination: at(web2, 8080),
            direction: 'INGRESS',
            observations: [...via('eth0'), ...via('web-2')],
            verdict: 'FORWARDED',
          },
        ],
      },
    },
  ]
}

/** The visitor through n1 by a policy that keeps to local pods: nobody changes the source. */
const local = (to: ServiceCell): Records => ({
  n1: [
    {
      source: at(visitor, 'client'),
      destination: at(web1, 8080),
      service: to,
      translation: { destinationIp: web1.ip, destinationPort: 8080 },
      direction: 'INGRESS',
      observations: [...via('eth0'), ...via('web-1')],
      verdict: 'FORWARDED',
    },
  ],
})

const fromVisitor = (to: string, port: number): Talk => tcp('visitor', to, port, 'n1')

const refusal = (source: End, hooks: string): Expected => ({
  source: n1OnBridge,
  destination: source,
  protocol: 'ICMP',
  direction: 'LOCAL',
  observations: [hooks],
  counts: { forward: 1, reverse: 0 },
})

export const recordedRows: readonly Row[] = [
  {
    name: 'pod-bridge',
    road: 'pod to pod, same node, bridge',
    family: 4,
    talk: tcp('db-0', web1.ip, 8080),
    records: {
      n1: [direct(db0, web1, 8080, { direction: 'LOCAL', observations: [...via('db-0'), ...via('web-1')] })],
    },
  },
  {
    name: 'pod-bridge-udp',
    road: 'pod to pod, same node, bridge',
    family: 4,
    talk: udp('db-0', dns1.ip, 53),
    records: {
      n1: [
        direct(db0, dns1, 53, {
          service: dns(dns1.ip),
          direction: 'LOCAL',
          observations: [...via('db-0'), ...via('dns-1')],
        }),
      ],
    },
  },
  {
    name: 'pod-host-gw',
    road: 'pod to pod across nodes, by routes',
    family: 4,
    talk: tcp('db-0', web2.ip, 8080),
    records: {
      n1: [direct(db0, web2, 8080, { direction: 'EGRESS', observations: [...via('db-0'), ...via('eth0')] })],
      n2: [
        direct(db0, web2, 8080, { direction: 'INGRESS', observations: [...via('eth0'), ...via('web-2')] }),
      ],
    },
  },
  {
    name: 'pod-host-gw-ping',
    road: 'pod to pod across nodes, by routes',
    family: 4,
    talk: ping('db-0', web2.ip),
    records: {
      n1: [
        direct(db0, web2, undefined, { direction: 'EGRESS', observations: [...via('db-0'), ...via('eth0')] }),
      ],
      n2: [
        direct(db0, web2, undefined, {
          direction: 'INGRESS',
          observations: [...via('eth0'), ...via('web-2')],
        }),
      ],
    },
  },
  {
    name: 'nobody-there',
    road: 'an address of the pods that nobody holds',
    family: 4,
    talk: { kind: 'unanswered', from: 'db-0', to: '10.244.2.200', port: 8080 },
    records: {
      n1: [
        direct(db0, { kind: 'UNKNOWN', ip: '10.244.2.200' }, 8080, {
          direction: 'EGRESS',
          observations: ['db-0>', '>eth0'],
          verdict: 'UNANSWERED',
        }),
      ],
      n2: [
        direct(db0, { kind: 'UNKNOWN', ip: '10.244.2.200' }, 8080, {
          direction: 'INGRESS',
          observations: ['eth0>'],
          verdict: 'UNANSWERED',
        }),
      ],
    },
  },
  {
    name: 'cluster-ip',
    road: 'pod to ClusterIP, backend here or on another node',
    family: 4,
    rules: BOTH,
    talk: tcp('db-0', web.ip, 80, 'n1'),
    outcomes: fromDb0(web, 8080, web1, web2),
  },
  {
    name: 'cluster-ip-udp',
    road: 'pod to ClusterIP, backend here or on another node',
    family: 4,
    rules: BOTH,
    talk: udp('db-0', '10.96.0.10', 53, 'n1'),
    outcomes: fromDb0(dns('10.96.0.10'), 53, dns1, dns2, dns(dns2.ip)),
  },
  {
    name: 'cluster-ip-port-of-two-protocols',
    road: 'a service with several named ports',
    family: 4,
    rules: BOTH,
    talk: tcp('db-0', '10.96.0.10', 53, 'n1'),
    outcomes: fromDb0(dnsTcp('10.96.0.10'), 53, dns1, dns2, dnsTcp(dns2.ip)),
  },
  {
    name: 'cluster-ip-third-port',
    road: 'a service with several named ports',
    family: 4,
    rules: BOTH,
    talk: tcp('db-0', '10.96.0.10', 9153, 'n1'),
    outcomes: fromDb0(metrics('10.96.0.10'), 9153, dns1, dns2, metrics(dns2.ip)),
  },
  {
    name: 'affinity',
    road: 'session affinity',
    family: 4,
    rules: BOTH,
    sticky: true,
    talk: tcp('db-0', '10.96.66.86', 8088, 'n1'),
    outcomes: fromDb0(service('sticky', 'ClusterIP', '10.96.66.86', 8088, 'http'), 8080, web1, web2),
  },
  {
    name: 'affinity-other-port',
    road: 'session affinity',
    family: 4,
    rules: BOTH,
    sticky: true,
    talk: tcp('db-0', '10.96.66.86', 9099, 'n1'),
    outcomes: fromDb0(
      service('sticky', 'ClusterIP', '10.96.66.86', 9099, 'admin'),
      9090,
      web1,
      web2,
      service('sticky', 'ClusterIP', web2.ip, 9090, 'admin'),
    ),
  },
  {
    name: 'dual-v4',
    road: 'IPv6 and dual stack',
    family: 4,
    rules: BOTH,
    talk: tcp('db-0', '10.96.183.244', 81, 'n1'),
    outcomes: fromDb0(service('dual', 'ClusterIP', '10.96.183.244', 81), 8080, web1, web2),
  },
  {
    name: 'hairpin',
    road: 'hairpin: a pod reaches itself through its service',
    family: 4,
    rules: BOTH,
    talk: tcp('web-1', web.ip, 80, 'n1'),
    outcomes: [
      {
        answeredBy: web1.ip,
        records: {
          n1: [
            direct(web1, web1, 8080, {
              service: web,
              translation: {
                sourceIp: n1OnBridge.ip,
                sourcePort: 'translated',
                destinationIp: web1.ip,
                destinationPort: 8080,
              },
              direction: 'LOCAL',
              observations: via('web-1'),
            }),
          ],
        },
      },
      {
        answeredBy: web2.ip,
        records: {
          n1: [
            direct(web1, web2, 8080, {
              service: web,
              translation: { destinationIp: web2.ip, destinationPort: 8080 },
              direction: 'EGRESS',
              observations: [...via('web-1'), ...via('eth0')],
            }),
          ],
          n2: [
            direct(web1, web2, 8080, {
              direction: 'INGRESS',
              observations: [...via('eth0'), ...via('web-2')],
            }),
          ],
        },
      },
    ],
  },
  {
    name: 'headless',
    road: 'headless service',
    family: 4,
    talk: tcp('web-1', db1.ip, 5432),
    records: {
      n1: [
        direct(web1, db1, 5432, {
          service: service('db', 'Headless', db1.ip, 5432),
          direction: 'EGRESS',
          observations: [...via('web-1'), ...via('eth0')],
        }),
      ],
      n2: [
        direct(web1, db1, 5432, {
          service: service('db', 'Headless', db1.ip, 5432),
          direction: 'INGRESS',
          observations: [...via('eth0'), ...via('db-1')],
        }),
      ],
    },
  },
  {
    name: 'endpoints-by-hand',
    road: 'a service with hand-made endpoints outside',
    family: 4,
    rules: BOTH,
    talk: tcp('db-0', '10.96.188.211', 9000, 'n1'),
    records: {
      n1: [
        direct(db0, outside, 9000, {
          service: service('manual', 'ClusterIP', '10.96.188.211', 9000),
          translation: {
            sourceIp: n1.ip,
            sourcePort: 'translated',
            destinationIp: outside.ip,
            destinationPort: 9000,
          },
          direction: 'EGRESS',
          observations: [...via('db-0'), ...via('eth0')],
        }),
      ],
    },
  },
  {
    name: 'node-port-cluster',
    road: 'outside to NodePort, policy Cluster',
    family: 4,
    rules: BOTH,
    talk: fromVisitor(n1.ip, 30080),
    outcomes: fromOutside(service('web-np', 'NodePort', n1.ip, 30080)),
  },
  {
    name: 'node-port-local',
    road: 'outside to NodePort, policy Local',
    family: 4,
    rules: BOTH,
    talk: fromVisitor(n1.ip, 30090),
    records: local(service('web-local', 'NodePort', n1.ip, 30090, 'http')),
  },
  {
    name: 'load-balancer',
    road: 'outside to a LoadBalancer address',
    family: 4,
    rules: BOTH,
    talk: fromVisitor('203.0.113.10', 80),
    outcomes: fromOutside(service('web-lb', 'LoadBalancer', '203.0.113.10', 80)),
  },
  {
    name: 'load-balancer-node-port',
    road: 'outside to a LoadBalancer address',
    family: 4,
    rules: BOTH,
    talk: fromVisitor(n1.ip, 30938),
    outcomes: fromOutside(service('web-lb', 'NodePort', n1.ip, 30938)),
  },
  {
    name: 'external-ip',
    road: 'outside to an externalIP',
    family: 4,
    rules: BOTH,
    talk: fromVisitor('198.51.100.7', 80),
    records: local(service('web-local', 'ExternalIP', '198.51.100.7', 80, 'http')),
  },
  {
    name: 'masquerade',
    road: 'pod to the world, masqueraded',
    family: 4,
    talk: tcp('db-0', visitor.ip, 443, 'n1'),
    records: {
      n1: [
        direct(db0, visitor, 443, {
          translation: { sourceIp: n1.ip, sourcePort: 'translated' },
          direction: 'EGRESS',
          observations: [...via('db-0'), ...via('eth0')],
        }),
      ],
    },
  },
  {
    name: 'node-to-node',
    road: 'node to node',
    family: 4,
    talk: tcp('n1', n2.ip, 9001),
    records: {
      n1: [direct(n1, n2, 9001, { direction: 'EGRESS', observations: leaving('eth0') })],
      n2: [direct(n1, n2, 9001, { direction: 'INGRESS', observations: via('eth0') })],
    },
  },
  {
    name: 'kubelet-probe',
    road: 'node process or kubelet probe to pod',
    family: 4,
    talk: { ...tcp('n1', web1.ip, 8080), fromIp: n1OnBridge.ip },
    records: {
      n1: [
        direct({ ...n1OnBridge, process: { command: 'traffic' } }, web1, 8080, {
          direction: 'LOCAL',
          observations: leaving('web-1'),
        }),
      ],
    },
  },
  {
    name: 'node-to-far-pod',
    road: 'node process or kubelet probe to pod',
    family: 4,
    talk: tcp('n1', web2.ip, 8080),
    records: {
      n1: [direct(n1, web2, 8080, { direction: 'EGRESS', observations: leaving('eth0') })],
      n2: [direct(n1, web2, 8080, { direction: 'INGRESS', observations: [...via('eth0'), ...via('web-2')] })],
    },
  },
  {
    name: 'node-to-cluster-ip',
    road: 'node process to ClusterIP',
    family: 4,
    rules: BOTH,
    talk: tcp('n1', web.ip, 80, 'n1'),
    outcomes: [
      {
        answeredBy: web1.ip,
        records: {
          n1: [
            direct(n1, web1, 8080, {
              service: web,
              translation: {
                sourceIp: n1OnBridge.ip,
                sourcePort: 'translated',
                destinationIp: web1.ip,
                destinationPort: 8080,
              },
              direction: 'LOCAL',
              observations: leaving('web-1'),
            }),
          ],
        },
      },
      {
        answeredBy: web2.ip,
        records: {
          n1: [
            direct(n1, web2, 8080, {
              service: web,
              translation: {
                sourceIp: n1.ip,
                sourcePort: 'translated',
                destinationIp: web2.ip,
                destinationPort: 8080,
              },
              direction: 'EGRESS',
              observations: leaving('eth0'),
            }),
          ],
          n2: [
            direct(n1, web2, 8080, {
              source: at(n1, 'translated'),
              direction: 'INGRESS',
              observations: [...via('eth0'), ...via('web-2')],
            }),
          ],
        },
      },
    ],
  },
  {
    name: 'pod-to-its-node',
    road: 'pod to node',
    family: 4,
    talk: tcp('db-0', n1.ip, 9001),
    records: { n1: [direct(db0, n1, 9001, { direction: 'LOCAL', observations: via('db-0') })] },
  },
  {
    name: 'api-server-address',
    road: "pod to the API server's address",
    family: 4,
    talk: tcp('db-0', n2.ip, 6443),
    records: {
      n1: [direct(db0, n2, 6443, { direction: 'EGRESS', observations: [...via('db-0'), ...via('eth0')] })],
      n2: [direct(db0, n2, 6443, { direction: 'INGRESS', observations: via('eth0') })],
    },
  },
  ...(['nftables', 'iptables'] as const).map((rules, i): Row => {
    const [from, source] = i === 0 ? (['db-0', db0] as const) : (['web-1', web1] as const)
    return {
      name: 'no-endpoints',
      road: 'a service without endpoints',
      family: 4,
      rules: [rules],
      talk: { kind: 'refused', from, to: '10.96.0.1', port: 443 },
      records: {
        n1: [
          direct(source, { kind: 'UNKNOWN', ip: '10.96.0.1' }, 443, {
            service: service('kubernetes', 'ClusterIP', '10.96.0.1', 443, 'https', 'default'),
            direction: 'EGRESS',
            observations: [`${from}>`],
            verdict: 'REFUSED',
          }),
          refusal(source, `>${from}`),
        ],
      },
    }
  }),
  {
    name: 'no-such-port',
    road: 'a service without endpoints',
    family: 4,
    rules: ['nftables'],
    talk: { kind: 'refused', from: 'dns-1', to: web.ip, port: 81 },
    records: {
      n1: [
        direct(dns1, { kind: 'UNKNOWN', ip: web.ip }, 81, {
          direction: 'EGRESS',
          observations: ['dns-1>'],
          verdict: 'REFUSED',
        }),
        refusal(dns1, '>dns-1'),
      ],
    },
  },
  {
    name: 'node-local-dns-vip',
    road: 'NodeLocal DNSCache: the VIP ends on the node',
    family: 4,
    talk: udp('db-1', '10.96.0.10', 53),
    records: {
      n2: [
        direct(db1, node(2, '10.96.0.10'), 53, {
          service: dns('10.96.0.10'),
          direction: 'LOCAL',
          observations: via('db-1'),
        }),
      ],
    },
  },
  {
    name: 'node-local-dns-own-address',
    road: 'NodeLocal DNSCache: the VIP ends on the node',
    family: 4,
    talk: udp('db-1', '169.254.20.10', 53),
    records: {
      n2: [direct(db1, node(2, '169.254.20.10'), 53, { direction: 'LOCAL', observations: via('db-1') })],
    },
  },
  {
    name: 'open-before-outside',
    road: 'open before the agent started',
    family: 4,
    talk: { ...fromVisitor(n1.ip, 30090), openBefore: true },
    records: local(service('web-local', 'NodePort', n1.ip, 30090, 'http')),
  },
  {
    name: 'open-before-masqueraded',
    road: 'open before the agent started',
    family: 4,
    talk: { ...tcp('db-0', visitor.ip, 443, 'n1'), openBefore: true },
    records: {
      n1: [
        direct(db0, visitor, 443, {
          translation: { sourceIp: n1.ip, sourcePort: 'translated' },
          direction: 'EGRESS',
          observations: [...via('db-0'), ...via('eth0')],
        }),
      ],
    },
  },
  {
    name: 'external-name',
    road: 'ExternalName',
    family: 4,
    waits: 'the name comes from DNS answers seen on the wire, which nothing reads yet',
    talk: tcp('db-0', outside.ip, 443, 'n1'),
    records: {
      n1: [
        direct(db0, outside, 443, {
          service: { namespace: 'shop', name: 'ext', type: 'ExternalName', ip: outside.ip, port: 443 },
          translation: { sourceIp: n1.ip, sourcePort: 'translated' },
          direction: 'EGRESS',
          observations: [...via('db-0'), ...via('eth0')],
        }),
      ],
    },
  },
]
