// TCP header flags (RFC 9293, 3.1; ECE and CWR RFC 3168) between bits and names. Runs in browsers.

/** Names by bit, lowest first. */
export const TCP_FLAG_NAMES = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'] as const

/** Names of the bits set, lowest first. */
export function tcpFlagNames(bits: number): string[] {
  return TCP_FLAG_NAMES.filter((_, bit) => (bits & (1 << bit)) !== 0)
}

/** Bits of a list as in `syn,ack`, case ignored; undefined when it is empty or holds something else. */
export function parseTcpFlagBits(text: string): number | undefined {
  let flags = 0
  for (const name of text.toLowerCase().split(',')) {
    const bit = (TCP_FLAG_NAMES as readonly string[]).indexOf(name.trim())
    if (bit < 0) return undefined
    flags |= 1 << bit
  }
  return flags
}
