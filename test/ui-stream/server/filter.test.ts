import { describe, expect, it } from 'vitest'
import { FlowBatch, FlowFlag } from '../../../agent/capture/flow-batch.js'
import type { Name, ServiceName } from '../../../agent/identity/names.js'
import { parseNetwork } from '../../../ui-stream/protocol/address.js'
import { parseQuery } from '../../../ui-stream/protocol/subscription.js'
import { FlowFilter } from '../../../ui-stream/server/filter.js'
import type { FlowColumns } from '../../../ui-stream/server/flow-columns.js'
import { columnsOf } from './columns.js'

const web: Name = {
  kind: 1,
  namespace: 'default',
  pod: 'web-7d4b9c6f5-abcde',
  workload: { kind: 'Deployment', name: 'web' },
  nodeName: 'n1',
  labels: { app: 'web', tier: 'front' },
}
const api: Name = {
  kind: 1,
  namespace: 'shop',
  pod: 'api-0',
  workload: { kind: 'StatefulSet', name: 'api' },
  nodeName: 'n2',
  labels: { app: 'api' },
}
const website: Name = { kind: 1, namespace: 'website', pod: 'website-1', nodeName: 'n2', labels: {} }
const node: Name = { kind: 2, nodeName: 'n2' }
const world: Name = { kind: 3, names: ['www.example.com', 'cdn.example.net.'] }
const unknown: Name = { kind: 4 }
const apiService: ServiceName = { namespace: 'shop', name: 'api', type: 'ClusterIP' }
const webService: ServiceName = { namespace: 'default', name: 'web', type: 'NodePort' }

interface Row {
  source: [Name, string, number]
  destination: [Name, string, number]
  service?: [ServiceName | undefined, string, number]
  protocol: number
  verdict?: number
  event?: number
  direction?: number
  flags?: [forward: number, reverse: number]
  interfaces?: string[]
  reason?: string
  own?: boolean
  captured?: string
}

/** The flows that every filter below is asked about, by letter. */
const ROWS: Record<string, Row> = {
  // web -> api by its service, captured on n1.
  a: {
    source: [web, '10.244.1.5', 40000],
    destination: [api, '10.244.2.7', 8080],
    service: [apiService, '10.96.0.20', 80],
    protocol: 6,
    verdict: 1,
    event: 1,
    direction: 2,
    flags: [2, 18],
    interfaces: ['veth1a', 'eth0'],
  },
  // api -> the world, refused, captured on n2.
  b: {
    source: [api, '10.244.2.7', 41000],
    destination: [world, '93.184.216.34', 443],
    protocol: 6,
    verdict: 3,
    event: 3,
    direction: 2,
    flags: [2, 20],
    interfaces: ['veth2b'],
    captured: 'n2',
  },
  // website -> web, IPv6, UDP.
  c: {
    source: [website, 'fd00:2::9', 5353],
    destination: [web, 'fd00:1::5', 53],
    protocol: 17,
    verdict: 4,
    event: 2,
    direction: 1,
    interfaces: ['veth1a'],
  },
  // the node n2 -> web by NodePort, dropped.
  d: {
    source: [node, '192.168.0.2', 50000],
    destination: [web, '10.244.1.5', 80],
    service: [webService, '192.168.0.1', 30080],
    protocol: 6,
    verdict: 2,
    event: 4,
    direction: 1,
    flags: [2, 0],
    reason: 'NETFILTER_DROP',
    interfaces: [],
  },
  // ping from somebody unknown, captured in transit on n3.
  e: {
    source: [unknown, '172.16.0.1', 0],
    destination: [unknown, '172.31.255.255', 0],
    protocol: 1,
    event: 2,
    direction: 4,
    interfaces: ['vxlan.calico'],
    captured: 'n3',
  },
  // vethflow's own.
  f: {
    source: [web, '10.244.1.5', 60000],
    destination: [node, '192.168.0.2', 4280],
    protocol: 6,
    verdict: 1,
    event: 2,
    own: true,
  },
}

