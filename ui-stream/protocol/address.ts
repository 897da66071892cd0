// IP addresses between bytes, words and text. Values only; runs in browsers.
// Words are those of FlowBatch: four, most significant first, IPv4 as ::ffff:a.b.c.d.

/** An address or a network: four words, and how many leading bits of the 128 count (IPv4: 96 more than written). */
export interface Network {
  readonly version: 4 | 6
  readonly words: readonly [number, number, number, number]
  readonly bits: number
}

const MAPPED = 0xffff

/** Text of an address of 4 or 16 bytes, IPv6 in RFC 5952 form; undefined for any other length. */
export function formatAddress(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  if (bytes.length !== 16) return undefined
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!)
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === MAPPED) {
    return `::ffff:${bytes[12]}.${bytes[13]}.${bytes[14]}.${bytes[15]}`
  }
  return formatGroups(groups)
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
function formatGroups(groups: readonly number[]): string {
  let best = -1
  let length = 1
  for (let start = 0; start < 8; start++) {
    let end = start
    while (end < 8 && groups[end] === 0) end++
    if (end - start > length) {
      best = start
      length = end - start
    }
    if (end > start) start = end
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':')
  return best < 0 ? hex(groups) : `${hex(groups.slice(0, best))}::${hex(groups.slice(best + length))}`
}

/** Bytes of four words at `offset` of a FlowBatch column: 4 for IP version 4, else 16. */
export function bytesOfWords(words: ArrayLike<number>, offset: number, version: number): Uint8Array {
  const first = version === 4 ? 3 : 0
  const bytes = new Uint8Array((4 - first) * 4)
  for (let i = first, at = 0; i < 4; i++) {
    const word = words[offset + i]!
    bytes[at++] = word >>> 24
    bytes[at++] = word >>> 16
    bytes[at++] = word >>> 8
    bytes[at++] = word
  }
  return bytes
}

/** Writes the words of an address of 4 or 16 bytes; false, and nothing written, for any other length. */
export function wordsOfBytes(bytes: Uint8Array, words: Uint32Array, offset: number): boolean {
  const n = bytes.length
  if (n !== 4 && n !== 16) return false
  const word = (at: number): number =>
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  words[offset] = n === 4 ? 0 : word(0)
  words[offset + 1] = n === 4 ? 0 : word(4)
  words[offset + 2] = n === 4 ? MAPPED : word(8)
  words[offset + 3] = n === 4 ? word(0) : word(12)
  return true
}

/** Parses `10.0.0.1`, `10.0.0.0/8`, `fd00::1` or `fd00::/8`; undefined when it is none of them. */
export function parseNetwork(text: string): Network | undefined {
  const slash = text.indexOf('/')
  const address = slash < 0 ? text : text.slice(0, slash)
  const length = slash < 0 ? undefined : text.slice(slash + 1)
  if (length !== undefined && !/^(0|[1-9][0-9]{0,2})$/.test(length)) return undefined
  const v4 = parseIpv4(address)
  if (v4 !== undefined) {
    const bits = length === undefined ? 32 : Number(length)
    return bits > 32 ? undefined : { version: 4, words: [0, 0, MAPPED, v4], bits: bits + 96 }
  }
  const words = parseIpv6(address)
  const bits = length === undefined ? 128 : Number(length)
  return words === undefined || bits > 128 ? undefined : { version: 6, words, bits }
}

function parseIpv4(text: string): number | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let word = 0
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined
    word = word * 256 + Number(part)
  }
  return word
}

function parseIpv6(text: string): [number, number, number, number] | undefined {
  if (text.length > 45 || !/^[0-9a-fA-F:.]+$/.test(text)) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = parseGroups(halves[0]!, halves.length === 1)
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail]
  const word = (i: number): number => groups[i]! * 0x10000 + groups[i + 1]!
  return [word(0), word(2), word(4), word(6)]
}

function parseGroups(text: string, last: boolean): number[] | undefined {
  if (text === '') return []
  const groups: number[] = []
  const parts = text.split(':')
  for (const [i, part] of parts.entries()) {
    if (last && i === parts.length - 1 && part.includes('.')) {
      const v4 = parseIpv4(part)
      if (v4 === undefined) return undefined
      groups.push(v4 >>> 16, v4 & 0xffff)
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16))
    else return undefined
  }
  return groups
}

/** True when the address in `column[offset..offset+3]` lies in the network. */
export function networkHolds(network: Network, column: ArrayLike<number>, offset: number): boolean {
  let bits = network.bits
  for (let i = 0; i < 4 && bits > 0; i++, bits -= 32) {
    const mask = bits >= 32 ? 0xffffffff : (0xffffffff << (32 - bits)) >>> 0
    if (((column[offset + i]! ^ network.words[i]!) & mask) !== 0) return false
  }
  return true
}
