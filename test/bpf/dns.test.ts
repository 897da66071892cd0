// Copies of DNS messages: whole, once for each direction's owner, cut where they are long, counted where the ring is full.

import { afterEach, describe, expect, it } from 'vitest'
import { readLosses } from '../../agent/kernel/counters.js'
import { DNS_BYTES, event, event_dns } from '../../agent/kernel/layout.gen.js'
import { Ring } from '../../agent/kernel/ring.js'
import { A6, B6, ETHERTYPE, ethernet, ipv4, ipv6, PROTOCOL, tcp, udp } from './headers.js'
import { Programs } from './programs.js'

const RING_BYTES = 1024 * 1024

let programs: Programs
afterEach(() => programs?.close())

function load(file = 'flow.bpf.o', on = true): void {
  programs = new Programs(['veth_ingress', 'uplink_egress'], [], file, on)
}

interface Copy {
  readonly payload: string
  readonly length: number
  readonly dir: number
}

function copies(): Copy[] {
  const ring = Ring.open(programs.object.mapFd('dns'), RING_BYTES)
  const found: Copy[] = []
  ring.read((words, at, bytes) => {
    const record = Buffer.from(words.slice(at, at + Math.ceil(bytes / 4)).buffer)
    const copied = record.readUInt32LE(event_dns.copied)
    expect(bytes).toBe(event_dns.payload + copied)
    found.push({
      payload: record.toString('hex', event_dns.payload, event_dns.payload + copied),
      length: record.readUInt32LE(event_dns.length),
      dir: record.readUInt8(event.dir),
    })
  }, 100_000)
  ring.close()
  return found
}

const over4 = (message: Buffer, ports: [number, number] = [40_000, 53]) =>
  ethernet(ETHERTYPE.ipv4, ipv4({ protocol: PROTOCOL.udp }, udp(...ports, message)))

describe.each(['flow.bpf.o', 'flow-5.12.bpf.o', 'flow-5.10.bpf.o'])('DNS messages (%s)', (file) => {
  it('are copied whole, queries and answers', () => {
    load(file)
    const query = Buffer.from('0001aabb', 'hex')
    const answer = Buffer.alloc(500, 7)
    const back = ethernet(
      ETHERTYPE.ipv4,
      ipv4(
        { protocol: PROTOCOL.udp, source: '10.200.0.9', destination: '10.1.2.3' },
        udp(53, 40_000, answer),
      ),
    )
    for (const frame of [over4(query), back]) expect(programs.run('veth_ingress', frame).verdict).toBe(-1)
    expect(copies()).toEqual([
      { payload: query.toString('hex'), length: 4, dir: 0 },
      { payload: answer.toString('hex'), length: 500, dir: 1 },
    ])
    const sums = [...programs.take().sums.values()]
    expect(sums.map(({ packets }) => packets)).toEqual([1, 1])
  })

  it('are copied over IPv6, TCP and behind options, and from each segment that has any', () => {
    load(file)
    const message = Buffer.from('000401020304', 'hex')
    const frames = [
      ethernet(
        ETHERTYPE.ipv6,
        ipv6({ source: A6, destination: B6, next: PROTOCOL.udp }, udp(40_000, 53, message)),
      ),
      ethernet(ETHERTYPE.ipv4, ipv4({ protocol: PROTOCOL.tcp }, tcp({ destination: 53 }, message))),
      ethernet(ETHERTYPE.ipv4, ipv4({ protocol: PROTOCOL.tcp }, tcp({ destination: 53 }, Buffer.alloc(0)))),
      ethernet(
        ETHERTYPE.ipv4,
        ipv4({ protocol: PROTOCOL.udp, options: Buffer.alloc(8, 1) }, udp(40_001, 53, message)),
      ),
    ]
    for (const frame of frames) expect(programs.run('veth_ingress', frame).verdict).toBe(-1)
    const hex = message.toString('hex')
    expect(copies().map(({ payload }) => payload)).toEqual([hex, hex, hex])
  })
})

describe('a copy', () => {
  it.each([DNS_BYTES - 1, DNS_BYTES, DNS_BYTES + 1, 1400])('of %d bytes is cut at its bound', (length) => {
    load()
    const message = Buffer.from(Array.from({ length }, (_, i) => i & 0xff))
    programs.run('veth_ingress', over4(message))
    expect(copies()).toEqual([{ payload: message.toString('hex', 0, DNS_BYTES), length, dir: 0 }])
  })

  it('is made where the packet is counted and not at other hooks, and not of other ports', () => {
    load()
    programs.run('veth_ingress', over4(Buffer.alloc(4)))
    programs.run('uplink_egress', over4(Buffer.alloc(4)))
    programs.run('veth_ingress', over4(Buffer.alloc(4), [40_000, 54]))
    programs.run('veth_ingress', over4(Buffer.alloc(4), [40_000, 53 << 8]))
    expect(copies()).toHaveLength(1)
  })

  it('that finds no room is counted, and so is the packet', () => {
    load()
    const frame = over4(Buffer.alloc(1200))
    for (let i = 0; i < 1000; i++) programs.run('veth_ingress', frame)
    const made = copies().length
    expect(made).toBeGreaterThan(700)
    expect(made).toBeLessThan(1000)
    expect(readLosses(programs.object.mapFd('losses')).dns).toBe(1000 - made)
    expect([...programs.take().sums.values()][0]?.packets).toBe(1000)
  })

  it('is not made unless asked for', () => {
    load('flow.bpf.o', false)
    programs.run('veth_ingress', over4(Buffer.alloc(4)))
    expect(copies()).toEqual([])
  })
})
