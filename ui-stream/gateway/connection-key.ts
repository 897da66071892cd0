// Under which name two nodes speak of one connection: its protocol and both ends, whichever of them either node takes for
// the opener, and as the packets look on the way between them.

import type { FlowMessage } from '../protocol/messages.js'
import { ProtocolNumber } from '../protocol/protocol-number.js'

export interface ConnectionKeys {
  /** What the two nodes have in common, as a rule. */
  readonly plain: string
  /** The same where this node translates the source: how others see it. Equal to `plain` where it does not. */
  readonly translated: string
  /** The source's end stands second in `plain`. */
  readonly turned: boolean
}

const SCTP = 132

/** What was said of a flow once: it is asked about when it comes, and again when its turn has come. */
const known = new WeakMap<FlowMessage, ConnectionKeys>()

/** Undefined for what is no connection of ports, or has an end without address. */
export function keysOf(flow: FlowMessage): ConnectionKeys | undefined {
  let keys = known.get(flow)
  if (keys !== undefined) return keys
  keys = makeKeys(flow)
  if (keys !== undefined) known.set(flow, keys)
  return keys
}

function makeKeys(flow: FlowMessage): ConnectionKeys | undefined {
  const { protocol, source, destination, translation } = flow
  if (protocol !== ProtocolNumber.TCP && protocol !== ProtocolNumber.UDP && protocol !== SCTP)
    return undefined
  if (!source?.ip?.length || !destination?.ip?.length) return undefined
  const from = endOf(source.ip, source.port ?? 0)
  const to = endOf(destination.ip, destination.port ?? 0)
  const turned = from > to
  const plain = turned ? `${protocol} ${to} ${from}` : `${protocol} ${from} ${to}`
  if (!translation?.sourceIp?.length) return { plain, translated: plain, turned }
  const as = endOf(translation.sourceIp, translation.sourcePort ?? source.port ?? 0)
  return { plain, translated: as > to ? `${protocol} ${to} ${as}` : `${protocol} ${as} ${to}`, turned }
}

function endOf(ip: Uint8Array, port: number): string {
  let text = ''
  for (const byte of ip) text += String.fromCharCode(byte)
  return `${text}:${port}`
}
