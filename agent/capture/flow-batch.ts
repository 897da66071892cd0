// A batch of flow records as columns: what travels from capture to identity and on to the stream.
// Shared vocabulary: holds numbers only, no names and no behaviour beyond growing. One batch is reused by its owner; a
// stage that keeps anything beyond the call copies it.

/** Values of the `event` column; numbers are those of proto/vethflow/v1/flow.proto. */
export const FlowEvent = { OPENED: 1, UPDATED: 2, CLOSED: 3, DROPPED: 4 } as const
/** Values of the `verdict` column. */
export const Verdict = { UNSPECIFIED: 0, FORWARDED: 1, DROPPED: 2, REFUSED: 3, UNANSWERED: 4 } as const
/** Values of the `endReason` column. */
export const EndReason = { NONE: 0, FIN: 1, RST: 2, IDLE: 3, EVICTED: 4, AGENT_STOPPED: 5 } as const
/** Values of the `tcpState` column. */
export const TcpState = {
  NONE: 0,
  SYN_SENT: 1,
  SYN_RECEIVED: 2,
  ESTABLISHED: 3,
  CLOSING: 4,
  CLOSED: 5,
} as const
/** Values of the `tcpResetBy` column: which end sent the RST. */
export const End = { NONE: 0, SOURCE: 1, DESTINATION: 2 } as const

/** Most hooks noted on one record. */
export const MAX_OBSERVATIONS = 8

/** Bits of the `flags` column. */
export const FlowFlag = {
  /** Nobody saw the connection open; who opened it is a guess. */
  INITIATOR_INFERRED: 1,
  /** `service*` differs from `destination*`: the client addressed something that was translated. */
  DESTINATION_TRANSLATED: 2,
  /** The node changed the source; `translated*` say to what. */
  SOURCE_TRANSLATED: 4,
  /** One of vethflow's own connections. */
  OWN: 8,
  /** A hook on a pod's veth saw packets come from the source: the source is a pod of this node. */
  SOURCE_AT_VETH: 16,
  /** A hook on a pod's veth saw packets go to the destination. */
  DESTINATION_AT_VETH: 32,
  /** One way went past every hook here, as the other's acknowledgements show. */
  FORWARD_UNSEEN: 64,
  REVERSE_UNSEEN: 128,
} as const

/** An outer header seen around a flow. Interned by capture: equal tunnels are the same object. */
export interface TunnelInfo {
  /** proto TunnelType: 1 VXLAN, 2 GENEVE, 3 IPIP, 4 GRE, 5 WIREGUARD */
  readonly type: number
  /** VNI or key; 0 where there is none. */
  readonly id: number
  /** Outer addresses, 4 or 16 bytes, network order. */
  readonly source: Uint8Array
  readonly destination: Uint8Array
}

/** A control group by its paths: on the unified hierarchy, and on version 1's memory hierarchy where there is one. */
export interface ControlGroup {
  /** Empty as long as they are not known. */
  readonly paths: readonly string[]
}

/** The process behind a socket, as it was then. Interned by capture: equal ones are the same object. */
export interface SocketOwner {
  /** In the initial pid namespace; 0: only its control group is known. */
  readonly pid: number
  /** Name of the process (its main thread's, at most 15 bytes): anything that it likes to be called. */
  readonly command: string
  readonly group: ControlGroup | undefined
}

/**
 * Records as columns; row r of each belongs together, rows 0..count-1 are filled.
 *
 * Addresses are four words a row (`column[4*r] .. column[4*r+3]`), most significant first, each in host order; an IPv4
 * address a.b.c.d is [0, 0, 0xffff, a<<24|b<<16|c<<8|d] (unsigned). Times are microseconds since the Unix epoch.
 * `packets`/`bytes` are since the last record of this id, `total*` since the connection began (both below 2^53).
 */
export class FlowBatch {
  count = 0
  capacity: number

  id: Float64Array
  event: Uint8Array
  timeUs: Float64Array
  startUs: Float64Array
  endUs: Float64Array
  ipVersion: Uint8Array
  /** IANA protocol number. */
  protocol: Uint8Array
  /** FlowFlag bits. */
  flags: Uint8Array

