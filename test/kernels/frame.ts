// Builds the frames that are put before the programs, byte by byte, so that the tests know what is in them without
// asking any parser. Checksums are left zero where nobody on the way looks at them.

/** One end of a packet: an address in text form, IPv4 or IPv6, and a port. */
export interface End {
  readonly address: string
  readonly port: number
}

/** 4 or 16 bytes of an address in text form; IPv6 with at most one `::` and no embedded IPv4. */
export function addressBytes(text: string): Buffer {
  if (!text.includes(':')) return Buffer.from(text.split('.').map(Number))
  const [head = '', tail] = text.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const middle = new Array<string>(tail === undefined ? 0 : 8 - left.length - right.length).fill('0')
  const bytes = Buffer.alloc(16)
  for (const [index, group] of [...left, ...middle, ...right].entries())
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2)
  return bytes
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2)
  for (const [index, value] of values.entries()) bytes.writeUInt16BE(value, index * 2)
  return bytes
}

/** RFC 9293; `flags` are the low eight bits. `options` bytes of padding options. */
export function tcp(from: End, to: End, flags: number, payload: number, options = 0): Buffer {
  const header = Buffer.alloc(20 + options, 1)
  words(from.port, to.port).copy(header)
  header.fill(0, 4, 12)
  header[12] = ((20 + options) / 4) << 4
  header[13] = flags
  header.fill(0, 14, 20)
  return Buffer.concat([header, Buffer.alloc(payload)])
}

/** RFC 768. */
export function udp(from: End, to: End, payload: Buffer | number): Buffer {
  const body = typeof payload === 'number' ? Buffer.alloc(payload) : payload
  return Buffer.concat([words(from.port, to.port, 8 + body.length, 0), body])
}

/** RFC 9260: common header and a chunk of nothing. */
export function sctp(from: End, to: End, payload: number): Buffer {
  return Buffer.concat([words(from.port, to.port), Buffer.alloc(8 + payload)])
}

/** RFC 792, RFC 4443: type, code, an empty checksum and the rest. */
export function icmp(type: number, code: number, rest: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, code, 0, 0]), rest])
}

/** What follows the checksum of an echo request or reply. */
export function echo(identifier: number, payload: number): Buffer {
  return Buffer.concat([words(identifier, 1), Buffer.alloc(payload)])
}

/** What follows the checksum of an ICMP error. */
export function quotation(packet: Buffer): Buffer {
  return Buffer.concat([words(0, 0), packet])
}

export interface Ip4 {
  readonly protocol: number
  readonly id?: number
  /** In units of 8 bytes. */
  readonly fragmentOffset?: number
  readonly moreFragments?: boolean
  /** Bytes of no-operation options, a multiple of 4. */
  readonly options?: number
}

/** RFC 791. */
export function ip4(from: string, to: string, header: Ip4, body: Buffer): Buffer {
  const options = header.options ?? 0
  const length = 20 + options
  const fragment = (header.fragmentOffset ?? 0) | (header.moreFragments === true ? 0x2000 : 0)
  return Buffer.concat([
    Buffer.from([0x40 | (length / 4), 0]),
    words(length + body.length, header.id ?? 0, fragment),
    Buffer.from([64, header.protocol, 0, 0]),
    addressBytes(from),
    addressBytes(to),
    Buffer.alloc(options, 1),
    body,
  ])
}

/** RFC 8200. `extensions` are complete but for their first byte, which is filled in here with what follows each. */
export function ip6(
  from: string,
  to: string,
  protocol: number,
  body: Buffer,
  extensions: readonly { readonly protocol: number; readonly bytes: Buffer }[] = [],
): Buffer {
  const chain = extensions.map(({ bytes }, index) => {
    const copy = Buffer.from(bytes)
    copy[0] = extensions[index + 1]?.protocol ?? protocol
    return copy
  })
  const rest = Buffer.concat([...chain, body])
  return Buffer.concat([
    Buffer.from([0x60, 0, 0, 0]),
    words(rest.length),
    Buffer.from([extensions[0]?.protocol ?? protocol, 64]),
    addressBytes(from),
    addressBytes(to),
    rest,
  ])
}

/** The fragment header of RFC 8200 section 4.5; `offset` in units of 8 bytes. */
export function fragment6(offset: number, more: boolean, id: number): { protocol: number; bytes: Buffer } {
  return {
    protocol: 44,
    bytes: Buffer.concat([words(0, (offset << 3) | (more ? 1 : 0)), words(id >>> 16, id & 0xffff)]),
  }
}

/** A hop-by-hop header of `length` bytes (a multiple of 8) that holds padding. */
export function hopByHop(length: number): { protocol: number; bytes: Buffer } {
  const bytes = Buffer.alloc(length)
  bytes[1] = length / 8 - 1
  bytes[2] = 1 // PadN
  bytes[3] = length - 4
  return { protocol: 0, bytes }
}

/** An Ethernet frame, with VLAN tags given as [TPID, TCI]. Nobody has the destination address, so nobody answers. */
export function ethernet(
  type: number,
  body: Buffer,
  tags: readonly (readonly [number, number])[] = [],
): Buffer {
  return Buffer.concat([
    Buffer.from('02000000bb02', 'hex'),
    Buffer.from('02000000aa02', 'hex'),
    ...tags.map(([tpid, tci]) => words(tpid, tci)),
    words(type),
    body,
  ])
}

/** An IP packet in Ethernet. */
export function frame(packet: Buffer, tags: readonly (readonly [number, number])[] = []): Buffer {
  return ethernet((packet[0] ?? 0) >> 4 === 6 ? 0x86dd : 0x0800, packet, tags)
}

/** RFC 7348 header before an Ethernet frame. */
export function vxlan(id: number, inner: Buffer): Buffer {
  return Buffer.concat([Buffer.from([8, 0, 0, 0]), words(id >>> 8, (id & 0xff) << 8), inner])
}

/** RFC 8926 header with `options` bytes of options (a multiple of 4) before an Ethernet frame. */
export function geneve(id: number, options: number, inner: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from([options / 4, 0]),
    words(0x6558, id >>> 8, (id & 0xff) << 8),
    Buffer.alloc(options),
    inner,
  ])
}

/** RFC 2890 header with a key before an IPv4 packet. */
export function gre(key: number, inner: Buffer): Buffer {
  return Buffer.concat([words(0x2000, 0x0800, key >>> 16, key & 0xffff), inner])
}
