import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  EndReason,
  End as FlowEnd,
  FlowEvent,
  TcpState as FlowTcpState,
  Verdict as FlowVerdict,
} from '../../agent/capture/flow-batch.js'
import { Direction as NameDirection, EndpointKind as NameKind } from '../../agent/identity/names.js'
import { vethflow } from '../../proto/gen/vethflow.js'

const { v1 } = vethflow

function read(name: string): string {
  return readFileSync(new URL(`../../proto/vethflow/v1/${name}`, import.meta.url), 'utf8')
}

/** Message and enum members with their numbers, as `Message.member type = number`. */
function members(source: string): string[] {
  const lines: string[] = []
  let block = ''
  for (const line of source.split('\n')) {
    const open = /^(?:message|enum) (\w+) \{/.exec(line)
    if (open !== null) block = open[1]!
    const member = /^ {2}(?:(.+) )?(\w+) = (\d+);/.exec(line)
    if (member !== null) lines.push(`${block}.${member[2]} ${member[1] ?? ''} = ${member[3]}`)
  }
  return lines
}

describe('the schema', () => {
  it('keeps every number and type that was ever published', () => {
    expect(members(read('flow.proto'))).toMatchInlineSnapshot(`
      [
        "Event.EVENT_UNSPECIFIED  = 0",
        "Event.EVENT_OPENED  = 1",
        "Event.EVENT_UPDATED  = 2",
        "Event.EVENT_CLOSED  = 3",
        "Event.EVENT_DROPPED  = 4",
        "EndpointKind.ENDPOINT_KIND_UNSPECIFIED  = 0",
        "EndpointKind.ENDPOINT_KIND_POD  = 1",
        "EndpointKind.ENDPOINT_KIND_NODE  = 2",
        "EndpointKind.ENDPOINT_KIND_WORLD  = 3",
        "EndpointKind.ENDPOINT_KIND_UNKNOWN  = 4",
        "Direction.DIRECTION_UNSPECIFIED  = 0",
        "Direction.DIRECTION_INGRESS  = 1",
        "Direction.DIRECTION_EGRESS  = 2",
        "Direction.DIRECTION_LOCAL  = 3",
        "Direction.DIRECTION_TRANSIT  = 4",
        "Verdict.VERDICT_UNSPECIFIED  = 0",
        "Verdict.VERDICT_FORWARDED  = 1",
        "Verdict.VERDICT_DROPPED  = 2",
        "Verdict.VERDICT_REFUSED  = 3",
        "Verdict.VERDICT_UNANSWERED  = 4",
        "EndReason.END_REASON_UNSPECIFIED  = 0",
        "EndReason.END_REASON_FIN  = 1",
        "EndReason.END_REASON_RST  = 2",
        "EndReason.END_REASON_IDLE  = 3",
        "EndReason.END_REASON_EVICTED  = 4",
        "EndReason.END_REASON_AGENT_STOPPED  = 5",
        "TcpState.TCP_STATE_UNSPECIFIED  = 0",
        "TcpState.TCP_STATE_SYN_SENT  = 1",
        "TcpState.TCP_STATE_SYN_RECEIVED  = 2",
        "TcpState.TCP_STATE_ESTABLISHED  = 3",
        "TcpState.TCP_STATE_CLOSING  = 4",
        "TcpState.TCP_STATE_CLOSED  = 5",
        "TunnelType.TUNNEL_TYPE_UNSPECIFIED  = 0",
        "TunnelType.TUNNEL_TYPE_VXLAN  = 1",
        "TunnelType.TUNNEL_TYPE_GENEVE  = 2",
        "TunnelType.TUNNEL_TYPE_IPIP  = 3",
        "TunnelType.TUNNEL_TYPE_GRE  = 4",
        "TunnelType.TUNNEL_TYPE_WIREGUARD  = 5",
        "End.END_UNSPECIFIED  = 0",
        "End.END_SOURCE  = 1",
        "End.END_DESTINATION  = 2",
        "HookDirection.HOOK_DIRECTION_UNSPECIFIED  = 0",
        "HookDirection.HOOK_DIRECTION_INGRESS  = 1",
        "HookDirection.HOOK_DIRECTION_EGRESS  = 2",
        "Way.WAY_UNSPECIFIED  = 0",
        "Way.WAY_FORWARD  = 1",
        "Way.WAY_REVERSE  = 2",
        "Workload.kind string = 1",
        "Workload.name string = 2",
        "Process.pid uint32 = 1",
        "Process.command string = 2",
        "Process.container string = 3",
        "Endpoint.kind EndpointKind = 1",
        "Endpoint.ip bytes = 2",
        "Endpoint.port uint32 = 3",
        "Endpoint.namespace string = 4",
        "Endpoint.pod string = 5",
        "Endpoint.workload Workload = 6",
        "Endpoint.node_name string = 7",
        "Endpoint.zone string = 8",
        "Endpoint.group string = 9",
        "Endpoint.labels map<string, string> = 10",
        "Endpoint.names repeated string = 11",
        "Endpoint.process Process = 12",
        "Service.namespace string = 1",
        "Service.name string = 2",
        "Service.type string = 3",
        "Service.port_name string = 4",
        "Service.ip bytes = 5",
        "Service.port uint32 = 6",
        "Service.ingresses repeated string = 7",
        "Translation.source_ip bytes = 1",
        "Translation.source_port uint32 = 2",
        "Translation.destination_ip bytes = 3",
        "Translation.destination_port uint32 = 4",
        "Counters.packets uint64 = 1",
        "Counters.bytes uint64 = 2",
        "Counters.total_packets uint64 = 3",
        "Counters.total_bytes uint64 = 4",
        "Policy.namespace string = 1",
        "Policy.name string = 2",
        "Policy.direction Direction = 3",
        "Policy.allows bool = 4",
        "Drop.reason string = 1",
        "Drop.packets uint64 = 2",
        "Drop.function string = 3",
        "Drop.hook HookDirection = 4",
        "Drop.interface string = 5",
        "Drop.policies repeated Policy = 6",
        "TcpFlags.forward uint32 = 1",
        "TcpFlags.reverse uint32 = 2",
        "Retransmits.forward uint64 = 1",
        "Retransmits.reverse uint64 = 2",
        "Tcp.state TcpState = 1",
        "Tcp.flags TcpFlags = 2",
        "Tcp.handshake_rtt_us uint32 = 3",
        "Tcp.smoothed_rtt_us uint32 = 4",
        "Tcp.retransmits Retransmits = 5",
        "Tcp.out_of_order uint64 = 6",
        "Tcp.zero_windows uint64 = 7",
        "Tcp.reset_by End = 8",
        "Dns.query string = 1",
        "Dns.type string = 2",
        "Dns.response_code string = 3",
        "Dns.latency_us uint32 = 4",
        "Dns.answers repeated string = 5",
        "Icmp.type uint32 = 1",
        "Icmp.code uint32 = 2",
        "Tunnel.type TunnelType = 1",
        "Tunnel.id uint32 = 2",
        "Tunnel.source bytes = 3",
        "Tunnel.destination bytes = 4",
        "Observation.interface string = 1",
        "Observation.direction HookDirection = 2",
        "View.node_name string = 1",
        "View.forward Counters = 2",
        "View.reverse Counters = 3",
        "Flow.id uint64 = 1",
        "Flow.agent_id string = 2",
        "Flow.event Event = 3",
        "Flow.time_us uint64 = 4",
        "Flow.start_time_us uint64 = 5",
        "Flow.end_time_us uint64 = 6",
        "Flow.node_name string = 7",
        "Flow.ip_version uint32 = 8",
        "Flow.protocol uint32 = 9",
        "Flow.source Endpoint = 10",
        "Flow.destination Endpoint = 11",
        "Flow.service Service = 12",
        "Flow.translation Translation = 13",
        "Flow.direction Direction = 14",
        "Flow.forward Counters = 15",
        "Flow.reverse Counters = 16",
        "Flow.verdict Verdict = 17",
        "Flow.drop Drop = 18",
        "Flow.policies repeated Policy = 19",
        "Flow.tcp Tcp = 20",
        "Flow.dns Dns = 21",
        "Flow.icmp Icmp = 22",
        "Flow.tunnel Tunnel = 23",
        "Flow.observations repeated Observation = 24",
        "Flow.views repeated View = 25",
        "Flow.initiator_inferred bool = 26",
        "Flow.own bool = 27",
        "Flow.end_reason EndReason = 28",
        "Flow.sequence uint64 = 29",
        "Flow.unseen Way = 30",
      ]
    `)
    expect(members(read('stream.proto'))).toMatchInlineSnapshot(`
      [
        "Stage.STAGE_UNSPECIFIED  = 0",
        "Stage.STAGE_KERNEL_MAP  = 1",
        "Stage.STAGE_KERNEL_RING  = 2",
        "Stage.STAGE_AGENT  = 3",
        "Stage.STAGE_CLIENT  = 4",
        "Stage.STAGE_GATEWAY  = 5",
        "Stage.STAGE_BUS  = 6",
        "Stage.STAGE_SAMPLED  = 7",
        "Stage.STAGE_UNATTACHED  = 8",
        "Unit.UNIT_UNSPECIFIED  = 0",
        "Unit.UNIT_RECORDS  = 1",
        "Unit.UNIT_PACKETS  = 2",
        "Lost.node_name string = 1",
        "Lost.stage Stage = 2",
        "Lost.unit Unit = 3",
        "Lost.count uint64 = 4",
        "Lost.since_us uint64 = 5",
        "Lost.until_us uint64 = 6",
        "InterfaceStatus.name string = 1",
        "InterfaceStatus.index uint32 = 2",
        "InterfaceStatus.attach string = 3",
        "InterfaceStatus.role string = 4",
        "InterfaceStatus.problem string = 5",
        "FeatureStatus.name string = 1",
        "FeatureStatus.enabled bool = 2",
        "FeatureStatus.reason string = 3",
        "ResourceStatus.name string = 1",
        "ResourceStatus.synced bool = 2",
        "ResourceStatus.objects uint64 = 3",
        "ResourceStatus.age_ms uint64 = 4",
        "ResourceStatus.restarts uint64 = 5",
        "ResourceStatus.last_error string = 6",
        "UncoveredPod.namespace string = 1",
        "UncoveredPod.pod string = 2",
        "UncoveredPod.reason string = 3",
        "Status.node_name string = 1",
        "Status.agent_id string = 2",
        "Status.version string = 3",
        "Status.capturing bool = 4",
        "Status.connected bool = 5",
        "Status.problem string = 6",
        "Status.interfaces repeated InterfaceStatus = 7",
        "Status.features repeated FeatureStatus = 8",
        "Status.lost repeated Lost = 9",
        "Status.flows_per_second double = 10",
        "Status.connections uint64 = 11",
        "Status.max_connections uint64 = 12",
        "Status.identity_source string = 13",
        "Status.resources repeated ResourceStatus = 14",
        "Status.clients uint32 = 15",
        "Status.uptime_ms uint64 = 16",
        "Status.history_bytes uint64 = 17",
        "Status.time_us uint64 = 18",
        "Status.uncovered_pods repeated UncoveredPod = 19",
        "Error.code string = 1",
        "Error.message string = 2",
        "History.begins_us uint64 = 1",
        "History.records uint64 = 2",
        "History.started_us uint64 = 3",
        "History.resumed bool = 4",
        "StreamMessage.flows repeated Flow = 1",
        "StreamMessage.lost repeated Lost = 2",
        "StreamMessage.status repeated Status = 3",
        "StreamMessage.errors repeated Error = 4",
        "StreamMessage.cursor string = 5",
        "StreamMessage.history History = 6",
        "Filter.name string = 1",
        "Filter.values repeated string = 2",
        "Filter.negate bool = 3",
        "Subscribe.filters repeated Filter = 1",
        "Subscribe.expression string = 2",
        "Subscribe.last uint32 = 3",
        "Subscribe.since_us uint64 = 4",
        "Subscribe.until_us uint64 = 5",
        "Subscribe.cursor string = 6",
        "Subscribe.follow bool = 7",
        "Subscribe.labels bool = 8",
        "Subscribe.own bool = 9",
        "Subscribe.status bool = 10",
        "Subscribe.history bool = 11",
        "ClientMessage.subscribe Subscribe = 1",
      ]
    `)
  })

  it('uses no number twice within a message', () => {
    for (const name of ['flow.proto', 'stream.proto']) {
      const keys = members(read(name)).map((line) => line.replace(/\.\w+ .*= /, ' '))
      expect(new Set(keys).size).toBe(keys.length)
    }
  })

  it('has the numbers that the columns use', () => {
    const numbers = (
      values: Record<string, number>,
      prefix: string,
      generated: unknown,
      zero: string,
    ): void => {
      const enumeration = generated as Record<string, number>
      for (const [name, number] of Object.entries(values)) {
        expect(enumeration[`${prefix}_${name === zero ? 'UNSPECIFIED' : name}`], name).toBe(number)
      }
      const members = Object.keys(enumeration).filter((name) => name.startsWith(prefix))
      expect(members.length - (Object.values(values).includes(0) ? 0 : 1)).toBe(Object.keys(values).length)
    }
    numbers(FlowEvent, 'EVENT', v1.Event, '')
    numbers(FlowVerdict, 'VERDICT', v1.Verdict, '')
    numbers(EndReason, 'END_REASON', v1.EndReason, 'NONE')
    numbers(FlowTcpState, 'TCP_STATE', v1.TcpState, 'NONE')
    numbers(FlowEnd, 'END', v1.End, 'NONE')
    numbers(NameKind, 'ENDPOINT_KIND', v1.EndpointKind, '')
    numbers(NameDirection, 'DIRECTION', v1.Direction, '')
  })
})

describe('the generated code', () => {
  it('keeps 64-bit numbers as numbers up to 2^53 - 1', () => {
    for (const number of [1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 1_790_000_000_123_456, 2 ** 53 - 1]) {
      const bytes = v1.Flow.encode({ id: number, forward: { totalBytes: number } }).finish()
      const flow = v1.Flow.decode(bytes)
      expect(flow.id).toBe(number)
      expect(flow.forward!.totalBytes).toBe(number)
    }
    expect(v1.Flow.decode(new Uint8Array(0)).timeUs).toBe(0)
  })

  it('refuses what is no message instead of hanging or growing', () => {
    for (const text of ['ff', '0a', '0a05', '0affffffff0f', '0affffffffffffffffff01', '07']) {
      expect(() => v1.StreamMessage.decode(Buffer.from(text, 'hex')), text).toThrow()
    }
  })
})
