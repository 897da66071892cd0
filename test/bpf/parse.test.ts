// The kernel's parser over a table of packets, each cut at every length: the verdict is left to others, not a byte is
// changed, and what stands in the maps is what a decoder made from the RFCs says.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ifindexOf, ip, Node } from '../agent/kernel/support.js'
import { type Account, Decoder } from './decode.js'
import { ETHERTYPE, ethernet, ipv4, ipv6, PROTOCOL, tcp, udp } from './headers.js'
import { Programs, type Sums, sum, TunDevice } from './programs.js'
import { SHAPES, type Shape, TUNNEL_SHAPES, TUNNELS } from './shapes.js'

const NEXT = -1

/** Of fragments: a new one for each cut, so that those of one do not meet those of another. */
let identification = 0
const fresh = () => (identification = (identification + 1) & 0xffff)

interface Other {
  packets: number
  bytes: number
}

function count(expected: Sums, other: Other, account: Account | undefined, bytes: number): void {
  if (account !== undefined) sum(expected, account)
  else {
    other.packets++
    other.bytes += bytes
  }
}

/** Both directions of a flow stand in one entry. */
function entriesOf(sums: Sums): number {
  const pairs = [...sums.keys()].map((flow) => {
    const [family, protocol, kind, ends = ''] = flow.split(' ')
    return `${family} ${protocol} ${kind} ${ends.split('>').sort().join(' ')}`
  })
  return new Set(pairs).size
}

/** Each cut of a shape, through bpf_prog_test_run. */
function cutByTestRun(programs: Programs, program: string, shape: Shape, tunnels = TUNNELS): void {
  const [name, make] = shape
  const egress = program.includes('egress')
  const whole = make(0).at(-1)!.length
  let taken = 0
  for (let length = whole; length >= 14; length--) {
    const frames = make(fresh())
    frames.push(Buffer.from(frames.pop()!.subarray(0, length)))
    const decoder = new Decoder(program.startsWith('uplink') ? tunnels : [], egress)
    const expected: Sums = new Map()
    const other: Other = { packets: 0, bytes: 0 }
    programs.watch(egress)
    for (const frame of frames) {
      const { verdict, out } = programs.run(program, frame)
      if (verdict === undefined) continue
      taken++
      if (verdict !== NEXT || !out.equals(frame))
        expect.fail(`${name}, cut at ${length}: verdict ${verdict}, bytes ${out.toString('hex')}`)
      count(expected, other, decoder.frame(frame), frame.length - 14)
    }
    const { sums, entries } = programs.take()
    expect(sums, `${name}, cut at ${length} of ${whole}`).toEqual(expected)
    expect(programs.others(egress), `${name}, cut at ${length}: what is not IP`).toEqual(other)
    expect(entries).toBe(entriesOf(expected))
  }
  expect(taken).toBeGreaterThan(5)
}

describe.each([
  ['flow.bpf.o', 'veth_ingress'],
  ['flow.bpf.o', 'veth_egress_ct'],
  ['flow-5.10.bpf.o', 'veth_egress'],
])('%s: %s', (file, program) => {
  let programs: Programs
  beforeAll(() => {
    programs = new Programs([program], TUNNELS, file)
  })
  afterAll(() => programs.close())

  it.each(SHAPES.map((shape) => [shape[0], shape] as const))('%s', (_, shape) => {
    cutByTestRun(programs, program, shape)
  })
  it('opens no tunnel', () => {
    for (const shape of TUNNEL_SHAPES) cutByTestRun(programs, program, shape)
  })
})

describe.each(['uplink_ingress', 'uplink_egress'])('%s', (program) => {
  // on the way out it is the source that must be this node's
  const tunnels = TUNNELS.map((tunnel) => ({ ...tunnel }))
  let programs: Programs
  beforeAll(() => {
    programs = new Programs([program], tunnels)
  })
  afterAll(() => programs.close())

  it.each(TUNNEL_SHAPES.map((shape) => [shape[0], shape] as const))('%s', (_, shape) => {
    cutByTestRun(programs, program, shape, tunnels)
  })
  it('takes what is no tunnel as a veth does', () => {
    for (const shape of SHAPES.filter(([name]) => !name.startsWith('VXLAN')))
      cutByTestRun(programs, program, shape, tunnels)
  })
})

