// The form of the corpus: a labelled connection is a row, and its expected records are written down in it before anything
// runs. Types only, and the few words that stand for what a run alone can know (ports that were chosen at random).

/** Ports that only the run knows: the client's own, what the translation made of it, that of a proxy's own connection. */
export type Port = number | 'client' | 'translated' | 'proxy'

/** One end as the record must have it, without its port. A cell that is absent must be absent. */
export interface End {
  readonly kind: 'POD' | 'NODE' | 'WORLD' | 'UNKNOWN'
  readonly ip: string
  readonly namespace?: string
  readonly pod?: string
  readonly workload?: { readonly kind: string; readonly name: string }
  readonly nodeName?: string
  readonly zone?: string
  /** Held where it is written only: who is behind a socket has tests of its own. */
  readonly process?: { readonly command: string; readonly container?: string }
}

export interface EndWithPort extends End {
  /** Absent for protocols without ports. */
  readonly port?: Port
}

export interface ServiceCell {
  readonly namespace?: string
  readonly name?: string
  readonly type?: string
  readonly portName?: string
  readonly ip: string
  readonly port: number
  readonly ingresses?: readonly string[]
}

export interface TranslationCell {
  readonly sourceIp?: string
  readonly sourcePort?: Port
  readonly destinationIp?: string
  readonly destinationPort?: number
}

export interface TunnelCell {
  readonly type: 'VXLAN' | 'GENEVE' | 'IPIP' | 'GRE'
  readonly id?: number
  readonly source: string
  readonly destination: string
}

/** What one node must tell of the connection. Every cell that is not here must be absent from the record. */
export interface Expected {
  readonly source: EndWithPort
  readonly destination: EndWithPort
  readonly service?: ServiceCell
  readonly translation?: TranslationCell
  readonly direction: 'INGRESS' | 'EGRESS' | 'LOCAL' | 'TRANSIT'
  readonly tunnel?: TunnelCell
  /**
   * Hooks that saw it, one of the counting ones first, the rest in any order: `name>` is from that interface into the
   * node, `>name` out of it. The name of a pod stands for the host's end of its veth.
   */
  readonly observations: readonly string[]
  readonly verdict?: 'FORWARDED' | 'REFUSED' | 'UNANSWERED'
  readonly initiatorInferred?: true
  readonly unseen?: 'FORWARD' | 'REVERSE'
  /** Another protocol than the talk's own: the ICMP error that a refusal is. */
  readonly protocol?: string
  /** What it must have counted; unless given, each direction all that the socket sent and got. */
  readonly counts?: { readonly forward: number | 'all'; readonly reverse: number | 'all' }
  /** The connection that the proxy made, not the client's. */
  readonly ofProxy?: true
}

/** Records by the node that tells them; a node that is not here must tell nothing of the connection. */
export type Records = Readonly<Record<string, readonly Expected[]>>

/** Who speaks to whom. Places are what the bed calls its pods, nodes and hosts outside. */
export interface Talk {
  /** tcp and udp: one connection and its data; ping: echo requests; the others say what becomes of a TCP connection. */
  readonly kind: 'tcp' | 'udp' | 'ping' | 'refused' | 'unanswered'
  readonly from: string
  /** An address of the client's own, where it has several. */
  readonly fromIp?: string
  readonly to: string
  readonly port?: number
  /** The node that translates it, whose conntrack knows who answered and which port became the client's. */
  readonly translatedAt?: string
  /** A place on the way that ends the connection and goes on with one of its own (Built.proxies). */
  readonly proxy?: string
  /** TCP: open before the agents start, and gone on with after. */
  readonly openBefore?: true
}

/** What the records are when a certain address answered, for services that choose among several. */
export interface Outcome {
  readonly answeredBy: string
  readonly records: Records
}

export interface Row {
  /** One word, unique in the corpus with its family and rules. */
  readonly name: string
  /** The road, as the table has it. */
  readonly road: string
  readonly family: 4 | 6
  readonly talk: Talk
  /** With which of the bed's rules it is run; once without a choice where there is none to make. */
  readonly rules?: readonly Rules[]
  readonly records?: Records
  /** In place of `records`: the connection is made until each of these has been met. */
  readonly outcomes?: readonly Outcome[]
  /** All its connections have one backend: session affinity. */
  readonly sticky?: true
  /** Why it is written down and not counted yet. */
  readonly waits?: string
}

export type Rules = 'nftables' | 'iptables'

/** An end with its port. */
export function at(end: End, port?: Port): EndWithPort {
  return port === undefined ? end : { ...end, port }
}
