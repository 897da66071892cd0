// What the header flags of both directions say of a TCP connection (RFC 9293).

import { End, TcpState } from './flow-batch.js'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const ACK = 16

/** The connection's state as the flags seen so far in each direction tell it. */
export function tcpState(forward: number, reverse: number): number {
  if (((forward | reverse) & RST) !== 0 || (forward & reverse & FIN) !== 0) return TcpState.CLOSED
  if (((forward | reverse) & FIN) !== 0) return TcpState.CLOSING
  if ((reverse & SYN) !== 0) return (forward & ACK) !== 0 ? TcpState.ESTABLISHED : TcpState.SYN_RECEIVED
  if ((forward & SYN) !== 0 && (forward & ACK) === 0 && (reverse & ACK) === 0) return TcpState.SYN_SENT
  return TcpState.ESTABLISHED
}

/** Who reset it. With a reset from both ends: the one that answers a SYN, else the source. */
export function resetBy(forward: number, reverse: number): number {
  if ((reverse & RST) !== 0 && ((forward & RST) === 0 || (reverse & SYN) === 0)) return End.DESTINATION
  return (forward & RST) !== 0 ? End.SOURCE : End.NONE
}

/**
 * Which way (0 forward, 1 reverse) must have flown although nobody here saw a packet of it, -1 for none: who acknowledges
 * has heard. A reset acknowledges what it rejects and says nothing.
 */
export function unseenWay(flags: number, otherFlags: number, packets: number, otherPackets: number): number {
  if (packets === 0 && otherPackets > 0 && (otherFlags & (ACK | RST)) === ACK) return 0
  if (otherPackets === 0 && packets > 0 && (flags & (ACK | RST)) === ACK) return 1
  return -1
}

/** A SYN that was answered by nothing but a reset. */
export function refused(forward: number, reverse: number): boolean {
  return (forward & SYN) !== 0 && (reverse & RST) !== 0 && (reverse & SYN) === 0
}
