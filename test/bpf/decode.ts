// What a frame is, read from the RFCs and not from bpf/: whose packet, how many IP octets. The tests of the kernel's parser
// hold its maps against this. Where the RFCs leave open what a broken packet is, the decision stands here beside the code.

import { ETHERTYPE, PROTOCOL } from './headers.js'

export interface Account {
  /** `family protocol kind source:port>destination:port`; kind is the ICMP type, echo replies under their request's. */
  readonly flow: string
  readonly bytes: number
  readonly flags: number
}

/** A tunnel of this node: outer protocol, family and UDP port, its local address where it has one. */
export interface DecodedTunnel {
  readonly protocol: number
  readonly family: 4 | 6
  readonly port: number
  readonly carries: 'vxlan' | 'geneve' | 'gre' | 'ip'
  readonly local?: Buffer
  /** The one VNI or key that its device takes; absent: any. */
  readonly id?: number
  /** Its device is hooked itself. */
  readonly inside?: boolean
}

interface Ports {
  readonly protocol: number
  readonly kind: number
  readonly source: number
  readonly destination: number
}

interface Inside extends Account {
  readonly family: 4 | 6
  readonly protocol: number
  readonly transport: number
  readonly fragment: boolean
  readonly source: Buffer
  readonly destination: Buffer
}

export class Decoder {
  readonly #tunnels: readonly DecodedTunnel[]
  readonly #egress: boolean
  readonly #fragments = new Map<string, Ports>()

  constructor(tunnels: readonly DecodedTunnel[] = [], egress = false) {
    this.#tunnels = tunnels
    this.#egress = egress
  }

  /** A frame with its Ethernet header; undefined: no IP packet. */
  frame(frame: Buffer): Account | undefined {
    const network = ethernetPayload(frame)
    if (network === undefined) return undefined
    const outer = this.#ip(frame.subarray(network.at), network.version)
    if (outer === undefined) return undefined
    return this.#open(frame.subarray(network.at), outer) ?? outer
  }

  /** A packet of a device without Ethernet header: the version says what it is. */
  packet(packet: Buffer): Account | undefined {
    return this.#ip(packet, packet.length === 0 ? 0 : packet[0]! >> 4)
  }

