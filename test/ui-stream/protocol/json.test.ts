import { describe, expect, it } from 'vitest'
import { frameToJson } from '../../../ui-stream/protocol/frame-json.js'
import { flowToJson, lostToJson } from '../../../ui-stream/protocol/json.js'
import { Flow, type FlowMessage, StreamMessage } from '../../../ui-stream/protocol/messages.js'
import { statusToJson } from '../../../ui-stream/protocol/status-json.js'

/** As it is after the wire. */
function decoded(message: FlowMessage): FlowMessage {
  return Flow.decode(Flow.encode(message).finish())
}

const V6 = Uint8Array.from(Buffer.from('20010db8000000000000000000000001', 'hex'))
const full: FlowMessage = {
  id: 9007199254740991,
  agentId: '01jabc',
  event: 3,
  timeUs: 1_790_000_000_123_456,
  startTimeUs: 1_789_999_999_000_001,
  endTimeUs: 1_790_000_000_000_000,
  nodeName: 'n1',
  ipVersion: 4,
  protocol: 6,
  source: {
    kind: 1,
    ip: Uint8Array.of(10, 244, 1, 5),
    port: 40000,
    namespace: 'default',
    pod: 'web-1',
    workload: { kind: 'Deployment', name: 'web' },
    nodeName: 'n1',
    zone: 'eu-1a',
    group: 'payments',
    labels: { app: 'web' },
    names: ['web.default.svc'],
    process: { pid: 42, command: 'curl', container: 'c1' },
  },
  destination: { kind: 3, ip: V6, port: 443, names: ['example.com'] },
  service: {
    namespace: 'shop',
    name: 'api',
    type: 'LoadBalancer',
    portName: 'http',
    ip: Uint8Array.of(10, 96, 0, 20),
    port: 80,
    ingresses: ['api.example.com'],
  },
  translation: {
    sourceIp: Uint8Array.of(192, 168, 0, 1),
    sourcePort: 61000,
    destinationIp: Uint8Array.of(10, 244, 2, 7),
    destinationPort: 8080,
  },
  direction: 2,
  forward: { packets: 10, bytes: 1000, totalPackets: 20, totalBytes: 2000 },
  reverse: { packets: 5, bytes: 500, totalPackets: 2 ** 45, totalBytes: 2 ** 53 - 1 },
  verdict: 3,
  drop: {
    reason: 'NETFILTER_DROP',
    packets: 3,
    function: 'nf_hook_slow',
    hook: 1,
    interface: 'eth0',
    policies: [{ namespace: 'shop', name: 'deny', direction: 1, allows: false }],
  },
  policies: [{ namespace: 'shop', name: 'allow-web', direction: 2, allows: true }],
  tcp: {
    state: 5,
    flags: { forward: 0b00011010, reverse: 0b11100101 },
    handshakeRttUs: 350,
    smoothedRttUs: 420,
    retransmits: { forward: 1, reverse: 0 },
    outOfOrder: 2,
    zeroWindows: 3,
    resetBy: 2,
  },
  dns: {
    query: 'example.com',
    type: 'A',
    responseCode: 'NOERROR',
    latencyUs: 900,
    answers: ['93.184.216.34'],
  },
  icmp: { type: 3, code: 1 },
  tunnel: { type: 1, id: 42, source: Uint8Array.of(192, 0, 2, 1), destination: Uint8Array.of(192, 0, 2, 2) },
  observations: [
    { interface: 'veth1', direction: 1 },
    { interface: 'eth0', direction: 2 },
  ],
  views: [{ nodeName: 'n2', forward: { packets: 10, bytes: 999 }, reverse: {} }],
  initiatorInferred: true,
  own: true,
  endReason: 2,
  sequence: 77,
}

