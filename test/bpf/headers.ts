// Packets header by header, as the RFCs draw them. Lengths are filled in from what follows unless given, so that a test
// can lie about each. Checksums stay zero: nobody who accounts looks at them.

export const ETHERTYPE = { ipv4: 0x0800, ipv6: 0x86dd, arp: 0x0806, vlan: 0x8100, qinq: 0x88a8, mpls: 0x8847 }
export const PROTOCOL = {
  hopByHop: 0,
  icmp: 1,
  ipip: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  routing: 43,
  fragment: 44,
  gre: 47,
  esp: 50,
  ah: 51,
  icmp6: 58,
  none: 59,
  destination: 60,
  mobility: 135,
  sctp: 132,
  udplite: 136,
}

export const A4 = '10.1.2.3'
export const B4 = '10.200.0.9'
export const A6 = 'fd00:0:0:1::a'
export const B6 = 'fd00:0:0:2::b'

function words(
  bytes: number,
  ...values: readonly (readonly [offset: number, size: 1 | 2 | 4, value: number])[]
) {
  const buffer = Buffer.alloc(bytes)
  for (const [offset, size, value] of values) buffer.writeUIntBE(value, offset, size)
  return buffer
}

/** An address in network order, 4 or 16 bytes. */
export function addressOf(text: string): Buffer {
  if (!text.includes(':')) return Buffer.from(text.split('.').map(Number))
  const [head = '', tail] = text.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return Buffer.concat(groups.map((group) => words(2, [0, 2, Number.parseInt(group, 16)])))
}

export function ethernet(type: number, payload: Uint8Array, padTo = 0): Buffer {
  const frame = Buffer.concat([
    Buffer.from('020000000002020000000001', 'hex'),
    words(2, [0, 2, type]),
    payload,
  ])
  return frame.length >= padTo ? frame : Buffer.concat([frame, Buffer.alloc(padTo - frame.length)])
}

/** IEEE 802.1Q: the tag's control field and the type of what follows. Goes behind an Ethernet header of the tag's type. */
export function vlan(id: number, type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([words(4, [0, 2, id], [2, 2, type]), payload])
}

export interface Ipv4Fields {
  source?: string
  destination?: string
  protocol: number
  options?: Uint8Array
  /** Header length in words; lies when given. */
  ihl?: number
  version?: number
  totalLength?: number
  id?: number
  /** Offset in units of 8 bytes. */
  fragment?: number
  more?: boolean
  dontFragment?: boolean
}

export function ipv4(fields: Ipv4Fields, payload: Uint8Array): Buffer {
  const options = fields.options ?? Buffer.alloc(0)
  const header = 20 + options.length
  const flags = (fields.more === true ? 0x2000 : 0) | (fields.dontFragment === true ? 0x4000 : 0)
  return Buffer.concat([
    words(
      12,
      [0, 1, ((fields.version ?? 4) << 4) | (fields.ihl ?? header / 4)],
      [2, 2, fields.totalLength ?? header + payload.length],
      [4, 2, fields.id ?? 0x1234],
      [6, 2, flags | (fields.fragment ?? 0)],
      [8, 1, 64],
      [9, 1, fields.protocol],
    ),
    addressOf(fields.source ?? A4),
    addressOf(fields.destination ?? B4),
    options,
    payload,
  ])
}

export interface Ipv6Fields {
  source?: string
  destination?: string
  next: number
  version?: number
  payloadLength?: number
}

export function ipv6(fields: Ipv6Fields, payload: Uint8Array): Buffer {
  return Buffer.concat([
    words(
      8,
      [0, 1, ((fields.version ?? 6) << 4) | 0xa],
      [1, 2, 0xbcde],
      [4, 2, fields.payloadLength ?? payload.length],
      [6, 1, fields.next],
      [7, 1, 64],
    ),
    addressOf(fields.source ?? A6),
    addressOf(fields.destination ?? B6),
    payload,
  ])
}

