// The wide form: everything that a record says on one line, in columns that keep their place unless a name is longer.
// Nothing is shortened.

import { formatAddress } from '../protocol/address.js'
import {
  type CountersMessage,
  Direction,
  EndReason,
  Event,
  type FlowMessage,
  HookDirection,
  TcpState,
  TunnelType,
  Verdict,
  Way,
} from '../protocol/messages.js'
import { formatProtocol } from '../protocol/protocol-number.js'
import { tcpFlagNames } from '../protocol/tcp-flags.js'
import type { Paint } from './colour.js'
import { dropText } from './compact.js'
import { fullEnd, fullService } from './ends.js'
import { dateAndTime, humanBytes, humanMicroseconds } from './human.js'
import { padEnd, padStart, safe } from './text.js'
import { outcome } from './verdict.js'

/** Makes wide lines. */
export function wideFormat(paint: Paint): (flow: FlowMessage) => string {
  return (flow) => {
    const [, colour] = outcome(flow)
    const bad = colour === 'red' || colour === 'yellow'
    const rtt = flow.tcp?.handshakeRttUs || flow.tcp?.smoothedRttUs || 0
    return [
      paint('dim', dateAndTime(flow.timeUs ?? 0)),
      paint('dim', padEnd(safe(flow.nodeName ?? ''), 16)),
      paint('dim', padEnd(String(flow.id ?? 0), 8)),
      padEnd(enumText(Direction, flow.direction, 'DIRECTION_'), 7),
      `${padEnd(fullEnd(flow.source), 48)} ${paint('dim', '->')} ${padEnd(fullEnd(flow.destination), 48)}`,
      paint('cyan', padEnd(flow.service?.name ? fullService(flow.service) : '-', 32)),
      padEnd(formatProtocol(flow.protocol ?? 0), 6),
      padEnd(enumText(Event, flow.event, 'EVENT_'), 7),
      paint(bad ? colour : undefined, padEnd(enumText(Verdict, flow.verdict, 'VERDICT_'), 10)),
      counted(flow.forward),
      counted(flow.reverse),
      padStart(rtt > 0 ? humanMicroseconds(rtt) : '-', 5),
      padEnd(enumText(TcpState, flow.tcp?.state, 'TCP_STATE_'), 12),
      padEnd(flagsText(flow), 32),
      padEnd(enumText(EndReason, flow.endReason, 'END_REASON_'), 7),
      padEnd(hookText(flow), 18),
      notes(flow),
    ]
      .join(' ')
      .trimEnd()
  }
}

/** `4/1.2kB of 10/3.4kB`: since the last record, and in all. */
function counted(counters: CountersMessage | null | undefined): string {
  const part = (packets: number, bytes: number): string => `${packets}/${humanBytes(bytes)}`
  const now = part(counters?.packets ?? 0, counters?.bytes ?? 0)
  const all = part(counters?.totalPackets ?? 0, counters?.totalBytes ?? 0)
  return `${padStart(now, 11)} of ${padEnd(all, 11)}`
}

function enumText(
  names: Readonly<Record<number, string>>,
  value: number | null | undefined,
  prefix: string,
): string {
  const name = value ? names[value] : undefined
  return name === undefined ? '-' : name.slice(prefix.length)
}

function flagsText(flow: FlowMessage): string {
  const flags = flow.tcp?.flags
  if (flags == null) return '-'
  const side = (bits: number | null | undefined): string => tcpFlagNames(bits ?? 0).join(',') || '-'
  return `${side(flags.forward)}|${side(flags.reverse)}`
}

function hookText(flow: FlowMessage): string {
  const first = flow.observations?.[0]
  if (first === undefined) return '-'
  const more = (flow.observations?.length ?? 0) - 1
  const direction = first.direction === HookDirection.HOOK_DIRECTION_INGRESS ? 'in' : 'out'
  return `${safe(first.interface ?? '')}:${direction}${more > 0 ? `+${more}` : ''}`
}

/** What only some records have to say. */
function notes(flow: FlowMessage): string {
  const found: string[] = []
  if (flow.event === Event.EVENT_DROPPED || flow.drop != null) found.push(`drop=${dropText(flow)}`)
  if (flow.drop?.interface) found.push(`at=${safe(flow.drop.interface)}`)
  if (flow.drop?.function) found.push(`in=${safe(flow.drop.function)}`)
  const translated = flow.translation?.sourceIp
  if (translated?.length) {
    const address = formatAddress(translated) ?? '?'
    const port = flow.translation?.sourcePort ? `:${flow.translation.sourcePort}` : ''
    found.push(`as=${translated.length === 16 ? `[${address}]` : address}${port}`)
  }
  if (flow.tunnel != null) {
    found.push(`tunnel=${enumText(TunnelType, flow.tunnel.type, 'TUNNEL_TYPE_')}/${flow.tunnel.id ?? 0}`)
  }
  if (flow.icmp != null) found.push(`icmp=${flow.icmp.type ?? 0}/${flow.icmp.code ?? 0}`)
  if (flow.dns?.query) found.push(`dns=${safe(flow.dns.query)}`)
  if (flow.unseen) found.push(`${flow.unseen === Way.WAY_FORWARD ? 'forward' : 'reverse'}-unseen`)
  if (flow.initiatorInferred) found.push('initiator-inferred')
  if (flow.own) found.push('own')
  return found.join(' ')
}
