// The kernel's own word on a connection: what the translating node's conntrack table has of it.

import type { Namespace } from '../testbed/index.js'

export interface Tuple {
  readonly source: string
  readonly destination: string
  readonly sourcePort: number
  readonly destinationPort: number
}

export interface Entry {
  readonly original: Tuple
  /** As packets of the answer are. */
  readonly reply: Tuple
}

/** The entry of the connection that `source`:`port` opened; undefined when there is none. */
export async function conntrackEntry(
  node: Namespace,
  family: 4 | 6,
  protocol: 'tcp' | 'udp',
  source: string,
  port: number,
): Promise<Entry | undefined> {
  const { stdout } = await node.exec(
    [
      'conntrack',
      '-L',
      '-f',
      family === 4 ? 'ipv4' : 'ipv6',
      '-p',
      protocol,
      '-s',
      source,
      '--sport',
      `${port}`,
    ],
    { timeoutMs: 20_000 },
  )
  const line = stdout.split('\n').find((text) => text.includes('src='))
  if (line === undefined) return undefined
  const values = (name: string) =>
    [...line.matchAll(new RegExp(`${name}=(\\S+)`, 'g'))].map((match) => match[1] ?? '')
  const [src, dst, sport, dport] = ['\\bsrc', '\\bdst', '\\bsport', '\\bdport'].map(values)
  const tuple = (i: number): Tuple => ({
    source: src?.[i] ?? '',
    destination: dst?.[i] ?? '',
    sourcePort: Number(sport?.[i]),
    destinationPort: Number(dport?.[i]),
  })
  return { original: tuple(0), reply: tuple(1) }
}
