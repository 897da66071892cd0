// The JSON form of what travels (docs/contract.md, "Stream" and "Flow"): decoded messages to plain objects. One way
// only; nothing is looked up and nothing is guessed here: what the message does not say is absent. Runs in browsers.

import { formatAddress } from './address.js'
import type {
  CountersJson,
  DropJson,
  EndpointJson,
  FlowJson,
  HistoryJson,
  LostJson,
  PolicyJson,
  ServiceJson,
  TcpJson,
  TunnelJson,
} from './json-types.js'
import { known } from './known.js'
import {
  type CountersMessage,
  Direction,
  type DropMessage,
  End,
  EndpointKind,
  type EndpointMessage,
  EndReason,
  Event,
  type FlowMessage,
  type HistoryMessage,
  HookDirection,
  type LostMessage,
  type PolicyMessage,
  type ServiceMessage,
  Stage,
  type TcpMessage,
  TcpState,
  type TunnelMessage,
  TunnelType,
  Unit,
  Verdict,
  Way,
} from './messages.js'
import { formatProtocol } from './protocol-number.js'
import { tcpFlagNames } from './tcp-flags.js'
import { formatTime } from './time.js'

type Maybe<T> = T | null | undefined

/** A value's name without its type's prefix; undefined for zero and for numbers of a later schema. */
function enumName(
  names: Readonly<Record<number, string>>,
  prefix: string,
  value: Maybe<number>,
): string | undefined {
  return value ? names[value]?.slice(prefix.length + 1) : undefined
}

function time(us: Maybe<number>): string | undefined {
  return us ? formatTime(us) : undefined
}

function address(bytes: Maybe<Uint8Array>): string | undefined {
  return bytes ? formatAddress(bytes) : undefined
}

function list<T, U>(values: Maybe<readonly T[]>, map: (value: T) => U): U[] | undefined {
  return values && values.length > 0 ? values.map(map) : undefined
}

function same<T>(value: T): T {
  return value
}

function counters(message: Maybe<CountersMessage>): CountersJson {
  return {
    packets: message?.packets ?? 0,
    bytes: message?.bytes ?? 0,
    totalPackets: message?.totalPackets ?? 0,
    totalBytes: message?.totalBytes ?? 0,
  }
}

function endpoint(message: EndpointMessage): EndpointJson {
  const { workload, process, labels } = message
  return known<EndpointJson>({
    kind: enumName(EndpointKind, 'ENDPOINT_KIND', message.kind),
    ip: address(message.ip),
    port: message.port || undefined,
    namespace: message.namespace || undefined,
    pod: message.pod || undefined,
    workload: workload
      ? known({ kind: workload.kind || undefined, name: workload.name || undefined })
      : undefined,
    nodeName: message.nodeName || undefined,
    zone: message.zone || undefined,
    group: message.group || undefined,
    labels: labels && Object.keys(labels).length > 0 ? { ...labels } : undefined,
    names: list(message.names, same),
    process: process
      ? known({
          pid: process.pid || undefined,
          command: process.command || undefined,
          container: process.container || undefined,
        })
      : undefined,
  })
}

function service(message: ServiceMessage): ServiceJson {
  return known<ServiceJson>({
    namespace: message.namespace || undefined,
    name: message.name || undefined,
    type: message.type || undefined,
    portName: message.portName || undefined,
    ip: address(message.ip),
    port: message.port || undefined,
    ingresses: list(message.ingresses, same),
  })
}

function policy(message: PolicyMessage): PolicyJson {
  return known<PolicyJson>({
    namespace: message.namespace || undefined,
    name: message.name || undefined,
    direction: enumName(Direction, 'DIRECTION', message.direction),
    allows: message.allows ?? false,
  })
}

function drop(message: DropMessage): DropJson {
  return known<DropJson>({
    reason: message.reason || undefined,
    packets: message.packets ?? 0,
    function: message.function || undefined,
    hook: enumName(HookDirection, 'HOOK_DIRECTION', message.hook),
    interface: message.interface || undefined,
    policies: list(message.policies, policy),
  })
}