  /** Who opened the connection, as itself (before any translation). */
  source: Uint32Array
  sourcePort: Uint16Array
  /** Who really answers (after translation). */
  destination: Uint32Array
  destinationPort: Uint16Array
  /** What the client addressed; equal to destination when nothing was translated. */
  service: Uint32Array
  servicePort: Uint16Array
  /** What the source became; meaningful with SOURCE_TRANSLATED. */
  translatedSource: Uint32Array
  translatedSourcePort: Uint16Array

  forwardPackets: Float64Array
  forwardBytes: Float64Array
  forwardTotalPackets: Float64Array
  forwardTotalBytes: Float64Array
  reversePackets: Float64Array
  reverseBytes: Float64Array
  reverseTotalPackets: Float64Array
  reverseTotalBytes: Float64Array

  verdict: Uint8Array
  endReason: Uint8Array
  tcpState: Uint8Array
  /** TCP header flags or'ed, by direction. */
  tcpFlagsForward: Uint8Array
  tcpFlagsReverse: Uint8Array
  tcpResetBy: Uint8Array
  /** Microseconds; 0: not known. */
  handshakeRttUs: Uint32Array
  icmpType: Uint8Array
  icmpCode: Uint8Array

  /** Hook numbers (bpf/flow.h), MAX_OBSERVATIONS a row, the counting one first; observationCount says how many. */
  observations: Uint32Array
  observationCount: Uint8Array
  tunnel: (TunnelInfo | undefined)[]

  /** Number of the network namespace in which loopback addresses mean something; 0: the node's. */
  netns: Uint16Array
  /** Processes at the ends that are sockets of this node, as far as they are known. */
  sourceOwner: (SocketOwner | undefined)[]
  destinationOwner: (SocketOwner | undefined)[]

  constructor(capacity: number) {
    this.capacity = capacity
    const n = capacity
    this.id = new Float64Array(n)
    this.event = new Uint8Array(n)
    this.timeUs = new Float64Array(n)
    this.startUs = new Float64Array(n)
    this.endUs = new Float64Array(n)
    this.ipVersion = new Uint8Array(n)
    this.protocol = new Uint8Array(n)
    this.flags = new Uint8Array(n)
    this.source = new Uint32Array(n * 4)
    this.sourcePort = new Uint16Array(n)
    this.destination = new Uint32Array(n * 4)
    this.destinationPort = new Uint16Array(n)
    this.service = new Uint32Array(n * 4)
    this.servicePort = new Uint16Array(n)
    this.translatedSource = new Uint32Array(n * 4)
    this.translatedSourcePort = new Uint16Array(n)
    this.forwardPackets = new Float64Array(n)
    this.forwardBytes = new Float64Array(n)
    this.forwardTotalPackets = new Float64Array(n)
    this.forwardTotalBytes = new Float64Array(n)
    this.reversePackets = new Float64Array(n)
    this.reverseBytes = new Float64Array(n)
    this.reverseTotalPackets = new Float64Array(n)
    this.reverseTotalBytes = new Float64Array(n)
    this.verdict = new Uint8Array(n)
    this.endReason = new Uint8Array(n)
    this.tcpState = new Uint8Array(n)
    this.tcpFlagsForward = new Uint8Array(n)
    this.tcpFlagsReverse = new Uint8Array(n)
    this.tcpResetBy = new Uint8Array(n)
    this.handshakeRttUs = new Uint32Array(n)
    this.icmpType = new Uint8Array(n)
    this.icmpCode = new Uint8Array(n)
    this.observations = new Uint32Array(n * MAX_OBSERVATIONS)
    this.observationCount = new Uint8Array(n)
    this.tunnel = new Array<TunnelInfo | undefined>(n).fill(undefined)
    this.netns = new Uint16Array(n)
    this.sourceOwner = new Array<SocketOwner | undefined>(n).fill(undefined)
    this.destinationOwner = new Array<SocketOwner | undefined>(n).fill(undefined)
  }
}
