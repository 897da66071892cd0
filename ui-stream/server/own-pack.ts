// Packs a record of this node straight from the columns that it was encoded from: the same bytes as record-pack.ts finds
// by reading the record, without reading it. What is seldom (tunnels, translated sources) is left to that.

import { FlowFlag } from '../../agent/capture/flow-batch.js'
import { ProtocolNumber } from '../protocol/protocol-number.js'
import type { ByteWriter } from './byte-writer.js'
import type { FlowRows, OwnRows } from './flow-rows.js'
import { Mask, MOST_DIFFERENCE, More, zigzag } from './record-pack.js'

/** What is said here, or by the columns that history keeps; a record with anything else is read. */
const KNOWN_FLAGS =
  FlowFlag.INITIATOR_INFERRED |
  FlowFlag.DESTINATION_TRANSLATED |
  FlowFlag.OWN |
  FlowFlag.SOURCE_AT_VETH |
  FlowFlag.DESTINATION_AT_VETH

/** Writes row `row` behind what `writer` holds. False, with nothing written, when its columns do not say all of it. */
export function packOwn(writer: ByteWriter, { flows }: OwnRows, rows: FlowRows, row: number): boolean {
  const flags = flows.flags[row]!
  const reason = flows.endReason[row]!
  const protocol = flows.protocol[row]!
  const timeUs = flows.timeUs[row]!
  const startUs = flows.startUs[row]!
  const endUs = flows.endUs[row]!
  const tcp = (flows.tcpState[row]! << 4) | flows.tcpResetBy[row]!
  if (
    flows.tunnel[row] !== undefined ||
    (flags & ~KNOWN_FLAGS) !== 0 ||
    reason > More.REASON ||
    tcp > 255 ||
    flows.tcpResetBy[row]! > 15 ||
    Math.abs(timeUs - startUs) >= MOST_DIFFERENCE ||
    Math.abs(timeUs - endUs) >= MOST_DIFFERENCE
  )
    return false
  const packets = flows.forwardTotalPackets[row]! - flows.forwardPackets[row]!
  const bytes = flows.forwardTotalBytes[row]! - flows.forwardBytes[row]!
  const backPackets = flows.reverseTotalPackets[row]! - flows.reversePackets[row]!
  const backBytes = flows.reverseTotalBytes[row]! - flows.reverseBytes[row]!
  if (packets < 0 || bytes < 0 || backPackets < 0 || backBytes < 0) return false

  const translated = (flags & FlowFlag.DESTINATION_TRANSLATED) !== 0
  const icmp = protocol === ProtocolNumber.ICMP || protocol === ProtocolNumber.ICMPv6
  const more =
    reason | ((flags & FlowFlag.INITIATOR_INFERRED) !== 0 ? More.INFERRED : 0) | (icmp ? More.ICMP : 0)
  let mask = Mask.FORWARD | Mask.REVERSE
  if (startUs !== 0) mask |= Mask.START
  if (endUs !== 0) mask |= Mask.END
  if (rows.service[row] !== undefined || translated) mask |= Mask.SERVICE
  if (translated) mask |= Mask.TRANSLATED
  if (more !== 0) mask |= Mask.MORE
  const rtt = flows.handshakeRttUs[row]!
  if (
    protocol === ProtocolNumber.TCP &&
    (tcp | flows.tcpFlagsForward[row]! | flows.tcpFlagsReverse[row]! | rtt) !== 0
  )
    mask |= Mask.TCP

  writer.reserve(128)
  writer.byte(mask)
  if (more !== 0) writer.byte(more)
  writer.varint(flows.id[row]!)
  if (startUs !== 0) writer.varint(zigzag(timeUs - startUs))
  if (endUs !== 0) writer.varint(zigzag(timeUs - endUs))
  writer.varint(flows.forwardPackets[row]!)
  writer.varint(flows.forwardBytes[row]!)
  writer.varint(packets)
  writer.varint(bytes)
  writer.varint(flows.reversePackets[row]!)
  writer.varint(flows.reverseBytes[row]!)
  writer.varint(backPackets)
  writer.varint(backBytes)
  if ((mask & Mask.TCP) !== 0) {
    writer.byte(tcp)
    writer.varint(rtt)
  }
  if (icmp) {
    writer.byte(flows.icmpType[row]!)
    writer.byte(flows.icmpCode[row]!)
  }
  return true
}
