// The traffic tool (traffic/) as functions: exact numbers of connections, bytes and datagrams inside a namespace.

import type { Namespace } from './namespace.js'
import type { Task } from './task.js'
import { tool } from './tools.js'

/** What the sockets of one side counted themselves (TCP_INFO), summed over its connections. */
export interface TcpReport {
  readonly connections: number
  readonly ok: number
  readonly refused: number
  readonly timedOut: number
  readonly reset: number
  readonly failed: number
  /** Payload octets. */
  readonly bytesOut: number
  readonly bytesIn: number
  /** tcpi_segs_out and tcpi_segs_in: all segments, SYN, FIN and bare acknowledgements included. */
  readonly segmentsOut: number
  readonly segmentsIn: number
  readonly dataSegmentsOut: number
  readonly dataSegmentsIn: number
  readonly retransmits: number
  /** Smoothed round trip of the connection that ended last. */
  readonly rttUs: number
  readonly milliseconds: number
  /** Source ports in the order of connecting, where asked for. */
  readonly ports?: readonly number[]
}

export interface TcpConnectOptions {
  readonly count?: number
  /** Connections a second; as fast as possible unless given. */
  readonly rate?: number
  /** Most that are open at once; 256 unless given. */
  readonly parallel?: number
  /** Payload octets each way; at least 16 out. */
  readonly bytesOut?: number
  readonly bytesIn?: number
  readonly from?: string
  /** The first connection's source port; the next has the next. */
  readonly sourcePort?: number
  /** End with RST instead of FIN. */
  readonly reset?: boolean
  /** Report the source ports. */
  readonly ports?: boolean
  /** Milliseconds after which a connection that nobody answers is given up; 5000 unless given. */
  readonly connectTimeout?: number
  /** The whole run is given up after this; 60 unless given. */
  readonly seconds?: number
}

export interface UdpSendOptions {
  readonly count?: number
  readonly rate?: number
  /** Payload octets; 64 unless given. */
  readonly size?: number
  /** Source ports, used in turn. */
  readonly sockets?: number
  /** With it every datagram waits for its echo, so many at once: nothing is lost to full queues. */
  readonly window?: number
  readonly from?: string
  readonly sourcePort?: number
  readonly seconds?: number
}

export interface UdpSendReport {
  readonly sent: number
  readonly received: number
  readonly bytes: number
  readonly errors: number
  readonly milliseconds: number
}

export interface UdpServerReport {
  readonly received: number
  readonly bytes: number
  readonly sent: number
}

/** A server that is ready; stop() ends it and gives its report. */
export interface Server<Report> {
  readonly port: number
  readonly task: Task
  stop(): Promise<Report>
}

/** `address:port` as the tool reads it; brackets for IPv6. */
export function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Serves the tool's TCP protocol. With `hold` connections are opened and never served. Port 0 chooses one. */
export function tcpServer(
  where: Namespace,
  port: number,
  options: { address?: string; hold?: boolean } = {},
): Promise<Server<TcpReport>> {
  const hold = options.hold === true ? ['--hold'] : []
  return serve(where, ['tcp-server', '--listen', endpoint(options.address ?? '0.0.0.0', port), ...hold])
}

/** Connects `count` times to `to` and resolves with what came of it; refused and unanswered are no failures. */
export function tcpConnect(
  where: Namespace,
  to: string,
  options: TcpConnectOptions = {},
): Promise<TcpReport> {
  return report(where, ['tcp-connect', '--to', to, ...flags(options)], options.seconds)
}

/** A connection that is open, its first segment acknowledged, and waits. */
export interface HeldConnection {
  readonly task: Task
  /** Lets it go on to its end; counts only what its socket has sent and got since it was open. */
  finish(): Promise<TcpReport>
}

/** Opens one connection and holds it; resolves when nothing of it is under way. */
export async function tcpHold(
  where: Namespace,
  to: string,
  options: Pick<TcpConnectOptions, 'bytesOut' | 'bytesIn' | 'from' | 'sourcePort'> = {},
): Promise<HeldConnection> {
  const task = await where.start([
    await tool('traffic'),
    'tcp-connect',
    '--to',
    to,
    '--hold',
    ...flags(options),
  ])
  await task.said(/^OPEN$/m)
  return {
    task,
    async finish() {
      task.signal('SIGUSR1')
      const line = (await task.done()).trimEnd().split('\n').at(-1) ?? ''
      const all = JSON.parse(line) as TcpReport & { segmentsOutBefore: number; segmentsInBefore: number }
      return {
        ...all,
        segmentsOut: all.segmentsOut - all.segmentsOutBefore,
        segmentsIn: all.segmentsIn - all.segmentsInBefore,
      }
    },
  }
}