describe('flowToJson', () => {
  it('says every field as the contract has it', () => {
    expect(flowToJson(decoded(full))).toStrictEqual({
      id: 9007199254740991,
      agentId: '01jabc',
      event: 'CLOSED',
      time: '2026-09-21T14:13:20.123456Z',
      startTime: '2026-09-21T14:13:19.000001Z',
      endTime: '2026-09-21T14:13:20.000000Z',
      nodeName: 'n1',
      ipVersion: 4,
      protocol: 'TCP',
      source: {
        kind: 'POD',
        ip: '10.244.1.5',
        port: 40000,
        namespace: 'default',
        pod: 'web-1',
        workload: { kind: 'Deployment', name: 'web' },
        nodeName: 'n1',
        zone: 'eu-1a',
        group: 'payments',
        labels: { app: 'web' },
        names: ['web.default.svc'],
        process: { pid: 42, command: 'curl', container: 'c1' },
      },
      destination: { kind: 'WORLD', ip: '2001:db8::1', port: 443, names: ['example.com'] },
      service: {
        namespace: 'shop',
        name: 'api',
        type: 'LoadBalancer',
        portName: 'http',
        ip: '10.96.0.20',
        port: 80,
        ingresses: ['api.example.com'],
      },
      translation: {
        sourceIp: '192.168.0.1',
        sourcePort: 61000,
        destinationIp: '10.244.2.7',
        destinationPort: 8080,
      },
      direction: 'EGRESS',
      forward: { packets: 10, bytes: 1000, totalPackets: 20, totalBytes: 2000 },
      reverse: { packets: 5, bytes: 500, totalPackets: 35184372088832, totalBytes: 9007199254740991 },
      verdict: 'REFUSED',
      drop: {
        reason: 'NETFILTER_DROP',
        packets: 3,
        function: 'nf_hook_slow',
        hook: 'INGRESS',
        interface: 'eth0',
        policies: [{ namespace: 'shop', name: 'deny', direction: 'INGRESS', allows: false }],
      },
      policies: [{ namespace: 'shop', name: 'allow-web', direction: 'EGRESS', allows: true }],
      tcp: {
        state: 'CLOSED',
        flags: { forward: ['syn', 'psh', 'ack'], reverse: ['fin', 'rst', 'urg', 'ece', 'cwr'] },
        handshakeRttUs: 350,
        smoothedRttUs: 420,
        retransmits: { forward: 1, reverse: 0 },
        outOfOrder: 2,
        zeroWindows: 3,
        resetBy: 'DESTINATION',
      },
      dns: {
        query: 'example.com',
        type: 'A',
        responseCode: 'NOERROR',
        latencyUs: 900,
        answers: ['93.184.216.34'],
      },
      icmp: { type: 3, code: 1 },
      tunnel: { type: 'VXLAN', id: 42, source: '192.0.2.1', destination: '192.0.2.2' },
      observations: [
        { interface: 'veth1', direction: 'INGRESS' },
        { interface: 'eth0', direction: 'EGRESS' },
      ],
      views: [
        {
          nodeName: 'n2',
          forward: { packets: 10, bytes: 999, totalPackets: 0, totalBytes: 0 },
          reverse: { packets: 0, bytes: 0, totalPackets: 0, totalBytes: 0 },
        },
      ],
      initiatorInferred: true,
      own: true,
      endReason: 'RST',
    })
  })

  it('leaves out what is not known, and keeps counters', () => {
    const zero = { packets: 0, bytes: 0, totalPackets: 0, totalBytes: 0 }
    expect(flowToJson(decoded({ id: 1, protocol: 17 }))).toStrictEqual({
      id: 1,
      protocol: 'UDP',
      forward: zero,
      reverse: zero,
    })
  })

  it.each([
    [1, 'ICMP'],
    [6, 'TCP'],
    [17, 'UDP'],
    [58, 'ICMPv6'],
    [132, 'SCTP'],
    [0, '0'],
    [47, '47'],
    [255, '255'],
  ])('names protocol %i %s', (protocol, name) => {
    expect(flowToJson(decoded({ protocol })).protocol).toBe(name)
  })

  it('keeps zeros that mean something', () => {
    const flow = flowToJson(
      decoded({
        icmp: {},
        tunnel: { type: 2 },
        tcp: { flags: { forward: 2 } },
        drop: { reason: 'X' },
        source: {},
      }),
    )
    expect(flow.icmp).toStrictEqual({ type: 0, code: 0 })
    expect(flow.tunnel).toStrictEqual({ type: 'GENEVE', id: 0 })
    expect(flow.tcp).toStrictEqual({ flags: { forward: ['syn'], reverse: [] } })
    expect(flow.drop).toStrictEqual({ reason: 'X', packets: 0 })
    expect(flow.source).toStrictEqual({})
    expect(flowToJson(decoded({ tunnel: { type: 3 } })).tunnel).toStrictEqual({ type: 'IPIP' })
  })

  it('takes what a later or a hostile sender says for unknown', () => {
    const later: number = 40
    const flow = flowToJson(
      decoded({
        verdict: later,
        event: later,
        source: { ip: new Uint8Array(5), kind: later },
        timeUs: 9e15,
        tcp: { state: later },
      }),
    )
    expect(flow.verdict).toBeUndefined()
    expect(flow.event).toBeUndefined()
    expect(flow.source).toStrictEqual({})
    expect(flow.tcp).toStrictEqual({})
    expect(flow.time).toMatch(/^2255-/)
    expect('verdict' in flow).toBe(false)
  })
})

