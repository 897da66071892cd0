// The ring read in place, with records of the real programs, against what was sent.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { hookNumber } from '../../../agent/kernel/hook.js'
import { EVENT_BYTES4, event, event_kind } from '../../../agent/kernel/layout.gen.js'
import { collectGarbage, ifindexOf, Node, run } from './support.js'

const RING = 65536
let node: Node
let pod: string
let datapath: Datapath

beforeEach(() => {
  node = new Node()
  pod = node.pod('v0', 1)
  datapath = Datapath.open({ maxConnections: 16384, ringBytes: RING })
  datapath.follow()
})
afterEach(() => {
  datapath?.close()
  node.close()
})

/** One datagram from each of `count` source ports, which makes as many flows. Answers are not made: nobody routes back. */
function flows(first: number, count: number): void {
  const script = `use Socket; my $to = sockaddr_in(4300, inet_aton("10.99.1.9")); for my $port (${first}..${first + count - 1}) { socket(S, PF_INET, SOCK_DGRAM, 0); bind(S, sockaddr_in($port, INADDR_ANY)) or die $!; send(S, "x" x ($port % 7), 0, $to); close(S) }`
  run('ip', '-n', pod, 'neigh', 'replace', '10.99.1.9', 'lladdr', '02:00:00:00:00:09', 'dev', 'eth0')
  run('ip', 'netns', 'exec', pod, 'perl', '-e', script)
}

interface Opened {
  port: number
  hook: number
  bytes: number
  length: number
  time: bigint
}

function read(max: number, into: Opened[]): number {
  return datapath.readRing((words, at, length) => {
    const bytes = new DataView(words.buffer, words.byteOffset + at * 4, length)
    if (bytes.getUint8(event.kind) !== event_kind.EVENT_OPEN) return
    const key = bytes.byteOffset + event.key
    const ports = [0, 1].map((end) => new DataView(bytes.buffer, key + 8 + 2 * end, 2).getUint16(0))
    into.push({
      port: ports.find((port) => port !== 4300) ?? 0,
      hook: bytes.getUint32(event.hook, true),
      bytes: bytes.getUint32(event.bytes, true),
      length,
      time: bytes.getBigUint64(event.time, true),
    })
  }, max)
}

describe('the ring', () => {
  it('tells each new flow once, in order, with hook and bytes', () => {
    flows(20000, 50)
    const told: Opened[] = []
    expect(read(1000, told)).toBe(50)
    expect(told.map(({ port }) => port)).toEqual(Array.from({ length: 50 }, (_, i) => 20000 + i))
    const hook = hookNumber(ifindexOf('v0'), false)
    expect(told.every((one) => one.hook === hook && one.length === EVENT_BYTES4)).toBe(true)
    // IP octets: header 20, UDP 8, payload.
    expect(told.map(({ bytes }) => bytes)).toEqual(told.map(({ port }) => 28 + (port % 7)))
    expect(told.every((one, i) => i === 0 || one.time >= (told[i - 1]?.time ?? 0n))).toBe(true)
    expect(datapath.ringFill().fill).toBe(0)
    expect(read(1000, told)).toBe(0)
  })

  it('stops at the limit and goes on from there', () => {
    flows(20000, 30)
    const told: Opened[] = []
    expect(read(12, told)).toBe(12)
    expect(datapath.ringFill().fill).toBe(18 * (EVENT_BYTES4 + 8))
    expect(read(12, told)).toBe(12)
    expect(read(12, told)).toBe(6)
    expect(told.map(({ port }) => port)).toEqual(Array.from({ length: 30 }, (_, i) => 20000 + i))
  })

  it('goes round: many times its size comes through whole', () => {
    const told: Opened[] = []
    // 1,300 records of 48 bytes nearly fill it; six rounds wrap at six different places.
    for (let round = 0; round < 6; round++) {
      flows(20000 + round * 1300, 1300)
      read(10_000, told)
    }
    expect(told.map(({ port }) => port)).toEqual(Array.from({ length: 7800 }, (_, i) => 20000 + i))
    expect(told.every((one) => one.bytes === 28 + (one.port % 7))).toBe(true)
    expect(datapath.losses()).toEqual({ mapFull: 0, packets: 0, ringFull: 0, dns: 0 })
  })

  it('counts what does not fit, and keeps what does', () => {
    flows(20000, 1500)
    const told: Opened[] = []
    read(10_000, told)
    const { ringFull } = datapath.losses()
    expect(told.length).toBeLessThanOrEqual(Math.floor(RING / (EVENT_BYTES4 + 8)))
    expect(told.length).toBeGreaterThan(1200)
    expect(ringFull).toBeGreaterThan(0)
    expect(told.map(({ port }) => port)).toEqual(Array.from({ length: told.length }, (_, i) => 20000 + i))
    // Not told, but counted: the maps have them all.
    expect(datapath.drain(4, () => {})).toBe(1500)
    // And it goes on after.
    flows(30000, 10)
    const more: Opened[] = []
    read(100, more)
    expect(more.map(({ port }) => port)).toEqual(Array.from({ length: 10 }, (_, i) => 30000 + i))
  })

  it('goes on after a sink that throws', () => {
    flows(20000, 5)
    let calls = 0
    expect(() =>
      datapath.readRing(() => {
        calls++
        if (calls === 2) throw new Error('sink')
      }, 100),
    ).toThrow('sink')
    const told: Opened[] = []
    expect(read(100, told)).toBe(3)
    expect(told[0]?.port).toBe(20002)
  })

  it('gives nothing after it is closed', () => {
    flows(20000, 5)
    datapath.close()
    // Nothing that is collected later may touch memory that is not there any more.
    collectGarbage()
    expect(read(100, [])).toBe(0)
    expect(datapath.ringFill().fill).toBe(0)
  })
})
