// Flow messages for the tests of the output forms. Builders only.

import {
  EndpointKind,
  type EndpointMessage,
  Event,
  type FlowMessage,
  Verdict,
} from '../../../ui-stream/protocol/messages.js'

/** 2026-03-04 05:06:07.089123 UTC. */
export const TIME_US = Date.UTC(2026, 2, 4, 5, 6, 7, 89) * 1000 + 123

export const v4 = (text: string): Uint8Array => Uint8Array.from(text.split('.').map(Number))
export const v6 = (...groups: number[]): Uint8Array =>
  Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]))

export function pod(
  namespace: string,
  name: string,
  workload: string,
  ip: string,
  port = 0,
): EndpointMessage {
  return {
    kind: EndpointKind.ENDPOINT_KIND_POD,
    namespace,
    pod: name,
    workload: { kind: 'Deployment', name: workload },
    ip: v4(ip),
    port,
    nodeName: 'n1',
  }
}

export function node(name: string, ip: string, port = 0): EndpointMessage {
  return { kind: EndpointKind.ENDPOINT_KIND_NODE, nodeName: name, ip: v4(ip), port }
}

export function world(ip: Uint8Array, port = 0, name?: string): EndpointMessage {
  return { kind: EndpointKind.ENDPOINT_KIND_WORLD, ip, port, ...(name !== undefined && { names: [name] }) }
}

export function counters(packets: number, bytes: number) {
  return { packets, bytes, totalPackets: packets, totalBytes: bytes }
}

export function flow(fields: FlowMessage): FlowMessage {
  return {
    id: 7,
    agentId: 'run1',
    event: Event.EVENT_UPDATED,
    timeUs: TIME_US,
    startTimeUs: TIME_US - 1000,
    endTimeUs: TIME_US,
    nodeName: 'n1',
    ipVersion: 4,
    protocol: 6,
    forward: counters(0, 0),
    reverse: counters(0, 0),
    ...fields,
  }
}

export const web = pod('shop', 'web-859d8b7c4f-fgph8', 'web', '10.244.1.7', 41234)
export const cart = pod('shop', 'cart-5d4f8c7b99-zxcvb', 'cart', '10.244.2.9', 8080)
export const cartService = {
  namespace: 'shop',
  name: 'cart',
  type: 'ClusterIP',
  ip: v4('10.96.0.5'),
  port: 80,
}

/** Flows of many shapes: short and long names, families, protocols, outcomes. */
export const CORPUS: readonly FlowMessage[] = [
  flow({
    event: Event.EVENT_OPENED,
    source: web,
    destination: cart,
    service: cartService,
    forward: counters(1, 60),
  }),
  flow({
    event: Event.EVENT_CLOSED,
    verdict: Verdict.VERDICT_FORWARDED,
    source: web,
    destination: { ...cart, port: 80 },
    service: cartService,
    nodeName: 'ip-10-0-12-34.eu-west-1.compute.internal',
    forward: counters(10, 1234),
    reverse: counters(12, 345_678),
    tcp: { handshakeRttUs: 1234 },
  }),
  flow({
    event: Event.EVENT_DROPPED,
    verdict: Verdict.VERDICT_DROPPED,
    protocol: 17,
    source: pod('kube-system', 'coredns-7c65d6cfc9-abcde', 'coredns', '10.244.0.3', 53412),
    destination: world(v4('8.8.8.8'), 53),
    drop: { reason: 'NETFILTER_DROP', packets: 3 },
  }),
  flow({
    event: Event.EVENT_CLOSED,
    verdict: Verdict.VERDICT_REFUSED,
    source: node('n1', '192.168.1.10', 50000),
    destination: pod('shop', 'db-0', 'db', '10.244.1.1', 5432),
    forward: counters(1, 60),
    reverse: counters(1, 40),
  }),
  flow({
    verdict: Verdict.VERDICT_UNANSWERED,
    protocol: 58,
    ipVersion: 6,
    source: world(v6(0x2001, 0xdb8, 0, 0, 0x1111, 0x2222, 0x3333, 0x4444)),
    destination: world(v6(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    forward: counters(5, 123_456_789),
  }),
  flow({
    protocol: 132,
    source: pod('a', 'x', 'x', '10.0.0.1', 65535),
    destination: pod('b', 'y', 'y', '10.0.0.2', 1),
    forward: counters(1, 999),
    reverse: counters(1, 1000),
  }),
  flow({
    source: pod(
      'a-namespace-with-a-name-of-sixty-three-characters-which-is-most',
      'a-workload-that-somebody-has-given-a-very-long-name-7c65d6cfc9-q2w3e',
      'a-workload-that-somebody-has-given-a-very-long-name',
      '10.0.0.3',
      40000,
    ),
    destination: pod('observability', 'victoria-metrics-cluster-vmstorage-12', 'victoria', '10.0.0.4', 8482),
    service: {
      namespace: 'observability',
      name: 'victoria-metrics-cluster-vmstorage',
      type: 'ClusterIP',
      ip: v4('10.96.1.1'),
      port: 8481,
    },
    forward: counters(1, 999_499_999),
    reverse: counters(1, 999_500_000),
    tcp: { handshakeRttUs: 999_499 },
  }),
  flow({
    protocol: 255,
    source: world(v4('255.255.255.255')),
    destination: world(v4('1.1.1.1'), 0, 'one.one.one.one'),
  }),
  flow({
    source: world(v4('100.100.100.100'), 65535),
    destination: world(v4('203.0.113.77'), 443, '例え.テスト'),
    tcp: { smoothedRttUs: 15 },
  }),
  flow({ nodeName: '', protocol: 0 }),
  flow({ source: web, destination: null, service: { namespace: 'shop', name: 'nothing-behind', port: 80 } }),
]