/** What a proxy's own connection was: its port, and what its socket sent and got. */
export type ProxiedConnection = Pick<TcpReport, 'segmentsOut' | 'segmentsIn'> & { readonly port: number }

/** A proxy that ends each connection and goes on with one of its own, one at a time. */
export interface TcpProxy {
  readonly task: Task
  /** The connection it made next, once that is over; each is given once, in order. */
  next(): Promise<ProxiedConnection>
}

export async function tcpProxy(
  where: Namespace,
  port: number,
  to: string,
  address = '0.0.0.0',
): Promise<TcpProxy> {
  const task = await where.start([
    await tool('traffic'),
    'tcp-proxy',
    '--listen',
    endpoint(address, port),
    '--to',
    to,
  ])
  await task.said(/^READY \d+$/m)
  let given = 0
  return {
    task,
    async next() {
      const number = ++given
      await task.said(new RegExp(`(?:^PROXIED .*$[^]*?){${number}}`, 'm'))
      const line = task.stdout.split('\n').filter((text) => text.startsWith('PROXIED '))[number - 1] ?? ''
      return JSON.parse(line.slice('PROXIED '.length)) as ProxiedConnection
    },
  }
}

/** One end of a tunnel through user space: the device `device`, its packets inside UDP between two endpoints. */
export async function relay(where: Namespace, device: string, own: string, peer: string): Promise<Task> {
  const task = await where.start([
    await tool('traffic'),
    'relay',
    '--interface',
    device,
    '--listen',
    own,
    '--to',
    peer,
  ])
  await task.said(/^READY \d+$/m)
  return task
}

/** Receives datagrams, and sends them back with `echo`. */
export function udpServer(
  where: Namespace,
  port: number,
  options: { address?: string; echo?: boolean } = {},
): Promise<Server<UdpServerReport>> {
  const echo = options.echo === false ? [] : ['--echo']
  return serve(where, ['udp-server', '--listen', endpoint(options.address ?? '0.0.0.0', port), ...echo])
}

export function udpSend(where: Namespace, to: string, options: UdpSendOptions = {}): Promise<UdpSendReport> {
  return report(where, ['udp-send', '--to', to, ...flags(options)], options.seconds)
}

/** Sends whole frames (hex, with their Ethernet headers) out of a device, each `count` times. */
export async function sendFrames(
  where: Namespace,
  device: string,
  frames: readonly string[],
  options: { count?: number; rate?: number } = {},
): Promise<{ sent: number; bytes: number }> {
  const argv = [await tool('traffic'), 'frames', '--interface', device, ...flags(options)]
  const { stdout } = await where.exec(argv, { input: `${frames.join('\n')}\n`, timeoutMs: 120_000 })
  return JSON.parse(stdout) as { sent: number; bytes: number }
}

/** Sends one IPv4 frame (hex) again and again, each time from another random source; see traffic/frames.c. */
export async function flood(
  where: Namespace,
  device: string,
  frame: string,
  options: { count: number; rate: number; seconds: number },
): Promise<{ sent: number; bytes: number; milliseconds: number }> {
  const argv = [await tool('traffic'), 'flood', '--interface', device, ...flags(options)]
  const { stdout } = await where.exec(argv, { input: `${frame}\n`, timeoutMs: (options.seconds + 20) * 1000 })
  return JSON.parse(stdout) as { sent: number; bytes: number; milliseconds: number }
}

function flags(options: object): string[] {
  return Object.entries(options).flatMap(([name, value]: [string, unknown]) => {
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
    if (value === undefined || value === false) return []
    return value === true ? [flag] : [flag, String(value)]
  })
}

async function report<Report>(where: Namespace, argv: readonly string[], seconds = 60): Promise<Report> {
  const timeoutMs = (seconds + 10) * 1000
  const { stdout } = await where.exec([await tool('traffic'), ...argv], { timeoutMs })
  return JSON.parse(stdout) as Report
}

async function serve<Report>(where: Namespace, argv: readonly string[]): Promise<Server<Report>> {
  const task = await where.start([await tool('traffic'), ...argv])
  const [, port] = await task.said(/^READY (\d+)$/m)
  return {
    port: Number(port),
    task,
    async stop(): Promise<Report> {
      const end = await task.stop()
      const line = task.stdout.trimEnd().split('\n').at(-1) ?? ''
      if (end.code !== 0)
        throw new Error(`${argv.join(' ')} ended with ${end.code ?? end.signal}: ${task.stderr}`)
      return JSON.parse(line) as Report
    },
  }
}