function tcp(message: TcpMessage): TcpJson {
  const { flags, retransmits } = message
  return known<TcpJson>({
    state: enumName(TcpState, 'TCP_STATE', message.state),
    flags: flags
      ? { forward: tcpFlagNames(flags.forward ?? 0), reverse: tcpFlagNames(flags.reverse ?? 0) }
      : undefined,
    handshakeRttUs: message.handshakeRttUs || undefined,
    smoothedRttUs: message.smoothedRttUs || undefined,
    retransmits: retransmits
      ? { forward: retransmits.forward ?? 0, reverse: retransmits.reverse ?? 0 }
      : undefined,
    outOfOrder: message.outOfOrder || undefined,
    zeroWindows: message.zeroWindows || undefined,
    resetBy: enumName(End, 'END', message.resetBy),
  })
}

function tunnel(message: TunnelMessage): TunnelJson {
  const { type } = message
  // Identifier 0 is a value where the tunnel has one at all.
  const numbered = type === TunnelType.TUNNEL_TYPE_VXLAN || type === TunnelType.TUNNEL_TYPE_GENEVE
  return known<TunnelJson>({
    type: enumName(TunnelType, 'TUNNEL_TYPE', type),
    id: message.id || (numbered ? 0 : undefined),
    source: address(message.source),
    destination: address(message.destination),
  })
}

/** The JSON form of one flow record. */
export function flowToJson(message: FlowMessage): FlowJson {
  const { translation, dns, icmp } = message
  return known<FlowJson>({
    id: message.id ?? 0,
    agentId: message.agentId || undefined,
    event: enumName(Event, 'EVENT', message.event),
    time: time(message.timeUs),
    startTime: time(message.startTimeUs),
    endTime: time(message.endTimeUs),
    nodeName: message.nodeName || undefined,
    ipVersion: message.ipVersion || undefined,
    protocol: formatProtocol(message.protocol ?? 0),
    source: message.source ? endpoint(message.source) : undefined,
    destination: message.destination ? endpoint(message.destination) : undefined,
    service: message.service ? service(message.service) : undefined,
    translation: translation
      ? known({
          sourceIp: address(translation.sourceIp),
          sourcePort: translation.sourcePort || undefined,
          destinationIp: address(translation.destinationIp),
          destinationPort: translation.destinationPort || undefined,
        })
      : undefined,
    direction: enumName(Direction, 'DIRECTION', message.direction),
    forward: counters(message.forward),
    reverse: counters(message.reverse),
    verdict: enumName(Verdict, 'VERDICT', message.verdict),
    drop: message.drop ? drop(message.drop) : undefined,
    policies: list(message.policies, policy),
    tcp: message.tcp ? tcp(message.tcp) : undefined,
    dns: dns
      ? known({
          query: dns.query || undefined,
          type: dns.type || undefined,
          responseCode: dns.responseCode || undefined,
          latencyUs: dns.latencyUs || undefined,
          answers: list(dns.answers, same),
        })
      : undefined,
    icmp: icmp ? { type: icmp.type ?? 0, code: icmp.code ?? 0 } : undefined,
    tunnel: message.tunnel ? tunnel(message.tunnel) : undefined,
    observations: list(message.observations, (observation) =>
      known({
        interface: observation.interface || undefined,
        direction: enumName(HookDirection, 'HOOK_DIRECTION', observation.direction),
      }),
    ),
    views: list(message.views, (view) =>
      known({
        nodeName: view.nodeName || undefined,
        forward: counters(view.forward),
        reverse: counters(view.reverse),
      }),
    ),
    unseen: enumName(Way, 'WAY', message.unseen),
    initiatorInferred: message.initiatorInferred || undefined,
    own: message.own || undefined,
    endReason: enumName(EndReason, 'END_REASON', message.endReason),
  })
}

/** The JSON form of a loss. */
export function lostToJson(message: LostMessage): LostJson {
  return known<LostJson>({
    nodeName: message.nodeName || undefined,
    stage: enumName(Stage, 'STAGE', message.stage),
    unit: enumName(Unit, 'UNIT', message.unit),
    count: message.count ?? 0,
    since: time(message.sinceUs),
    until: time(message.untilUs),
  })
}

/** The JSON form of where history begins. */
export function historyToJson(message: HistoryMessage): HistoryJson {
  return known<HistoryJson>({
    begins: time(message.beginsUs),
    records: message.records ?? 0,
    started: time(message.startedUs),
    resumed: message.resumed ?? false,
  })
}
