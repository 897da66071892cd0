// Makes a row's connection and says what really became of it: by the sockets' own counts and the kernel's conntrack.

import { endpoint, type Namespace, tcpConnect, udpSend } from '../testbed/index.js'
import type { Built } from './bed.js'
import { conntrackEntry, type Entry } from './conntrack.js'
import type { Row } from './row.js'

/** One connection that was made. */
export interface Made {
  readonly protocol: string
  readonly clientIp: string
  /** 0 for protocols without ports. */
  readonly clientPort: number
  readonly to: string
  /** What the client's socket sent and got: segments or packets. */
  readonly forward: number
  readonly reverse: number
  /** IP octets, where they follow from that (nothing was sent twice). */
  readonly octets: { readonly forward: number; readonly reverse: number } | undefined
  /** Who answered, by conntrack; the address that was called where nothing was translated. */
  readonly answeredBy: string
  readonly translatedIp: string
  readonly translatedPort: number
  /** What a proxy on the way made of it. */
  readonly proxied?: {
    readonly ip: string
    readonly port: number
    readonly forward: number
    readonly reverse: number
  }
}

const UDP_DATAGRAMS = 3
const UDP_BYTES = 100
const PINGS = 2

/** Makes one connection from the client port given. */
export async function talk(built: Built, row: Row, port: number): Promise<Made> {
  const { kind, from, to } = row.talk
  const where = built.places[from]
  if (where === undefined) throw new Error(`${row.name}: the bed has no ${from}`)
  const clientIp = row.talk.fromIp ?? built.address(from, row.family)
  if (kind === 'ping') return ping(where, row, clientIp)
  const target = endpoint(to, row.talk.port ?? 0)
  const header = row.family === 4 ? 20 : 40
  if (kind === 'udp') {
    const sent = await udpSend(where, target, {
      count: UDP_DATAGRAMS,
      size: UDP_BYTES,
      window: 1,
      from: clientIp,
      sourcePort: port,
      seconds: 10,
    })
    if (sent.received !== UDP_DATAGRAMS)
      throw new Error(`${row.name}: ${sent.received} of ${UDP_DATAGRAMS} answers`)
    const octets = UDP_DATAGRAMS * (header + 8 + UDP_BYTES)
    return {
      ...(await ends(built, row, 'udp', clientIp, port)),
      protocol: 'UDP',
      forward: UDP_DATAGRAMS,
      reverse: UDP_DATAGRAMS,
      octets: { forward: octets, reverse: octets },
    }
  }
  const bytes = { bytesOut: 20_000 + port, bytesIn: 60_000 }
  const sent = await tcpConnect(where, target, {
    count: 1,
    ...bytes,
    from: clientIp,
    sourcePort: port,
    connectTimeout: kind === 'unanswered' ? 500 : 5000,
    seconds: 15,
  })
  const became = kind === 'tcp' ? sent.ok : kind === 'refused' ? sent.refused : sent.timedOut
  if (became !== 1) throw new Error(`${row.name}: ${kind} did not come about: ${JSON.stringify(sent)}`)
  // with time stamps each segment has 12 octets of options, a SYN 20 (RFC 9293, RFC 7323)
  const octets = (payload: number, segments: number) => payload + segments * (header + 32) + 8
  const { proxy } = row.talk
  const beyond = proxy === undefined ? undefined : await built.proxies?.[proxy]?.next()
  return {
    ...(proxy === undefined || beyond === undefined
      ? {}
      : {
          proxied: {
            ip: built.address(proxy, row.family),
            port: beyond.port,
            forward: beyond.segmentsOut,
            reverse: beyond.segmentsIn,
          },
        }),
    ...(kind === 'tcp' ? await ends(built, row, 'tcp', clientIp, port) : plain(row, clientIp, port)),
    protocol: 'TCP',
    forward: kind === 'tcp' ? sent.segmentsOut : 1,
    reverse: kind === 'tcp' ? sent.segmentsIn : 0,
    octets:
      kind === 'tcp' && sent.retransmits === 0
        ? {
            forward: octets(bytes.bytesOut, sent.segmentsOut),
            reverse: octets(bytes.bytesIn, sent.segmentsIn),
          }
        : undefined,
  }
}

async function ping(where: Namespace, row: Row, clientIp: string): Promise<Made> {
  await where.exec(['ping', '-q', '-c', `${PINGS}`, '-i', '0.2', '-s', '56', '-I', clientIp, row.talk.to])
  const octets = PINGS * ((row.family === 4 ? 20 : 40) + 8 + 56)
  return {
    ...plain(row, clientIp, 0),
    protocol: row.family === 4 ? 'ICMP' : 'ICMPv6',
    forward: PINGS,
    reverse: PINGS,
    octets: { forward: octets, reverse: octets },
  }
}

export type Ends = Pick<
  Made,
  'clientIp' | 'clientPort' | 'to' | 'answeredBy' | 'translatedIp' | 'translatedPort'
>

function plain(row: Row, clientIp: string, clientPort: number): Ends {
  const { to } = row.talk
  return { clientIp, clientPort, to, answeredBy: to, translatedIp: clientIp, translatedPort: clientPort }
}

export async function ends(
  built: Built,
  row: Row,
  protocol: 'tcp' | 'udp',
  clientIp: string,
  port: number,
): Promise<Ends> {
  const node = row.talk.translatedAt === undefined ? undefined : built.nodes[row.talk.translatedAt]
  if (node === undefined) return plain(row, clientIp, port)
  const entry: Entry | undefined = await conntrackEntry(node, row.family, protocol, clientIp, port)
  if (entry === undefined) throw new Error(`${row.name}: conntrack knows nothing of ${clientIp}:${port}`)
  return {
    ...plain(row, clientIp, port),
    answeredBy: entry.reply.source,
    translatedIp: entry.reply.destination,
    translatedPort: entry.reply.destinationPort,
  }
}
