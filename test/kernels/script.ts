// The frames that are put before the programs and what must be counted for them. The expectation is written down by
// hand beside each frame: it uses no code of the agent and none of the programs.

import { event_kind } from '../../agent/kernel/layout.gen.js'
import {
  addressBytes,
  type End,
  echo,
  ethernet,
  fragment6,
  frame,
  geneve,
  gre,
  hopByHop,
  icmp,
  ip4,
  ip6,
  quotation,
  sctp,
  tcp,
  udp,
  vxlan,
} from './frame.js'

/** Device numbers as scenario.sh gives them to capture. */
const VETH = 0
const UPLINK = 1
const L3 = 2
const IN = 0
const OUT = 1

const FIN = 0x01
const SYN = 0x02
const RST = 0x04
const PSH = 0x08
const ACK = 0x10

/** Packets and IP octets. */
export interface Count {
  packets: number
  bytes: number
}

/** The name of one direction of a tuple in expectations and results. */
export function directionName(
  protocol: number,
  kind: number,
  from: { readonly address: Uint8Array; readonly port: number },
  to: { readonly address: Uint8Array; readonly port: number },
): string {
  const end = (one: typeof from): string => `${Buffer.from(one.address).toString('hex')}:${one.port}`
  return `${protocol}/${kind} ${end(from)} > ${end(to)}`
}

/** The same from text. */
export function direction(protocol: number, from: End, to: End, kind = 0): string {
  const bytes = (end: End): { address: Buffer; port: number } => ({
    address: addressBytes(end.address),
    port: end.port,
  })
  return directionName(protocol, kind, bytes(from), bytes(to))
}

export class Script {
  /** The file that capture plays. */
  readonly bytes: Buffer
  readonly frames: number
  /** How many views there must be: both directions of a tuple are one. */
  readonly tuples: number
  readonly counts: ReadonlyMap<string, Count>
  /** Packets and bytes that are not IP, by device number and direction (`0 0`). */
  readonly others: ReadonlyMap<string, Count>
  /** How many records of each kind the ring must hold. */
  readonly events: Readonly<Record<number, number>>

