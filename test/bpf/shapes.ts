// The table of packets: what it is, and the frames of which the last is cut at every length. Those before it are whole.

import type { DecodedTunnel } from './decode.js'
import {
  A4,
  A6,
  addressOf,
  authentication,
  B4,
  B6,
  ETHERTYPE,
  ethernet,
  extension,
  fragmentHeader,
  geneve,
  gre,
  type Ipv4Fields,
  type Ipv6Fields,
  icmp,
  ipv4,
  ipv6,
  PROTOCOL,
  sctp,
  tcp,
  udp,
  vlan,
  vxlan,
} from './headers.js'

/** Frames of a case; `id` differs for each cut, so that fragments of one do not meet those of another. */
export type Shape = readonly [name: string, frames: (id: number) => Buffer[]]

const e4 = (payload: Uint8Array, padTo = 0) => ethernet(ETHERTYPE.ipv4, payload, padTo)
const e6 = (payload: Uint8Array) => ethernet(ETHERTYPE.ipv6, payload)
const t4 = (fields: Partial<Ipv4Fields> = {}, payload = tcp()) =>
  ipv4({ protocol: PROTOCOL.tcp, ...fields }, payload)
const u4 = (fields: Partial<Ipv4Fields> = {}, payload = udp()) =>
  ipv4({ protocol: PROTOCOL.udp, ...fields }, payload)
const t6 = (fields: Partial<Ipv6Fields> = {}, payload = tcp()) =>
  ipv6({ next: PROTOCOL.tcp, ...fields }, payload)
const u6 = (fields: Partial<Ipv6Fields> = {}, payload = udp()) =>
  ipv6({ next: PROTOCOL.udp, ...fields }, payload)
const four = (protocol: number, payload: Uint8Array) => e4(ipv4({ protocol }, payload))
const six = (next: number, payload: Uint8Array) => e6(ipv6({ next }, payload))
const hops = (count: number, last: number, payload: Uint8Array): Buffer =>
  count === 1 ? extension(last, payload) : extension(PROTOCOL.destination, hops(count - 1, last, payload))
const reversed4 = { source: B4, destination: A4 }
const answer = tcp({ source: 443, destination: 40_001, flags: 0x12 })