/** RFC 8200: hop-by-hop, routing and destination options; `units` of 8 bytes beyond the first. */
export function extension(next: number, payload: Uint8Array, units = 0): Buffer {
  return Buffer.concat([words(2, [0, 1, next], [1, 1, units]), Buffer.alloc(6 + units * 8, 1), payload])
}

/** RFC 4302: length in words, less two. */
export function authentication(next: number, payload: Uint8Array, icvWords = 3): Buffer {
  return Buffer.concat([
    words(2, [0, 1, next], [1, 1, icvWords + 1]),
    Buffer.alloc(10 + icvWords * 4, 2),
    payload,
  ])
}

/** RFC 8200, section 4.5. `offset` in units of 8 bytes. */
export function fragmentHeader(
  next: number,
  offset: number,
  more: boolean,
  id: number,
  payload: Uint8Array,
): Buffer {
  return Buffer.concat([words(8, [0, 1, next], [2, 2, (offset << 3) | (more ? 1 : 0)], [4, 4, id]), payload])
}

export interface TcpFields {
  source?: number
  destination?: number
  flags?: number
  /** Header length in words; lies when it is not 5. */
  offset?: number
}

export function tcp(fields: TcpFields = {}, payload: Uint8Array = Buffer.from('hello')): Buffer {
  return Buffer.concat([
    words(
      20,
      [0, 2, fields.source ?? 40_001],
      [2, 2, fields.destination ?? 443],
      [4, 4, 0x01020304],
      [12, 1, (fields.offset ?? 5) << 4],
      [13, 1, fields.flags ?? 0x18],
      [14, 2, 512],
    ),
    payload,
  ])
}

export function udp(
  source = 40_002,
  destination = 53,
  payload: Uint8Array = Buffer.from('question'),
): Buffer {
  return Buffer.concat([words(8, [0, 2, source], [2, 2, destination], [4, 2, 8 + payload.length]), payload])
}

export function sctp(source = 40_003, destination = 3868): Buffer {
  return Buffer.concat([
    words(12, [0, 2, source], [2, 2, destination], [4, 4, 0xaabbccdd]),
    Buffer.alloc(8, 3),
  ])
}

/** ICMP and ICMPv6 alike: type, code, checksum, the rest of the header, then data. */
export function icmp(
  type: number,
  code: number,
  rest: number,
  payload: Uint8Array = Buffer.alloc(8, 9),
): Buffer {
  return Buffer.concat([words(8, [0, 1, type], [1, 1, code], [4, 4, rest]), payload])
}

/** RFC 7348. */
export function vxlan(vni: number, frame: Uint8Array, flags = 0x08): Buffer {
  return Buffer.concat([words(8, [0, 1, flags], [4, 4, vni * 256]), frame])
}

/** RFC 8926. `options` a multiple of 4. */
export function geneve(vni: number, protocol: number, payload: Uint8Array, options = 0, version = 0): Buffer {
  const head = words(8, [0, 1, (version << 6) | (options / 4)], [2, 2, protocol], [4, 4, vni * 256])
  return Buffer.concat([head, Buffer.alloc(options, 4), payload])
}

export interface GreFields {
  checksum?: boolean
  routing?: boolean
  key?: number
  sequence?: number
  version?: number
}

/** RFC 2784 and RFC 2890. */
export function gre(protocol: number, payload: Uint8Array, fields: GreFields = {}): Buffer {
  const flags =
    (fields.checksum === true ? 0x8000 : 0) |
    (fields.routing === true ? 0x4000 : 0) |
    (fields.key === undefined ? 0 : 0x2000) |
    (fields.sequence === undefined ? 0 : 0x1000) |
    (fields.version ?? 0)
  return Buffer.concat([
    words(4, [0, 2, flags], [2, 2, protocol]),
    ...(fields.checksum === true || fields.routing === true ? [Buffer.alloc(4, 0x45)] : []),
    ...(fields.key === undefined ? [] : [words(4, [0, 4, fields.key])]),
    ...(fields.sequence === undefined ? [] : [words(4, [0, 4, fields.sequence])]),
    payload,
  ])
}