function build(): FlowColumns {
  const rows = Object.values(ROWS)
  const columns = new FlowBatch(rows.length)
  const words = (column: Uint32Array, row: number, text: string): void =>
    column.set(parseNetwork(text)!.words, row * 4)
  for (const [i, row] of rows.entries()) {
    const [, serviceIp, servicePort] = row.service ?? [undefined, row.destination[1], row.destination[2]]
    columns.timeUs[i] = 1000 * (i + 1)
    columns.ipVersion[i] = parseNetwork(row.source[1])!.version
    columns.protocol[i] = row.protocol
    columns.verdict[i] = row.verdict ?? 0
    columns.event[i] = row.event ?? 0
    columns.flags[i] = row.own ? FlowFlag.OWN : 0
    columns.tcpFlagsForward[i] = row.flags?.[0] ?? 0
    columns.tcpFlagsReverse[i] = row.flags?.[1] ?? 0
    words(columns.source, i, row.source[1])
    words(columns.destination, i, row.destination[1])
    words(columns.service, i, serviceIp)
    columns.sourcePort[i] = row.source[2]
    columns.destinationPort[i] = row.destination[2]
    columns.servicePort[i] = servicePort
  }
  return columnsOf({
    count: rows.length,
    columns,
    source: rows.map((row) => row.source[0]),
    destination: rows.map((row) => row.destination[0]),
    service: rows.map((row) => row.service?.[0]),
    direction: Uint8Array.from(rows, (row) => row.direction ?? 0),
    nodeName: rows.map((row) => row.captured ?? 'n1'),
    interfaces: rows.map((row) => row.interfaces ?? []),
    dropReason: rows.map((row) => row.reason),
  })
}

function passing(query: string): string {
  const filter = FlowFilter.compile(parseQuery(new URLSearchParams(query), 0))
  const rows = build()
  const selected = filter.select(rows)
  const letters = Object.keys(ROWS)
  return selected === 'all' ? letters.join('') : [...selected].map((row) => letters[row]).join('')
}