describe('frames', () => {
  it('says losses', () => {
    expect(
      lostToJson({ nodeName: 'n', stage: 8, unit: 2, count: 5, sinceUs: 1, untilUs: 2_000_000 }),
    ).toStrictEqual({
      nodeName: 'n',
      stage: 'UNATTACHED',
      unit: 'PACKETS',
      count: 5,
      since: '1970-01-01T00:00:00.000001Z',
      until: '1970-01-01T00:00:02.000000Z',
    })
    const stages = [1, 2, 3, 4, 5, 6, 7].map((stage) => lostToJson({ stage }).stage)
    expect(stages).toEqual(['KERNEL_MAP', 'KERNEL_RING', 'AGENT', 'CLIENT', 'GATEWAY', 'BUS', 'SAMPLED'])
  })

  it('says status in camel case with counters, lists and booleans always there', () => {
    expect(statusToJson({})).toStrictEqual({
      capturing: false,
      connected: false,
      interfaces: [],
      features: [],
      lost: [],
      flowsPerSecond: 0,
      connections: 0,
      maxConnections: 0,
      resources: [],
      uncoveredPods: [],
      clients: 0,
      uptimeMs: 0,
      historyBytes: 0,
    })
    expect(
      statusToJson({
        nodeName: 'n1',
        agentId: 'a',
        version: '1.0.0',
        capturing: true,
        connected: true,
        problem: 'none to speak of',
        interfaces: [{ name: 'eth0', index: 2, attach: 'tcx', role: 'uplink', problem: 'p' }],
        features: [{ name: 'conntrack', enabled: false, reason: 'refused' }],
        lost: [{ stage: 1, unit: 2, count: 1 }],
        flowsPerSecond: 1.5,
        connections: 10,
        maxConnections: 131072,
        identitySource: 'manifests',
        resources: [{ name: 'pods', synced: true, objects: 4, ageMs: 5, restarts: 6, lastError: 'e' }],
        uncoveredPods: [{ namespace: 'shop', pod: 'lan', reason: 'r' }],
        clients: 2,
        uptimeMs: 1000,
        historyBytes: 12,
        timeUs: 1_000_000,
      }),
    ).toStrictEqual({
      nodeName: 'n1',
      agentId: 'a',
      version: '1.0.0',
      capturing: true,
      connected: true,
      problem: 'none to speak of',
      interfaces: [{ name: 'eth0', index: 2, attach: 'tcx', role: 'uplink', problem: 'p' }],
      features: [{ name: 'conntrack', enabled: false, reason: 'refused' }],
      lost: [{ stage: 'KERNEL_MAP', unit: 'PACKETS', count: 1 }],
      flowsPerSecond: 1.5,
      connections: 10,
      maxConnections: 131072,
      identitySource: 'manifests',
      resources: [{ name: 'pods', synced: true, objects: 4, ageMs: 5, restarts: 6, lastError: 'e' }],
      uncoveredPods: [{ namespace: 'shop', pod: 'lan', reason: 'r' }],
      clients: 2,
      uptimeMs: 1000,
      historyBytes: 12,
      time: '1970-01-01T00:00:01.000000Z',
    })
  })

  it('makes one object of each part of a protobuf frame, losses before flows, cursors by sequence', () => {
    const message = StreamMessage.decode(
      StreamMessage.encode({
        flows: [
          { id: 1, sequence: 8 },
          { id: 2, sequence: 10 },
        ],
        lost: [{ stage: 4, unit: 1, count: 3 }],
        status: [{ nodeName: 'n' }],
        errors: [{ code: 'X', message: 'y' }],
        cursor: 'run:1:10',
      }).finish(),
    )
    const frames = frameToJson(message)
    expect(frames.map((frame) => Object.keys(frame))).toEqual([
      ['error'],
      ['status'],
      ['lost'],
      ['flow', 'cursor'],
      ['flow', 'cursor'],
    ])
    expect(frames[0]!.error).toStrictEqual({ code: 'X', message: 'y' })
    expect(frames.map((frame) => frame.cursor)).toEqual([
      undefined,
      undefined,
      undefined,
      'run:1:8',
      'run:1:10',
    ])
  })
})
