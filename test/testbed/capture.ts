// The ground truth of counting: what tcpdump saw on a device, packet by packet. Switch offloads off before, or one
// record may stand for many segments. May not guess: an incomplete capture is an error.

import { readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Namespace } from './namespace.js'
import type { Task } from './task.js'

/** One IP packet. */
export interface CapturedPacket {
  /** Microseconds since the Unix epoch. */
  readonly timeUs: number
  readonly source: string
  readonly destination: string
  /** IANA number; of IPv6 the one after the fixed header. */
  readonly protocol: number
  /** 0 where there are none (other protocols, later fragments). */
  readonly sourcePort: number
  readonly destinationPort: number
  /** IP octets: header and all that follows it, no Ethernet header and padding. */
  readonly bytes: number
  /** TCP flags octet; 0 for other protocols. */
  readonly tcpFlags: number
}

/** Packets and IP octets of one direction. */
export interface Tally {
  readonly packets: number
  readonly bytes: number
}

let sequence = 0

/** Ends with stop(); the testbed kills what was not stopped. */
export class Capture {
  readonly #task: Task
  readonly #file: string

  private constructor(task: Task, file: string) {
    this.#task = task
    this.#file = file
  }

  /** Captures on an Ethernet device; resolves when it sees every packet from now on. `filter` as in pcap-filter(7). */
  static async start(where: Namespace, device: string, filter = ''): Promise<Capture> {
    const file = join(tmpdir(), `${where.netns}-${process.pid}-${sequence++}.pcap`)
    const task = await where.start([
      'tcpdump',
      ...[
        '-i',
        device,
        '-n',
        '-p',
        '-s',
        '128',
        '-B',
        '65536',
        '--immediate-mode',
        '-U',
        '-Z',
        'root',
        '-w',
        file,
      ],
      ...(filter === '' ? [] : [filter]),
    ])
    await task.said(/^tcpdump: listening on/m)
    return new Capture(task, file)
  }

  /** All packets since start(). Rejects when the kernel or tcpdump lost one. */
  async stop(): Promise<CapturedPacket[]> {
    await this.#task.stop('SIGINT')
    try {
      const counts =
        /(\d+) packets? captured[\s\S]*?(\d+) packets? received by filter[\s\S]*?(\d+) packets? dropped/.exec(
          this.#task.stderr,
        )
      const [, captured, received, dropped] = counts ?? []
      if (captured === undefined || captured !== received || dropped !== '0') {
        throw new Error(`the capture is incomplete: ${this.#task.stderr.trim().replaceAll('\n', ', ')}`)
      }
      return parse(readFileSync(this.#file))
    } finally {
      rmSync(this.#file, { force: true })
    }
  }
}

/** Sums the packets that `matches` picks. */
export function tally(
  packets: readonly CapturedPacket[],
  matches: (packet: CapturedPacket) => boolean,
): Tally {
  let count = 0
  let bytes = 0
  for (const packet of packets) {
    if (!matches(packet)) continue
    count++
    bytes += packet.bytes
  }
  return { packets: count, bytes }
}

/** Classic pcap, little endian, Ethernet; what is not IP is left out. */
function parse(file: Buffer): CapturedPacket[] {
  if (file.readUInt32LE(0) !== 0xa1b2c3d4 || file.readUInt32LE(20) !== 1) throw new Error('no Ethernet pcap')
  const packets: CapturedPacket[] = []
  for (let at = 24; at + 16 <= file.length; ) {
    const timeUs = file.readUInt32LE(at) * 1e6 + file.readUInt32LE(at + 4)
    const length = file.readUInt32LE(at + 8)
    const packet = parseFrame(file.subarray(at + 16, at + 16 + length), timeUs)
    if (packet !== undefined) packets.push(packet)
    at += 16 + length
  }
  return packets
}

function parseFrame(frame: Buffer, timeUs: number): CapturedPacket | undefined {
  const type = frame.readUInt16BE(12)
  const ip = frame.subarray(14)
  if (type === 0x0800) {
    const fragment = ip.readUInt16BE(6) & 0x1fff
    const transport = ip.subarray(((ip[0] ?? 0) & 0xf) * 4)
    const [source, destination] = [12, 16].map((at) => [...ip.subarray(at, at + 4)].join('.')) as [
      string,
      string,
    ]
    const bytes = ip.readUInt16BE(2)
    return { timeUs, source, destination, bytes, ...ends(ip[9] ?? 0, fragment === 0 ? transport : undefined) }
  }
  if (type === 0x86dd) {
    const [source, destination] = [8, 24].map((at) => address6(ip.subarray(at, at + 16))) as [string, string]
    const bytes = 40 + ip.readUInt16BE(4)
    return { timeUs, source, destination, bytes, ...ends(ip[6] ?? 0, ip.subarray(40)) }
  }
  return undefined
}

function ends(protocol: number, transport: Buffer | undefined) {
  const ports = transport !== undefined && [6, 17, 132].includes(protocol) && transport.length >= 8
  return {
    protocol,
    sourcePort: ports ? transport.readUInt16BE(0) : 0,
    destinationPort: ports ? transport.readUInt16BE(2) : 0,
    tcpFlags: ports && protocol === 6 ? (transport[13] ?? 0) : 0,
  }
}

/** RFC 5952: lower case, the longest run of zeros as `::`. */
function address6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16))
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1)
}
