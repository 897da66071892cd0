// Tunnels as packets: IPIP, 6in4, GRE and Geneve between n1 and n2, opened on the uplink alone; and the same packets where
// the node has no such tunnel, which open nothing.

import { tunnel_type } from '../../../agent/kernel/layout.gen.js'
import { addressBytes, ethernet, frame, geneve, gre, ip4, ip6, udp } from '../../kernels/frame.js'
import type { FedRow } from '../fed.js'
import type { End, Expected, TunnelCell } from '../row.js'
import { direct, via } from '../words.js'

const HERE = '172.18.0.2'
const THERE = '172.18.0.3'
const HERE6 = 'fd00:18::2'
const THERE6 = 'fd00:18::3'
const GENEVE_PORT = 6081
const KEY = 77

const pod = (name: 'client' | 'server', ip: string): End => ({
  kind: 'POD',
  ip,
  namespace: 'shop',
  pod: name,
  nodeName: name === 'server' ? 'n1' : 'n2',
})
const INNER = {
  4: { source: '10.244.2.10', destination: '10.244.1.10', destinationPort: 8080 },
  6: { source: 'fd00:244:0:2::10', destination: 'fd00:244:0:1::10', destinationPort: 8080 },
} as const

/** Pods of both nodes, for the names. */
export const fedObjects: readonly object[] = (['client', 'server'] as const).map((name) => {
  const end = name === 'client' ? 'source' : 'destination'
  const ips = [INNER[4][end], INNER[6][end]]
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', uid: name },
    spec: { nodeName: name === 'server' ? 'n1' : 'n2', containers: [{ name: 'main', image: 'testbed' }] },
    status: { phase: 'Running', hostIP: HERE, podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) },
  }
})

interface Outer {
  readonly name: string
  readonly road: string
  readonly inner: 4 | 6
  readonly outer: 4 | 6
  readonly protocol: number
  readonly type: TunnelCell['type']
  readonly number: number
  readonly id?: number
  /** What stands between the outer IP header and the inner packet. */
  wrap(inner: Buffer): Buffer
}

const asIs = (inner: Buffer): Buffer => inner
const inGeneve = (inner: Buffer): Buffer => {
  const carried = geneve(KEY, 8, ethernet(inner[0]! >> 4 === 6 ? 0x86dd : 0x0800, inner))
  return udp({ address: '', port: 50_000 }, { address: '', port: GENEVE_PORT }, carried)
}
const OUTERS: readonly Outer[] = [
  {
    name: 'ipip',
    road: 'IPIP',
    inner: 4,
    outer: 4,
    protocol: 4,
    type: 'IPIP',
    number: tunnel_type.TUNNEL_IPIP,
    wrap: asIs,
  },
  {
    name: '6in4',
    road: 'IPIP',
    inner: 6,
    outer: 4,
    protocol: 41,
    type: 'IPIP',
    number: tunnel_type.TUNNEL_IPIP,
    wrap: asIs,
  },
  {
    name: '4in6',
    road: 'IPIP',
    inner: 4,
    outer: 6,
    protocol: 4,
    type: 'IPIP',
    number: tunnel_type.TUNNEL_IPIP,
    wrap: asIs,
  },
  {
    name: 'gre',
    road: 'GRE',
    inner: 4,
    outer: 4,
    protocol: 47,
    type: 'GRE',
    number: tunnel_type.TUNNEL_GRE,
    id: KEY,
    wrap: (inner) => gre(KEY, inner),
  },
  {
    name: 'gre-in-ipv6',
    road: 'GRE',
    inner: 4,
    outer: 6,
    protocol: 47,
    type: 'GRE',
    number: tunnel_type.TUNNEL_GRE,
    id: KEY,
    wrap: (inner) => gre(KEY, inner),
  },
  ...([4, 6] as const).flatMap((inner) =>
    ([4, 6] as const).map(
      (outer): Outer => ({
        name: `geneve-in-ipv${outer}`,
        road: 'Geneve',
        inner,
        outer,
        protocol: 17,
        type: 'GENEVE',
        number: tunnel_type.TUNNEL_GENEVE,
        id: KEY,
        wrap: inGeneve,
      }),
    ),
  ),
]

function outerPacket({ outer, protocol, wrap }: Outer, inner: Buffer, back: boolean): Buffer {
  const [from, to] = back ? [0, 1] : [1, 0]
  const ends = outer === 4 ? [HERE, THERE] : [HERE6, THERE6]
  const body = wrap(inner)
  return frame(
    outer === 4
      ? ip4(ends[from]!, ends[to]!, { protocol }, body)
      : ip6(ends[from]!, ends[to]!, protocol, body),
  )
}

function row(outer: Outer): FedRow {
  const inner = INNER[outer.inner]
  const [local, peer] = outer.outer === 4 ? [HERE, THERE] : [HERE6, THERE6]
  const expected: Expected = direct(pod('client', inner.source), pod('server', inner.destination), 8080, {
    direction: 'INGRESS',
    tunnel: {
      type: outer.type,
      ...(outer.id === undefined ? {} : { id: outer.id }),
      source: peer,
      destination: local,
    },
    observations: via('eth0'),
  })
  return {
    name: outer.name,
    road: `pod to pod across nodes, by ${outer.road}`,
    family: outer.inner,
    talk: { kind: 'tcp', from: 'client', to: inner.destination, port: 8080 },
    records: { n1: [expected] },
    tunnel: {
      port: outer.protocol === 17 ? GENEVE_PORT : 0,
      protocol: outer.protocol,
      family: outer.outer,
      type: outer.number,
      local: addressBytes(local),
      ...(outer.id === undefined ? {} : { id: outer.id }),
    },
    wrap: (packet, back) => outerPacket(outer, packet, back),
    inner,
    expected,
  }
}

/** IPIP packets where there is no such tunnel: whoever sends them opens nothing. */
const forged: FedRow = (() => {
  const ipip = OUTERS[0]!
  const expected: Expected = {
    source: { kind: 'WORLD', ip: THERE },
    destination: { kind: 'NODE', nodeName: 'n1', ip: HERE },
    protocol: '4',
    direction: 'INGRESS',
    observations: via('eth0'),
    verdict: 'FORWARDED',
  }
  return {
    ...row(ipip),
    name: 'ipip-without-a-device',
    road: 'tunnel packets that no device here takes',
    records: { n1: [expected] },
    tunnel: undefined,
    expected,
    outerOctets: 20,
  }
})()

export const fedRows: readonly FedRow[] = [...OUTERS.map(row), forged]
