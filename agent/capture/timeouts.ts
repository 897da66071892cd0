// How long a connection may be silent before it is taken for over. Microseconds.

import { view as layout } from '../kernel/layout.gen.js'

const SECOND = 1_000_000

const PROTOCOL_TCP = 6
const PROTOCOL_UDP = 17

/** A closed connection's entry stays so long in the kernel, for late segments (a retransmitted FIN, its last ACK). */
export const LINGER = 2 * SECOND
/** One FIN, and nothing more. */
const TCP_HALF_CLOSED = 120 * SECOND
/** An ICMP error or a reset said no: who asked knows it by now. */
const REFUSED = 5 * SECOND
/** Linux gives up a SYN after 127 s (tcp_syn_retries 6). */
const TCP_OPENING = 130 * SECOND
const TCP_ESTABLISHED = 3600 * SECOND
/** What nf_conntrack gives a UDP stream (nf_conntrack_udp_timeout_stream). */
const UDP_STREAM = 120 * SECOND
/** A question and its answer, and no more. */
const UDP_EXCHANGE = 10 * SECOND
const UDP_ONE_WAY = 30 * SECOND
const OTHER = 30 * SECOND

/**
 * Timeout of a connection by what it has done. `filled` is the fuller one of the kernel map and the table, 0 to 1: from
 * one half on timeouts shrink, down to a fiftieth when it is full, and never below LINGER.
 */
export function idleTimeout(
  protocol: number,
  established: boolean,
  closing: boolean,
  refused: boolean,
  forwardPackets: number,
  reversePackets: number,
  filled: number,
): number {
  let timeout = OTHER
  if (refused) timeout = REFUSED
  else if (protocol === PROTOCOL_TCP)
    timeout = closing ? TCP_HALF_CLOSED : established ? TCP_ESTABLISHED : TCP_OPENING
  else if (protocol === PROTOCOL_UDP) {
    if (reversePackets === 0 || forwardPackets === 0) timeout = UDP_ONE_WAY
    else timeout = forwardPackets + reversePackets <= 4 ? UDP_EXCHANGE : UDP_STREAM
  }
  if (filled > 0.5) timeout *= Math.max(0.02, (1 - filled) * 2)
  return Math.max(LINGER, timeout)
}

/** Bytes that the kernel keeps for one IPv4 view beside its key, for docs and status. */
export const VIEW_BYTES = layout.size