export const SHAPES: readonly Shape[] = [
  ['TCP over IPv4', () => [e4(t4())]],
  ['TCP over IPv6', () => [e6(t6())]],
  ['UDP over IPv4', () => [e4(u4())]],
  ['UDP over IPv6', () => [e6(u6())]],
  ['UDP without a byte of payload', () => [e4(u4({}, udp(1, 2, Buffer.alloc(0))))]],
  ['TCP SYN and its answer share an entry', () => [e4(t4({}, tcp({ flags: 2 }))), e4(t4(reversed4, answer))]],
  ['TCP with options', () => [e4(t4({}, tcp({ offset: 8 }, Buffer.alloc(12 + 7, 1))))]],
  ['TCP whose data offset is 0', () => [e4(t4({}, tcp({ offset: 0 })))]],
  ['TCP whose data offset lies beyond the packet', () => [e4(t4({}, tcp({ offset: 15 })))]],
  ['TCP with every flag', () => [e4(t4({}, tcp({ flags: 0xff })))]],
  ['TCP ports zero', () => [e4(t4({}, tcp({ source: 0, destination: 0 })))]],
  ['VLAN, IPv4', () => [ethernet(ETHERTYPE.vlan, vlan(7, ETHERTYPE.ipv4, t4()))]],
  ['VLAN, IPv6', () => [ethernet(ETHERTYPE.vlan, vlan(7, ETHERTYPE.ipv6, u6()))]],
  ['QinQ', () => [ethernet(ETHERTYPE.qinq, vlan(7, ETHERTYPE.vlan, vlan(8, ETHERTYPE.ipv4, u4())))]],
  [
    'two tags of 802.1Q',
    () => [ethernet(ETHERTYPE.vlan, vlan(7, ETHERTYPE.vlan, vlan(8, ETHERTYPE.ipv6, t6())))],
  ],
  [
    'three tags are not IP to us',
    () => [ethernet(ETHERTYPE.qinq, vlan(1, 0x8100, vlan(2, 0x8100, vlan(3, ETHERTYPE.ipv4, t4()))))],
  ],
  ['VLAN with ARP', () => [ethernet(ETHERTYPE.vlan, vlan(7, ETHERTYPE.arp, Buffer.alloc(28, 1)))]],
  ['ARP', () => [ethernet(ETHERTYPE.arp, Buffer.alloc(28, 1), 60)]],
  ['MPLS', () => [ethernet(ETHERTYPE.mpls, Buffer.concat([Buffer.from([0x45, 0, 1, 64]), t4()]))]],
  ['an 802.3 length instead of a type', () => [ethernet(38, Buffer.alloc(38, 0x42))]],
  ['IPv4 with options', () => [e4(t4({ options: Buffer.from([7, 7, 4, 0, 0, 0, 0, 0]) }))]],
  ['IPv4 with all the options there can be', () => [e4(u4({ options: Buffer.alloc(40, 1) }))]],
  ['IPv4 whose IHL is below 5', () => [e4(t4({ ihl: 4 }))]],
  ['IPv4 whose IHL points into the transport header', () => [e4(t4({ ihl: 7 }))]],
  ['IPv4 whose IHL points beyond the packet', () => [e4(u4({ ihl: 15 }))]],
  ['IPv4 of version 5', () => [e4(t4({ version: 5 }))]],
  ['IPv6 under the type of IPv4', () => [ethernet(ETHERTYPE.ipv4, t6())]],
  ['IPv4 under the type of IPv6', () => [ethernet(ETHERTYPE.ipv6, t4())]],
  ['IPv6 of version 0', () => [e6(t6({ version: 0 }))]],
  ['IPv4 total length zero', () => [e4(t4({ totalLength: 0 }))]],
  ['IPv4 total length below its header', () => [e4(u4({ totalLength: 19 }))]],
  ['IPv4 total length of just the header', () => [e4(t4({ totalLength: 20 }))]],
  ['IPv4 total length ends within the ports', () => [e4(t4({ totalLength: 22 }))]],
  ['IPv4 total length ends before the TCP flags', () => [e4(t4({ totalLength: 30 }))]],
  ['IPv4 total length ends within the UDP header', () => [e4(u4({ totalLength: 25 }))]],
  ['IPv4 total length too long', () => [e4(t4({ totalLength: 1500 }))]],
  ['IPv6 payload length zero', () => [e6(t6({ payloadLength: 0 }))]],
  ['IPv6 payload length ends within the ports', () => [e6(t6({ payloadLength: 3 }))]],
  ['IPv6 payload length ends within the TCP header', () => [e6(t6({ payloadLength: 15 }))]],
  ['IPv6 payload length too long', () => [e6(u6({ payloadLength: 9000 }))]],
  ['a frame padded to 60 bytes', () => [e4(u4({}, udp(1, 2, Buffer.alloc(0))), 60)]],
  ['a padded frame with TCP', () => [e4(t4({}, tcp({}, Buffer.alloc(0))), 64)]],
  ['IPv4, do not fragment', () => [e4(t4({ dontFragment: true }))]],
  ['IPv4 first fragment', (id) => [e4(u4({ id, more: true }))]],
  [
    'IPv4 later fragment after its first',
    (id) => [e4(u4({ id, more: true })), e4(u4({ id, fragment: 2 }, Buffer.alloc(24, 6)))],
  ],
  [
    'IPv4 middle fragment after its first',
    (id) => [e4(t4({ id, more: true })), e4(t4({ id, fragment: 3, more: true }, Buffer.alloc(24, 6)))],
  ],
  [
    'IPv4 later fragment whose first was not seen',
    (id) => [e4(u4({ id, fragment: 2 }, Buffer.alloc(24, 6)))],
  ],
  [
    'IPv4 later fragment of another protocol with the same identification',
    (id) => [e4(u4({ id, more: true })), e4(t4({ id, fragment: 2 }, Buffer.alloc(24, 6)))],
  ],
  [
    'IPv4 fragments of an echo request',
    (id) => [
      e4(ipv4({ id, more: true, protocol: PROTOCOL.icmp }, icmp(8, 0, 0x00770001))),
      e4(ipv4({ id, fragment: 2, protocol: PROTOCOL.icmp }, Buffer.alloc(16, 6))),
    ],
  ],
  ['IPv6 first fragment', (id) => [six(PROTOCOL.fragment, fragmentHeader(PROTOCOL.udp, 0, true, id, udp()))]],
  [
    'IPv6 later fragment after its first',
    (id) => [
      six(PROTOCOL.fragment, fragmentHeader(PROTOCOL.tcp, 0, true, id, tcp())),
      six(PROTOCOL.fragment, fragmentHeader(PROTOCOL.tcp, 4, false, id, Buffer.alloc(16, 6))),
    ],
  ],
  [
    'IPv6 later fragment whose first has options behind the fragment header',
    (id) => [
      six(
        PROTOCOL.fragment,
        fragmentHeader(PROTOCOL.destination, 0, true, id, extension(PROTOCOL.udp, udp())),
      ),
      six(PROTOCOL.fragment, fragmentHeader(PROTOCOL.destination, 4, false, id, Buffer.alloc(16, 6))),
    ],
  ],
  [
    'IPv6 later fragment whose first was not seen',
    (id) => [six(PROTOCOL.fragment, fragmentHeader(PROTOCOL.udp, 4, false, id, Buffer.alloc(16, 6)))],
  ],
  [
    'IPv6 atomic fragment',
    (id) => [six(PROTOCOL.fragment, fragmentHeader(PROTOCOL.tcp, 0, false, id, tcp()))],
  ],
  ['IPv6 hop-by-hop options', () => [six(PROTOCOL.hopByHop, extension(PROTOCOL.tcp, tcp()))]],
  ['IPv6 routing header of 24 bytes', () => [six(PROTOCOL.routing, extension(PROTOCOL.udp, udp(), 2))]],
  ['IPv6 destination options', () => [six(PROTOCOL.destination, extension(PROTOCOL.tcp, tcp(), 1))]],
  ['IPv6 authentication header', () => [six(PROTOCOL.ah, authentication(PROTOCOL.tcp, tcp()))]],
  ['IPv6 mobility header', () => [six(PROTOCOL.mobility, extension(PROTOCOL.none, Buffer.alloc(0)))]],
  [
    'IPv6 chain of four kinds',
    (id) => [
      six(
        PROTOCOL.hopByHop,
        extension(
          PROTOCOL.routing,
          extension(
            PROTOCOL.fragment,
            fragmentHeader(PROTOCOL.ah, 0, true, id, authentication(PROTOCOL.udp, udp())),
          ),
        ),
      ),
    ],
  ],
  ['IPv6 chain of eight', () => [six(PROTOCOL.destination, hops(8, PROTOCOL.udp, udp()))]],
  ['IPv6 chain of nine is too long', () => [six(PROTOCOL.destination, hops(9, PROTOCOL.udp, udp()))]],
  [
    'IPv6 extension longer than the packet',
    () => [six(PROTOCOL.destination, Buffer.from('06ff0000000000000102030405060708', 'hex'))],
  ],
  ['IPv6 unknown next header', () => [six(253, Buffer.alloc(24, 8))]],
  ['IPv6 no next header', () => [six(PROTOCOL.none, Buffer.alloc(24, 8))]],
  ['IPv6 ESP', () => [six(PROTOCOL.esp, Buffer.alloc(24, 8))]],
  ['SCTP over IPv4', () => [four(PROTOCOL.sctp, sctp())]],
  ['SCTP over IPv6', () => [six(PROTOCOL.sctp, sctp())]],
  ['UDP-Lite', () => [four(PROTOCOL.udplite, udp(5, 6))]],
  ['ICMP echo', () => [four(PROTOCOL.icmp, icmp(8, 0, 0x00420001))]],
  [
    'ICMP echo and its reply share an entry',
    () => [
      four(PROTOCOL.icmp, icmp(8, 0, 0x00420001)),
      e4(ipv4({ ...reversed4, protocol: PROTOCOL.icmp }, icmp(0, 0, 0x00420001))),
    ],
  ],
  ['ICMP timestamp', () => [four(PROTOCOL.icmp, icmp(13, 0, 0x00420001))]],
  ['ICMP time exceeded', () => [four(PROTOCOL.icmp, icmp(11, 0, 0, t4()))]],
  [
    'ICMP port unreachable after what it quotes',
    () => [e4(u4()), e4(ipv4({ ...reversed4, protocol: PROTOCOL.icmp }, icmp(3, 3, 0, u4())))],
  ],
  [
    'ICMP unreachable that quotes itself',
    () => [four(PROTOCOL.icmp, icmp(3, 3, 0, ipv4({ protocol: 1 }, icmp(3, 3, 0))))],
  ],
  ['ICMPv6 echo', () => [six(PROTOCOL.icmp6, icmp(128, 0, 0x00430001))]],
  [
    'ICMPv6 echo and its reply share an entry',
    () => [
      six(PROTOCOL.icmp6, icmp(128, 0, 0x00430001)),
      e6(ipv6({ source: B6, destination: A6, next: PROTOCOL.icmp6 }, icmp(129, 0, 0x00430001))),
    ],
  ],
  ['ICMPv6 neighbour solicitation', () => [six(PROTOCOL.icmp6, icmp(135, 0, 0, Buffer.alloc(24)))]],
  ['ICMPv6 port unreachable', () => [six(PROTOCOL.icmp6, icmp(1, 4, 0, t6()))]],
  ['ICMP inside IPv6 is a number', () => [six(PROTOCOL.icmp, icmp(8, 0, 0x00420001))]],
  ['ICMPv6 inside IPv4 is a number', () => [four(PROTOCOL.icmp6, icmp(128, 0, 0x00420001))]],
  ['ESP', () => [four(PROTOCOL.esp, Buffer.alloc(24, 8))]],
  ['OSPF, by number', () => [four(89, Buffer.alloc(24, 8))]],
  ['protocol 0 over IPv4', () => [four(0, Buffer.alloc(24, 8))]],
  ['protocol 255', () => [four(255, Buffer.alloc(24, 8))]],
  ['loopback addresses', () => [e4(t4({ source: '127.0.0.1', destination: '127.0.0.2' }))]],
  ['IPv6 loopback', () => [e6(u6({ source: '::1', destination: '::1' }))]],
  [
    'the same address at both ends',
    () => [e4(u4({ destination: A4 })), e4(u4({ destination: A4 }, udp(53, 40_002)))],
  ],
  ['the same address and port at both ends', () => [e4(u4({ destination: A4 }, udp(9, 9)))]],
  [
    'IPv6, the same address at both ends',
    () => [e6(t6({ destination: A6 })), e6(t6({ destination: A6 }, answer))],
  ],
  ['broadcast', () => [e4(u4({ source: '0.0.0.0', destination: '255.255.255.255' }, udp(68, 67)))]],
  ['VXLAN on no uplink stays UDP', () => [e4(u4({}, udp(1, 4789, vxlan(5, e4(t4())))))]],
]