  /** The packet inside a tunnel of ours. One level only; with no packet inside, the outer one counts. */
  #open(packet: Buffer, outer: Inside): Account | undefined {
    if (outer.fragment) return undefined
    const rest = packet.subarray(outer.transport)
    const port = outer.protocol === PROTOCOL.udp ? (rest.length >= 4 ? rest.readUInt16BE(2) : -1) : 0
    const tunnel = this.#tunnels.find(
      (candidate) =>
        candidate.protocol === outer.protocol && candidate.family === outer.family && candidate.port === port,
    )
    if (tunnel === undefined) return undefined
    if (tunnel.local !== undefined && !tunnel.local.equals(this.#egress ? outer.source : outer.destination))
      return undefined
    if (tunnel.carries === 'ip') return this.#ip(rest, rest.length === 0 ? 0 : rest[0]! >> 4)
    if (tunnel.carries === 'gre') {
      if (rest.length < 4) return undefined
      const flags = rest.readUInt16BE(0)
      // version 1 is PPTP's; routing (RFC 1701) is gone since RFC 2784
      if ((flags & 7) !== 0 || (flags & 0x4000) !== 0) return undefined
      let at = 4
      for (const bit of [0x8000, 0x2000, 0x1000]) if ((flags & bit) !== 0) at += 4
      return this.#carried(rest.readUInt16BE(2), rest.subarray(at))
    }
    const head = rest.subarray(8)
    if (head.length < 8) return undefined
    if (tunnel.carries === 'vxlan') {
      // the I flag must be set (RFC 7348, section 5)
      return (head[0]! & 0x08) === 0 ? undefined : this.#carried(0x6558, head.subarray(8))
    }
    // a version that is not known is dropped by who receives it (RFC 8926, section 3.4)
    if (head[0]! >> 6 !== 0) return undefined
    return this.#carried(head.readUInt16BE(2), head.subarray(8 + (head[0]! & 0x3f) * 4))
  }

  #carried(type: number, payload: Buffer): Account | undefined {
    if (type === 0x6558) {
      const network = ethernetPayload(payload)
      return network === undefined ? undefined : this.#ip(payload.subarray(network.at), network.version)
    }
    if (type !== ETHERTYPE.ipv4 && type !== ETHERTYPE.ipv6) return undefined
    return this.#ip(payload, payload.length === 0 ? 0 : payload[0]! >> 4)
  }

  #ip(packet: Buffer, version: number): Inside | undefined {
    if (packet.length === 0 || packet[0]! >> 4 !== version) return undefined
    return version === 4 ? this.#ipv4(packet) : version === 6 ? this.#ipv6(packet) : undefined
  }

  #ipv4(packet: Buffer): Inside | undefined {
    if (packet.length < 20) return undefined
    const header = (packet[0]! & 15) * 4
    if (header < 20 || header > packet.length) return undefined
    const total = packet.readUInt16BE(2)
    // a total length below the header's says nothing (zero: Linux's BIG TCP); one that promises more gets what there is
    const bytes = total < header ? packet.length : Math.min(total, packet.length)
    const protocol = packet[9]!
    const fragment = packet.readUInt16BE(6)
    const source = packet.subarray(12, 16)
    const destination = packet.subarray(16, 20)
    const later = (fragment & 0x1fff) !== 0
    const first = !later && (fragment & 0x2000) !== 0
    const key = `4 ${source.join('.')} ${destination.join('.')} ${packet.readUInt16BE(4)} ${protocol}`
    return this.#account(4, source, destination, protocol, packet.subarray(0, bytes), header, bytes, {
      first,
      later,
      key,
    })
  }

  #ipv6(packet: Buffer): Inside | undefined {
    if (packet.length < 40) return undefined
    const stated = packet.readUInt16BE(4)
    // zero: a jumbogram (RFC 2675) or BIG TCP
    const bytes = stated === 0 ? packet.length : Math.min(stated + 40, packet.length)
    let next = packet[6]!
    let at = 40
    let first = false
    let later = false
    let id = 0
    // RFC 7045 names the extension headers; more than eight of them are not walked, and one that is cut off is where the
    // chain ends: what is known of the packet is that header's number
    const walked = new Set([0, 43, 44, 51, 60, 135, 139, 140])
    for (let count = 0; count < 8 && walked.has(next) && at + 8 <= bytes; count++) {
      const type = next
      next = packet[at]!
      if (type === PROTOCOL.fragment) {
        const offset = packet.readUInt16BE(at + 2)
        id = packet.readUInt32BE(at + 4)
        at += 8
        later = offset >> 3 !== 0
        first = !later && (offset & 1) === 1
        if (later) break
      } else at += type === PROTOCOL.ah ? (packet[at + 1]! + 2) * 4 : (packet[at + 1]! + 1) * 8
    }
    const source = packet.subarray(8, 24)
    const destination = packet.subarray(24, 40)
    // the protocol is no part of it: headers may follow the fragment header (RFC 8200, section 4.5)
    const key = `6 ${source.join('.')} ${destination.join('.')} ${id}`
    return this.#account(6, source, destination, next, packet.subarray(0, bytes), at, bytes, {
      first,
      later,
      key,
    })
  }

  #account(
    family: 4 | 6,
    source: Buffer,
    destination: Buffer,
    protocol: number,
    packet: Buffer,
    transport: number,
    bytes: number,
    fragment: { first: boolean; later: boolean; key: string },
  ): Inside {
    let ports: Ports & { flags: number } = { protocol, kind: 0, source: 0, destination: 0, flags: 0 }
    if (fragment.later) ports = { ...(this.#fragments.get(fragment.key) ?? ports), flags: 0 }
    else ports = transportOf(protocol, family, packet.subarray(Math.min(transport, packet.length)))
    if (fragment.first) this.#fragments.set(fragment.key, ports)
    const from = `${source.toString('hex')}:${ports.source}`
    const to = `${destination.toString('hex')}:${ports.destination}`
    return {
      flow: `${family} ${ports.protocol} ${ports.kind} ${from}>${to}`,
      bytes,
      flags: ports.flags,
      family,
      protocol: ports.protocol,
      transport,
      fragment: fragment.first || fragment.later,
      source,
      destination,
    }
  }
}

/** Ports as far as they are there. Flags stand in the 14th byte of a TCP header. */
function transportOf(protocol: number, family: number, rest: Buffer): Ports & { flags: number } {
  const nothing = { protocol, kind: 0, source: 0, destination: 0, flags: 0 }
  const { tcp, udp, udplite, sctp, icmp, icmp6 } = PROTOCOL
  if (protocol === tcp || protocol === udp || protocol === udplite || protocol === sctp) {
    if (rest.length < 4) return nothing
    const flags = protocol === tcp && rest.length >= 14 ? rest[13]! : 0
    return { ...nothing, source: rest.readUInt16BE(0), destination: rest.readUInt16BE(2), flags }
  }
  // ICMP belongs to IPv4 and ICMPv6 to IPv6; elsewhere they are numbers
  if ((protocol !== icmp && protocol !== icmp6) || (protocol === icmp) !== (family === 4) || rest.length < 2)
    return nothing
  const [request, reply] = protocol === icmp ? [8, 0] : [128, 129]
  const type = rest[0]!
  const echo = type === request || type === reply
  const id = echo && rest.length >= 8 ? rest.readUInt16BE(4) : 0
  return { ...nothing, kind: type === reply ? request! : type, source: id, destination: id }
}

/** Behind the Ethernet header and up to two VLAN tags. */
function ethernetPayload(frame: Buffer): { at: number; version: number } | undefined {
  if (frame.length < 14) return undefined
  let type = frame.readUInt16BE(12)
  let at = 14
  for (let tags = 0; tags < 2 && (type === ETHERTYPE.vlan || type === ETHERTYPE.qinq); tags++) {
    if (frame.length < at + 4) return undefined
    type = frame.readUInt16BE(at + 2)
    at += 4
  }
  if (type !== ETHERTYPE.ipv4 && type !== ETHERTYPE.ipv6) return undefined
  return { at, version: type === ETHERTYPE.ipv4 ? 4 : 6 }
}