describe('a buffer that stands for several packets', () => {
  let programs: Programs
  beforeAll(() => {
    programs = new Programs(['veth_ingress'])
  })
  afterAll(() => programs.close())

  it.each([
    ['TCP over IPv4', 20 + 20, ipv4({ protocol: PROTOCOL.tcp }, tcp({}, Buffer.alloc(3000)))],
    ['TCP over IPv6', 40 + 20, ipv6({ next: PROTOCOL.tcp }, tcp({}, Buffer.alloc(3000)))],
    ['TCP with options', 20 + 32, ipv4({ protocol: PROTOCOL.tcp }, tcp({ offset: 8 }, Buffer.alloc(3012)))],
    ['UDP', 20 + 8, ipv4({ protocol: PROTOCOL.udp }, udp(1, 2, Buffer.alloc(3000)))],
    [
      'behind IPv4 options',
      28 + 20,
      ipv4({ protocol: PROTOCOL.tcp, options: Buffer.alloc(8, 1) }, tcp({}, Buffer.alloc(3000))),
    ],
  ])('%s: each segment has its own headers on the wire', (_, header, packet) => {
    const type = packet[0]! >> 4 === 4 ? ETHERTYPE.ipv4 : ETHERTYPE.ipv6
    const frame = ethernet(type, packet)
    // 3000 bytes in segments of 1000 and of 700
    for (const [size, segments] of [
      [1000, 3],
      [700, 5],
    ] as const) {
      for (const stated of [segments, 0]) {
        const account = new Decoder().frame(frame)!
        expect(programs.run('veth_ingress', frame, { segments: stated, size }).verdict).toBe(NEXT)
        const { sums } = programs.take()
        expect([...sums.values()]).toEqual([
          { packets: segments, bytes: 3000 + segments * header, flags: account.flags },
        ])
      }
    }
  })
})

describe('what bpf_prog_test_run refuses', () => {
  let node: Node
  beforeAll(() => {
    node = new Node()
  })
  afterAll(() => node.close())

  /** Runs `use` with a device of this kind that has `program` at its ingress. */
  function withDevice(
    kind: 'tun' | 'tap',
    program: string,
    use: (device: TunDevice, programs: Programs, ifindex: number) => void,
    vnet = false,
  ): void {
    const programs = new Programs([program], TUNNELS)
    const device = new TunDevice('parse0', kind, vnet)
    try {
      ip('link set parse0 up mtu 65000')
      const ifindex = ifindexOf('parse0')
      device.attach(programs, program, ifindex)
      use(device, programs, ifindex)
    } finally {
      device.close()
      programs.close()
    }
  }

  it('packets without an Ethernet header, from one byte on', () => {
    withDevice('tun', 'l3_ingress', (device, programs, ifindex) => {
      let written = 0
      for (const [name, make] of SHAPES) {
        const plain = make(0).every((frame) =>
          [ETHERTYPE.ipv4, ETHERTYPE.ipv6].includes(frame.readUInt16BE(12)),
        )
        if (!plain) continue
        const whole = make(0).at(-1)!.length - 14
        for (let length = whole; length >= 1; length--) {
          const packets = make(fresh()).map((frame) => frame.subarray(14))
          packets.push(packets.pop()!.subarray(0, length))
          const decoder = new Decoder()
          const expected: Sums = new Map()
          const other: Other = { packets: 0, bytes: 0 }
          programs.watch(false, ifindex)
          for (const packet of packets) {
            // the device itself takes nothing but versions 4 and 6
            if (!device.write(packet)) continue
            written++
            count(expected, other, decoder.packet(packet), packet.length)
          }
          expect(programs.take().sums, `${name}, cut at ${length}`).toEqual(expected)
          expect(programs.others(false, ifindex), `${name}, cut at ${length}: not IP`).toEqual(other)
        }
      }
      expect(written).toBeGreaterThan(2000)
    })
  })

  it('frames with less than an IPv4 header', () => {
    withDevice('tap', 'veth_ingress', (device, programs, ifindex) => {
      const frame = ethernet(ETHERTYPE.ipv4, ipv4({ protocol: PROTOCOL.tcp }, tcp()))
      for (let length = 14; length <= frame.length; length++) {
        const cut = frame.subarray(0, length)
        programs.watch(false, ifindex)
        expect(device.write(cut)).toBe(true)
        const account = new Decoder().frame(cut)
        const expected: Sums = new Map()
        const other: Other = { packets: 0, bytes: 0 }
        count(expected, other, account, length - 14)
        expect(programs.take().sums, `cut at ${length}`).toEqual(expected)
        expect(programs.others(false, ifindex), `cut at ${length}`).toEqual(other)
      }
    })
  })

  it('frames of more than a page, of which any part may lie in the head', () => {
    for (const program of ['veth_ingress', 'uplink_ingress']) {
      withDevice(
        'tap',
        program,
        (device, programs) => {
          const padding = Buffer.alloc(9000, 1)
          for (const [name, make] of [...SHAPES, ...TUNNEL_SHAPES]) {
            if (name.includes('VLAN') || name.includes('QinQ') || name.includes('tags')) continue
            for (const linear of [14, 15, 20, 33, 34, 37, 42, 47, 48, 54, 58, 66, 90, 120]) {
              const frames = make(fresh())
              // what lies behind the packet is padding to it; where no length is stated it is a part of it
              frames.push(Buffer.concat([frames.pop()!, padding]))
              const decoder = new Decoder(program.startsWith('uplink') ? TUNNELS : [])
              const expected: Sums = new Map()
              for (const frame of frames) {
                expect(device.write(frame, frame === frames.at(-1) ? linear : 0)).toBe(true)
                const account = decoder.frame(frame)
                if (account !== undefined) sum(expected, account)
              }
              expect(programs.take().sums, `${program}: ${name}, ${linear} in the head`).toEqual(expected)
            }
          }
        },
        true,
      )
    }
  })
})