/** What tunnel devices the node of the next table has. */
export const TUNNELS: readonly DecodedTunnel[] = [
  { protocol: PROTOCOL.udp, family: 4, port: 4789, carries: 'vxlan', local: addressOf(B4) },
  { protocol: PROTOCOL.udp, family: 6, port: 4789, carries: 'vxlan', local: addressOf(B6) },
  { protocol: PROTOCOL.udp, family: 4, port: 6081, carries: 'geneve' },
  { protocol: PROTOCOL.ipip, family: 4, port: 0, carries: 'ip' },
  { protocol: PROTOCOL.ipv6, family: 6, port: 0, carries: 'ip', local: addressOf(B6) },
  { protocol: PROTOCOL.gre, family: 4, port: 0, carries: 'gre' },
]

const inside = () => ipv4({ source: '10.9.0.1', destination: '10.9.0.2', protocol: PROTOCOL.tcp }, tcp())
const inside6 = () => ipv6({ source: 'fd09::1', destination: 'fd09::2', next: PROTOCOL.udp }, udp())
const overUdp = (port: number, payload: Uint8Array, fields: Partial<Ipv4Fields> = {}) =>
  e4(u4(fields, udp(50_000, port, payload)))

export const TUNNEL_SHAPES: readonly Shape[] = [
  ['VXLAN', () => [overUdp(4789, vxlan(42, e4(inside())))]],
  ['VXLAN with IPv6 inside', () => [overUdp(4789, vxlan(42, e6(inside6())))]],
  ['VXLAN over IPv6', () => [e6(u6({}, udp(50_000, 4789, vxlan(42, e4(inside())))))]],
  [
    'VXLAN with a VLAN tag inside',
    () => [overUdp(4789, vxlan(42, ethernet(ETHERTYPE.vlan, vlan(3, ETHERTYPE.ipv4, inside()))))],
  ],
  [
    'VXLAN with ARP inside counts outside',
    () => [overUdp(4789, vxlan(42, ethernet(ETHERTYPE.arp, Buffer.alloc(28, 1))))],
  ],
  ['VXLAN without its I flag is none', () => [overUdp(4789, vxlan(42, e4(inside()), 0))]],
  [
    'VXLAN to an address that is not ours',
    () => [overUdp(4789, vxlan(42, e4(inside())), { destination: '10.200.0.10' })],
  ],
  ['VXLAN to another port', () => [overUdp(8472, vxlan(42, e4(inside())))]],
  ['VXLAN in VXLAN is opened once', () => [overUdp(4789, vxlan(1, overUdp(4789, vxlan(2, e4(inside())))))]],
  ['VXLAN with a padded frame inside', () => [overUdp(4789, vxlan(42, e4(inside(), 80)))]],
  [
    'VXLAN of which only a first fragment is there',
    (id) => [overUdp(4789, vxlan(42, e4(inside())), { id, more: true })],
  ],
  [
    'VXLAN behind a VLAN tag',
    () => [ethernet(ETHERTYPE.vlan, vlan(9, ETHERTYPE.ipv4, u4({}, udp(1, 4789, vxlan(42, e4(inside()))))))],
  ],
  [
    'VXLAN over IPv4 with options',
    () => [overUdp(4789, vxlan(42, e4(inside())), { options: Buffer.alloc(8, 1) })],
  ],
  ['Geneve with an Ethernet frame', () => [overUdp(6081, geneve(7, 0x6558, e4(inside())))]],
  ['Geneve with options', () => [overUdp(6081, geneve(7, 0x6558, e4(inside()), 16))]],
  ['Geneve with IPv4 at once', () => [overUdp(6081, geneve(7, ETHERTYPE.ipv4, inside()))]],
  [
    'Geneve with what is not IP, though it looks like it',
    () => [overUdp(6081, geneve(7, ETHERTYPE.mpls, inside()))],
  ],
  ['Geneve of version 1', () => [overUdp(6081, geneve(7, 0x6558, e4(inside()), 0, 1))]],
  ['IPIP', () => [four(PROTOCOL.ipip, inside())]],
  ['IPv6 in IPv6', () => [six(PROTOCOL.ipv6, inside6())]],
  ['IPv6 in IPv6 behind options', () => [six(PROTOCOL.destination, extension(PROTOCOL.ipv6, inside6()))]],
  ['IPv6 in IPv4 without such a device', () => [four(PROTOCOL.ipv6, inside6())]],
  [
    'IPIP in IPIP is opened once',
    () => [four(PROTOCOL.ipip, ipv4({ source: '10.8.0.1', protocol: 4 }, inside()))],
  ],
  ['IPIP with nonsense inside', () => [four(PROTOCOL.ipip, Buffer.alloc(30, 0xff))]],
  ['GRE', () => [four(PROTOCOL.gre, gre(ETHERTYPE.ipv4, inside()))]],
  ['GRE with a key', () => [four(PROTOCOL.gre, gre(ETHERTYPE.ipv4, inside(), { key: 99 }))]],
  ['GRE with a checksum', () => [four(PROTOCOL.gre, gre(ETHERTYPE.ipv4, inside(), { checksum: true }))]],
  [
    'GRE with checksum, key and sequence',
    () => [four(PROTOCOL.gre, gre(ETHERTYPE.ipv6, inside6(), { checksum: true, key: 1, sequence: 2 }))],
  ],
  ['GRE with an Ethernet frame', () => [four(PROTOCOL.gre, gre(0x6558, e4(inside()), { key: 7 }))]],
  ['GRE of version 1 (PPTP)', () => [four(PROTOCOL.gre, gre(0x880b, inside(), { version: 1, key: 7 }))]],
  ['GRE with routing', () => [four(PROTOCOL.gre, gre(ETHERTYPE.ipv4, inside(), { routing: true }))]],
  [
    'GRE with what is not IP, though it looks like it',
    () => [four(PROTOCOL.gre, gre(ETHERTYPE.mpls, inside()))],
  ],
  ['plain TCP past the tunnels', () => [e4(t4())]],
  ['plain UDP past the tunnels', () => [e6(u6())]],
]
