// Addresses as four words (see FlowBatch): from text, and what is known of them without any cluster.
// Holds no state. Text is parsed when objects arrive, never per record.

import { isIPv4, isIPv6 } from 'node:net'

/** Third word of an IPv4 address in IPv6 form (RFC 4291, 2.5.5.2). */
export const IPV4_PREFIX = 0xffff

/** Four host-order words, most significant first. */
export type AddressWords = readonly [number, number, number, number]

/** An address and how many leading bits of its 128 count: IPv4 /24 is 120 here. */
export interface AddressRange {
  readonly words: AddressWords
  readonly bits: number
}

/** The word of a dotted IPv4 address, or -1: four numbers up to 255 without leading zeros, as node:net has it. */
function ipv4Word(text: string, from = 0): number {
  let word = 0
  let octet = -1
  let octets = 1
  for (let i = from; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x2e) {
      if (octet < 0 || ++octets > 4) return -1
      word = word * 256 + octet
      octet = -1
    } else if (code < 0x30 || code > 0x39 || octet === 0) return -1
    else {
      octet = (octet < 0 ? 0 : octet * 10) + code - 0x30
      if (octet > 255) return -1
    }
  }
  return octets === 4 && octet >= 0 ? (word * 256 + octet) >>> 0 : -1
}

/** Parses an IPv4 or IPv6 address; undefined where `text` is none. A zone index (`%eth0`) is refused. */
export function parseAddress(text: string): AddressWords | undefined {
  if (text.length > 45) return undefined
  const dotted = ipv4Word(text)
  if (dotted >= 0) return [0, 0, IPV4_PREFIX, dotted]
  if (!isIPv6(text) || text.includes('%')) return undefined
  let rest = text
  const dot = rest.indexOf('.')
  if (dot >= 0) {
    const start = rest.lastIndexOf(':') + 1
    const word = ipv4Word(rest, start)
    rest = `${rest.slice(0, start)}${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`
  }
  const [head = '', tail] = rest.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...left, ...new Array<string>(8 - left.length - right.length).fill('0'), ...right]
  const word = (index: number) =>
    ((Number.parseInt(groups[index] ?? '0', 16) << 16) | Number.parseInt(groups[index + 1] ?? '0', 16)) >>> 0
  return [word(0), word(2), word(4), word(6)]
}

/** The address as Kubernetes writes it: dotted, or as RFC 5952 has it. */
export function formatAddress(w0: number, w1: number, w2: number, w3: number): string {
  if (w0 === 0 && w1 === 0 && w2 === IPV4_PREFIX) {
    return `${w3 >>> 24}.${(w3 >>> 16) & 255}.${(w3 >>> 8) & 255}.${w3 & 255}`
  }
  const groups = [w0, w1, w2, w3].map(
    (word) => `${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`,
  )
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** Parses `address/length`; undefined where `text` is none. */
export function parseRange(text: string): AddressRange | undefined {
  const slash = text.indexOf('/')
  if (slash < 0 || !/^\d{1,3}$/.test(text.slice(slash + 1))) return undefined
  const words = parseAddress(text.slice(0, slash))
  if (words === undefined) return undefined
  const ipv4 = isIPv4(text.slice(0, slash))
  const length = Number(text.slice(slash + 1))
  if (length > (ipv4 ? 32 : 128)) return undefined
  return { words, bits: ipv4 ? length + 96 : length }
}

/** True for addresses that are a node's own by definition: 127.0.0.0/8 and ::1. */
export function isLoopback(w0: number, w1: number, w2: number, w3: number): boolean {
  if (w0 !== 0 || w1 !== 0) return false
  return (w2 === IPV4_PREFIX && w3 >>> 24 === 127) || (w2 === 0 && w3 === 1)
}

/** True for ranges that clusters take their addresses from: RFC 1918, RFC 6598 and RFC 4193. */
export function isPrivate(w0: number, w1: number, w2: number, w3: number): boolean {
  if (w0 === 0 && w1 === 0 && w2 === IPV4_PREFIX) {
    const top = w3 >>> 24
    return (
      top === 10 ||
      w3 >>> 20 === 0xac1 ||
      w3 >>> 16 === 0xc0a8 ||
      w3 >>> 22 === ((100 << 24) | (64 << 16)) >>> 22
    )
  }
  return w0 >>> 25 === 0xfc >>> 1
}
