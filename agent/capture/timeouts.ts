// How long a connection may be silent before it is taken for over, and how long it lingers after that. Microseconds.
//
// Times shrink as the tables fill, those of what is over first: an answered question (DNS) and a closed connection are
// kept only for what might still come late, and a new connection needs the place more. All others keep their full time
// until half of the table is taken.

const SECOND = 1_000_000

const PROTOCOL_TCP = 6
const PROTOCOL_UDP = 17

/** What a connection's silence is measured by. A column of connections.ts. */
export const Silence = {
  /** Not judged yet. */
  NEW: 0,
  /** A SYN without answer: looked at at every drain, until it is told as unanswered. */
  SYN_SENT: 1,
  TCP_OPENING: 2,
  TCP_ESTABLISHED: 3,
  TCP_HALF_CLOSED: 4,
  UDP_EXCHANGE: 5,
  UDP_STREAM: 6,
  UDP_ONE_WAY: 7,
  REFUSED: 8,
  OTHER: 9,
} as const

/** By Silence: how long when there is room. */
const FULL: readonly number[] = [
  0,
  0,
  // Linux gives up a SYN after 127 s (tcp_syn_retries 6)
  130 * SECOND,
  3600 * SECOND,
  // one FIN, and nothing more
  120 * SECOND,
  // a question and its answer, and no more
  10 * SECOND,
  // what nf_conntrack gives a UDP stream (nf_conntrack_udp_timeout_stream)
  120 * SECOND,
  30 * SECOND,
  // an ICMP error or a reset said no: who asked knows it by now
  5 * SECOND,
  30 * SECOND,
]

/** A closed connection's entry stays so long in the kernel, for late segments (a retransmitted FIN, its last ACK). */
export const LINGER = 2 * SECOND
/** Least of all: what is not over; an answered question; a closed connection (half of Linux' least retransmission time). */
const LEAST = 2 * SECOND
const LEAST_EXCHANGE = SECOND / 4
const LEAST_LINGER = SECOND / 10

/** A timeout that begins to shrink when an eighth is taken and is at its least when half is. */
function shrunk(full: number, least: number, filled: number): number {
  const part = Math.min(1, Math.max(0, (filled - 1 / 8) / (3 / 8)))
  return full * (least / full) ** part
}

/** How long a closed connection's entry stays. `filled`: the fuller one of the kernel map and the table, 0 to 1. */
export function linger(filled: number): number {
  return shrunk(LINGER, LEAST_LINGER, filled)
}

/** The longest silence of a connection of one kind of Silence; `filled` as above. */
export function longestSilence(silence: number, filled: number): number {
  const full = FULL[silence]!
  if (full === 0) return 0
  if (silence === Silence.UDP_EXCHANGE) return shrunk(full, LEAST_EXCHANGE, filled)
  if (filled <= 0.5) return full
  return Math.max(LEAST, full * Math.max(0.02, (1 - filled) * 2))
}

/** Packets both ways of what is still one question and its answer: a resolver asks for A and AAAA on one socket. */
const EXCHANGE_PACKETS = 4

/** What a connection's silence is measured by, from what it has done. */
export function silenceOf(
  protocol: number,
  established: boolean,
  closing: boolean,
  refused: boolean,
  forwardPackets: number,
  reversePackets: number,
): number {
  if (refused) return Silence.REFUSED
  if (protocol === PROTOCOL_TCP) {
    if (closing) return Silence.TCP_HALF_CLOSED
    return established ? Silence.TCP_ESTABLISHED : Silence.TCP_OPENING
  }
  if (protocol !== PROTOCOL_UDP) return Silence.OTHER
  if (reversePackets === 0 || forwardPackets === 0) return Silence.UDP_ONE_WAY
  return forwardPackets + reversePackets <= EXCHANGE_PACKETS ? Silence.UDP_EXCHANGE : Silence.UDP_STREAM
}

/** Kinds of Silence. */
export const SILENCES = FULL.length