describe('FlowFilter', () => {
  it.each([
    ['', 'abcde'],
    ['own=true', 'abcdef'],
    // pods
    ['pod=web', 'acd'],
    ['pod=default/web', 'acd'],
    ['pod=shop/web', ''],
    ['pod=website', 'c'],
    ['pod=shop/', 'ab'],
    ['pod=web-7d4b9c6f5-abcde', 'acd'],
    ['pod=WEB', ''],
    ['pod=eb', ''],
    ['from-pod=web', 'ac'],
    ['from-pod=default/web', 'a'],
    ['to-pod=web', 'cd'],
    ['to-pod=default/web', 'cd'],
    ['from-pod=api&to-pod=web', ''],
    ['from-pod=web&to-pod=api', 'a'],
    // namespaces
    ['namespace=default', 'acd'],
    ['namespace=def', ''],
    ['from-namespace=default', 'a'],
    ['to-namespace=default', 'cd'],
    ['namespace=shop&namespace=website', 'abc'],
    // workloads
    ['workload=web', 'acd'],
    ['workload=Deployment/web', 'acd'],
    ['workload=deployment/web', 'acd'],
    ['workload=StatefulSet/web', ''],
    ['from-workload=api', 'b'],
    ['to-workload=statefulset/api', 'a'],
    ['workload=we', ''],
    // services
    ['service=api', 'a'],
    ['service=shop/api', 'a'],
    ['service=default/api', ''],
    ['to-service=web', 'd'],
    ['service=api&service=web', 'ad'],
    // who answers for a service, by what was seen: row a shows api, row d shows web
    ['from-service=api', 'b'],
    ['from-service=shop/api', 'b'],
    ['from-service=default/api', ''],
    ['from-service=web', 'a'],
    ['from-service=web&to-service=api', 'a'],
    // nodes: either end's, and bare who captured
    ['node=n1', 'acd'],
    ['node=n2', 'abcd'],
    ['node=n3', 'e'],
    ['from-node=n1', 'a'],
    ['to-node=n2', 'a'],
    ['to-node=n3', ''],
    // labels
    ['label=app=web', 'acd'],
    ['from-label=app=web', 'a'],
    ['label=app in (web, api)', 'abcd'],
    ['label=app=web,tier=front', 'acd'],
    ['label=app=api,tier=front', ''],
    ['to-label=app', 'acd'],
    ['from-label=!app', 'c'],
    ['from-label=app!=web', 'bc'],
    ['label=app=api&label=tier', 'abcd'],
    // addresses: bare and to- also what the client addressed
    ['ip=10.244.1.5', 'ad'],
    ['ip=10.96.0.20', 'a'],
    ['to-ip=10.96.0.20', 'a'],
    ['from-ip=10.96.0.20', ''],
    ['from-ip=10.244.0.0/16', 'ab'],
    ['to-ip=10.244.0.0/16', 'ad'],
    ['ip=0.0.0.0/0', 'abde'],
    ['ip=::/0', 'c'],
    ['ip=fd00:1::/32', 'c'],
    ['ip=172.16.0.0/12', 'e'],
    ['from-ip=fd00:1::5', ''],
    ['ip=10.244.2.6/31', 'ab'],
    ['ip=10.244.2.6', ''],
    // ports
    ['port=80', 'ad'],
    ['port=8080', 'a'],
    ['from-port=80', ''],
    ['to-port=80', 'ad'],
    ['port=30000-31000', 'd'],
    ['port=53', 'c'],
    ['port=40000-60000', 'abd'],
    ['port=443&port=53', 'bc'],
    // DNS names
    ['dns=www.example.com', 'b'],
    ['dns=WWW.example.com.', 'b'],
    ['dns=*.example.net', 'b'],
    ['dns=example.com', ''],
    ['from-dns=*', ''],
    ['to-dns=www.*.com', 'b'],
    // the flow itself
    ['protocol=tcp', 'abd'],
    ['protocol=17&protocol=ICMP', 'ce'],
    ['verdict=dropped', 'd'],
    ['verdict=FORWARDED&verdict=REFUSED', 'ab'],
    ['drop-reason=netfilter_drop', 'd'],
    ['drop-reason=NO_SOCKET', ''],
    ['tcp-flags=syn', 'abd'],
    ['tcp-flags=syn,ack', 'a'],
    ['tcp-flags=rst,ack', 'b'],
    ['tcp-flags=rst&tcp-flags=syn,ack', 'ab'],
    ['tcp-flags=fin', ''],
    ['direction=egress', 'ab'],
    ['direction=TRANSIT', 'e'],
    ['direction=LOCAL', ''],
    ['interface=eth0', 'a'],
    ['interface=veth*', 'abc'],
    ['interface=veth?a', 'ac'],
    ['interface=vxlan.calico', 'e'],
    ['event=opened', 'a'],
    ['event=CLOSED&event=DROPPED', 'bd'],
    // different filters: and; the same: or
    ['pod=web&protocol=udp', 'c'],
    ['pod=api&pod=website&protocol=tcp', 'ab'],
    ['pod=web&from-pod=api', ''],
    ['namespace=default&port=80&verdict=dropped&verdict=forwarded', 'ad'],
    // negation: or'ed, then excluded
    ['not.protocol=tcp', 'ce'],
    ['not.protocol=tcp&not.protocol=icmp', 'c'],
    ['not.namespace=shop&not.verdict=dropped', 'ce'],
    ['protocol=tcp&not.namespace=shop', 'd'],
    ['namespace=default&not.namespace=shop', 'cd'],
    ['not.from-pod=web', 'bde'],
    ['not.label=app', 'e'],
    ['pod=web&not.pod=web', ''],
    ['own=true&not.port=4280', 'abcde'],
    // times
    ['since=1970-01-01T00:00:00.003Z', 'cde'],
    ['until=1970-01-01T00:00:00.002Z', 'ab'],
    ['since=1970-01-01T00:00:00.002Z&until=1970-01-01T00:00:00.003Z&protocol=tcp', 'b'],
  ])('%s passes %s', (query, letters) => {
    expect(passing(query)).toBe(letters)
  })

  it('selects within a range', () => {
    const filter = FlowFilter.compile(parseQuery(new URLSearchParams('protocol=tcp'), 0))
    expect(filter.select(build(), 1, 4)).toEqual(Uint32Array.of(1, 3))
    expect(filter.select(build(), 0, 2)).toBe('all')
    expect(filter.select(build(), 2, 3)).toEqual(Uint32Array.of())
  })
})