  constructor() {
    const records: Buffer[] = []
    const counts = new Map<string, Count>()
    const others = new Map<string, Count>()
    const put = (device: number, way: number, bytes: Buffer): void => {
      const head = Buffer.from([device, way, 0, 0])
      head.writeUInt16LE(bytes.length, 2)
      records.push(head, bytes)
    }
    const add = (to: Map<string, Count>, name: string, bytes: number): void => {
      const count = to.get(name) ?? { packets: 0, bytes: 0 }
      count.packets++
      count.bytes += bytes
      to.set(name, count)
    }
    const counted = (device: number, way: number, bytes: Buffer, name: string, octets: number): void => {
      put(device, way, bytes)
      add(counts, name, octets)
    }
    const other = (device: number, way: number, bytes: Buffer, octets: number): void => {
      put(device, way, bytes)
      add(others, `${device} ${way}`, octets)
    }

    const client = { address: '10.1.0.9', port: 40000 }
    const server = { address: '10.2.0.3', port: 80 }
    const there = direction(6, client, server)
    const back = direction(6, server, client)
    const segment = (flags: number, payload = 0, options = 0): Buffer =>
      frame(
        ip4(client.address, server.address, { protocol: 6 }, tcp(client, server, flags, payload, options)),
      )
    const answer = (flags: number, payload = 0): Buffer =>
      frame(ip4(server.address, client.address, { protocol: 6 }, tcp(server, client, flags, payload)))
    // a connection from SYN to the last acknowledgement, and the same tuple once more
    counted(VETH, IN, segment(SYN, 0, 20), there, 60)
    counted(VETH, OUT, answer(SYN | ACK), back, 40)
    counted(VETH, IN, segment(ACK), there, 40)
    counted(VETH, IN, segment(PSH | ACK, 100, 12), there, 152)
    // what another hook sees of it is not counted again
    put(UPLINK, OUT, segment(PSH | ACK, 100, 12))
    counted(VETH, OUT, answer(PSH | ACK, 1000), back, 1040)
    counted(VETH, IN, segment(FIN | ACK), there, 40)
    counted(VETH, OUT, answer(FIN | ACK), back, 40)
    counted(VETH, IN, segment(ACK), there, 40)
    counted(VETH, IN, segment(SYN), there, 40)
    // refused at once
    const closed = { address: '10.2.0.3', port: 81 }
    const knock = { address: '10.1.0.9', port: 40001 }
    const knocks = frame(ip4(knock.address, closed.address, { protocol: 6 }, tcp(knock, closed, SYN, 0)))
    const refusal = frame(
      ip4(closed.address, knock.address, { protocol: 6 }, tcp(closed, knock, RST | ACK, 0)),
    )
    counted(VETH, IN, knocks, direction(6, knock, closed), 40)
    counted(VETH, OUT, refusal, direction(6, closed, knock), 40)

    // UDP with Ethernet's padding, answered by an error
    const question = { address: '10.1.0.9', port: 5000 }
    const resolver = { address: '10.2.0.4', port: 53 }
    const datagram = ip4(question.address, resolver.address, { protocol: 17 }, udp(question, resolver, 4))
    const padded = Buffer.concat([frame(datagram), Buffer.alloc(14)])
    counted(VETH, IN, padded, direction(17, question, resolver), 32)
    const unreachable = ip4(
      resolver.address,
      question.address,
      { protocol: 1 },
      icmp(3, 3, quotation(datagram)),
    )
    const errorName = direction(1, { ...resolver, port: 0 }, { ...question, port: 0 }, 3)
    counted(VETH, OUT, frame(unreachable), errorName, 60)
    // IP options before the ports, VLAN tags, two of them
    const many = { address: '10.1.0.9', port: 5001 }
    const optioned = ip4(
      many.address,
      resolver.address,
      { protocol: 17, options: 8 },
      udp(many, resolver, 10),
    )
    counted(VETH, IN, frame(optioned), direction(17, many, resolver), 46)
    const plain = ip4(many.address, resolver.address, { protocol: 17 }, udp(many, resolver, 10))
    counted(VETH, IN, frame(plain, [[0x8100, 7]]), direction(17, many, resolver), 38)
    const reply = ip4(resolver.address, many.address, { protocol: 17 }, udp(resolver, many, 20))
    const twice = frame(reply, [
      [0x88a8, 5],
      [0x8100, 6],
    ])
    counted(VETH, OUT, twice, direction(17, resolver, many), 48)

    // IPv6
    const client6 = { address: 'fd00:1::9', port: 41000 }
    const server6 = { address: 'fd00:2::3', port: 443 }
    const six = (body: Buffer, protocol: number): Buffer =>
      ip6(client6.address, server6.address, protocol, body)
    counted(VETH, IN, frame(six(tcp(client6, server6, SYN, 0), 6)), direction(6, client6, server6), 60)
    counted(VETH, IN, frame(six(udp(client6, server6, 100), 17)), direction(17, client6, server6), 148)
    const extended = ip6(client6.address, server6.address, 17, udp(client6, server6, 100), [hopByHop(16)])
    counted(VETH, IN, frame(extended), direction(17, client6, server6), 164)

    // echoes: the identifier stands for both ports, replies lie under their request's type
    const echoing = (family: 4 | 6, request: boolean): Buffer => {
      const type = family === 4 ? (request ? 8 : 0) : request ? 128 : 129
      const body = icmp(type, 0, echo(77, 56))
      if (family === 4)
        return request
          ? ip4('10.1.0.9', '10.2.0.3', { protocol: 1 }, body)
          : ip4('10.2.0.3', '10.1.0.9', { protocol: 1 }, body)
      return request ? ip6('fd00:1::9', 'fd00:2::3', 58, body) : ip6('fd00:2::3', 'fd00:1::9', 58, body)
    }
    const near = { address: '10.1.0.9', port: 77 }
    const far = { address: '10.2.0.3', port: 77 }
    const near6 = { address: 'fd00:1::9', port: 77 }
    const far6 = { address: 'fd00:2::3', port: 77 }
    counted(VETH, IN, frame(echoing(4, true)), direction(1, near, far, 8), 84)
    counted(VETH, OUT, frame(echoing(4, false)), direction(1, far, near, 8), 84)
    counted(VETH, IN, frame(echoing(6, true)), direction(58, near6, far6, 128), 104)
    counted(VETH, OUT, frame(echoing(6, false)), direction(58, far6, near6, 128), 104)

    // fragments: the later ones have no ports of their own
    const big = { address: '10.1.0.9', port: 6000 }
    const whole = udp(big, resolver, 1000)
    const piece = (offset: number, end: number): Buffer =>
      ip4(
        big.address,
        resolver.address,
        { protocol: 17, id: 9, fragmentOffset: offset / 8, moreFragments: end < whole.length },
        whole.subarray(offset, end),
      )
    counted(VETH, IN, frame(piece(0, 400)), direction(17, big, resolver), 420)
    counted(VETH, IN, frame(piece(400, 800)), direction(17, big, resolver), 420)
    counted(VETH, IN, frame(piece(800, 1008)), direction(17, big, resolver), 228)
    const big6 = { address: 'fd00:1::9', port: 6000 }
    const piece6 = (offset: number, end: number): Buffer =>
      ip6(big6.address, server6.address, 17, whole.subarray(offset, end), [
        fragment6(offset / 8, end < whole.length, 77777),
      ])
    const name6 = direction(17, big6, { address: server6.address, port: resolver.port })
    counted(VETH, IN, frame(piece6(0, 504)), name6, 552)
    counted(VETH, IN, frame(piece6(504, 1008)), name6, 552)

    // other protocols
    const association = { address: '10.1.0.9', port: 7000 }
    const chunk = ip4(association.address, server.address, { protocol: 132 }, sctp(association, server, 4))
    counted(VETH, IN, frame(chunk), direction(132, association, server), 36)
    const hello = ip4('10.1.0.9', '10.2.0.3', { protocol: 89 }, Buffer.alloc(24))
    counted(
      VETH,
      OUT,
      frame(hello),
      direction(89, { address: '10.1.0.9', port: 0 }, { address: '10.2.0.3', port: 0 }),
      44,
    )

    // not IP, or not what it says it is
    other(VETH, IN, ethernet(0x0806, Buffer.alloc(28)), 28)
    other(VETH, OUT, ethernet(0x88cc, Buffer.alloc(46)), 46)
    other(VETH, IN, ethernet(0x0800, Buffer.alloc(10, 0x45)), 10)
    other(VETH, IN, ethernet(0x0800, Buffer.alloc(40, 0x55)), 40)

    // tunnels: opened on the uplink, for the ports that the node has; elsewhere a packet is what it is
    const outer = { address: '192.168.0.1', port: 50000 }
    const vtep = { address: '192.168.0.2', port: 8472 }
    const inner = (port: number): Buffer =>
      ip4(
        '10.244.1.5',
        '10.244.2.6',
        { protocol: 17 },
        udp({ address: '10.244.1.5', port }, { address: '10.244.2.6', port: 99 }, 50),
      )
    const innerName = (port: number): string =>
      direction(17, { address: '10.244.1.5', port }, { address: '10.244.2.6', port: 99 })
    const carry = (protocol: number, body: Buffer): Buffer =>
      frame(ip4(outer.address, vtep.address, { protocol }, body))
    const vxlanned = carry(17, udp(outer, vtep, vxlan(42, frame(inner(1)))))
    counted(UPLINK, IN, vxlanned, innerName(1), 78)
    counted(VETH, IN, vxlanned, direction(17, outer, vtep), 142 - 14)
    const junk = carry(17, udp({ ...outer, port: 50001 }, vtep, vxlan(42, Buffer.alloc(30))))
    counted(UPLINK, IN, junk, direction(17, { ...outer, port: 50001 }, vtep), 66)
    const genevePort = { address: vtep.address, port: 6081 }
    counted(UPLINK, OUT, carry(17, udp(outer, genevePort, geneve(7, 8, frame(inner(2))))), innerName(2), 78)
    counted(UPLINK, IN, carry(4, inner(3)), innerName(3), 78)
    counted(UPLINK, IN, carry(47, gre(99, inner(4))), innerName(4), 78)

    // a device without Ethernet header
    const bare = { address: '10.3.0.1', port: 8000 }
    const bareTo = { address: '10.3.0.2', port: 8001 }
    const bareBack = ip4(bareTo.address, bare.address, { protocol: 17 }, udp(bareTo, bare, 30))
    counted(
      L3,
      IN,
      ip4(bare.address, bareTo.address, { protocol: 6 }, tcp(bare, bareTo, SYN, 0)),
      direction(6, bare, bareTo),
      40,
    )
    counted(
      L3,
      IN,
      ip4(bare.address, bareTo.address, { protocol: 17, options: 4 }, udp(bare, bareTo, 30)),
      direction(17, bare, bareTo),
      62,
    )
    counted(L3, OUT, bareBack, direction(17, bareTo, bare), 58)
    counted(
      L3,
      IN,
      six(udp({ ...client6, port: 42000 }, server6, 8), 17),
      direction(17, { ...client6, port: 42000 }, server6),
      56,
    )

    this.bytes = Buffer.concat(records)
    this.frames = records.length / 2
    this.counts = counts
    this.others = others
    const tuples = new Set([...counts.keys()].map((name) => name.split(' ').sort().join(' ')))
    this.tuples = tuples.size
    this.events = {
      [event_kind.EVENT_OPEN]: tuples.size,
      [event_kind.EVENT_REOPEN]: 1,
      [event_kind.EVENT_END]: 2,
      [event_kind.EVENT_ICMP_ERROR]: 1,
      [event_kind.EVENT_TUNNEL]: 4,
    }
  }
}
