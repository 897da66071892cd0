// Foreign programs on the hooks that we use: whatever they return and whenever they came, no packet is hidden from us at
// ingress, and none is lost to the neighbour or to the pod because of us.

import { closeSync, openSync, readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { attachClsact, FILTER_HANDLE } from '../../../agent/kernel/clsact.js'
import { Datapath } from '../../../agent/kernel/datapath.js'
import type { InterfaceStatus } from '../../../agent/kernel/namespace.js'
import { NetlinkSocket } from '../../../agent/kernel/netlink.js'
import { createTcxLink, programId, queryTcx } from '../../../agent/kernel/tcx.js'
import { addFilter, createClsact, listFilters } from '../../../agent/kernel/traffic-control.js'
import { appendTcx, foreignProgram, ifindexOf, ip, Node, packetsTo, run, sendUdp, until } from './support.js'

const SMALL = { maxConnections: 4096, ringBytes: 65536 }
const PACKETS = 25
/** linux/pkt_cls.h. */
const OK = 0
const SHOT = 2

let node: Node
let pod: string
let ifindex: number
let datapath: Datapath | undefined
const open: number[] = []

beforeEach(() => {
  node = new Node()
  pod = node.pod('v0', 1)
  ifindex = ifindexOf('v0')
})

afterEach(() => {
  datapath?.close()
  datapath = undefined
  for (const fd of open.splice(0)) closeSync(fd)
  node.close()
})

function start(disable: string[] = []): Datapath {
  datapath = Datapath.open({ ...SMALL, disable: new Set(disable) })
  datapath.follow()
  return datapath
}

function v0(): InterfaceStatus | undefined {
  return datapath?.status().interfaces.find(({ name }) => name === 'v0')
}

function program(action: { verdict: number } | { redirect: number }): number {
  const fd = foreignProgram(action)
  open.push(fd)
  return fd
}

/** UDP datagrams that reached the node's own stack, whether or not a socket was waiting. */
function received(): number {
  const lines = readFileSync('/proc/thread-self/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Udp: '))
  const [names, values] = lines.map((line) => line.split(' '))
  const at = (name: string): number => Number(values?.[names?.indexOf(name) ?? -1])
  return at('InDatagrams') + at('NoPorts')
}

/** A second veth whose far end counts what is redirected to it. */
function drainVeth(): { ifindex: number; arrived: () => number } {
  const away = node.namespace()
  ip(`link add away type veth peer name eth0 netns ${away}`)
  ip('link set away up')
  ip(`-n ${away} link set eth0 up`)
  run('ip', 'netns', 'exec', away, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1')
  const read = (): number => Number(JSON.parse(ip(`-n ${away} -s -j link show eth0`))[0].stats64.rx.packets)
  const before = read()
  return { ifindex: ifindexOf('away'), arrived: () => read() - before }
}

type Attach = (fd: number) => void
const tcxHead: Attach = (fd) => {
  const link = createTcxLink(fd, ifindex, false).now()
  expect(link).toBeGreaterThan(0)
  open.push(link)
}
const tcxTail: Attach = (fd) => void open.push(appendTcx(fd, ifindex, false))
function clsact(priority: number): Attach {
  return (fd) => {
    const socket = NetlinkSocket.open()
    createClsact(socket, ifindex)
    addFilter(socket, { ifindex, egress: false, priority, handle: 1, programFd: fd, name: 'foreign' })
    socket.close()
  }
}

const ways: [string, string[], Attach][] = [
  ['a tcx program at the end of the chain', [], tcxTail],
  ['a tcx program at the head of the chain', [], tcxHead],
  ['a clsact filter of priority 1', [], clsact(1)],
  ['a clsact filter of priority 5', [], clsact(5)],
  ['us on clsact, and a filter of priority 1', ['tcx'], clsact(1)],
  ['us on clsact, and a filter of priority 5', ['tcx'], clsact(5)],
]

describe.each(ways)('%s', (_name, disable, attach) => {
  for (const order of ['before', 'after']) {
    it(`that came ${order} us and returns OK: we count all, the node gets all`, () => {
      const fd = program({ verdict: OK })
      if (order === 'before') attach(fd)
      const us = start(disable)
      if (order === 'after') attach(fd)
      us.checkHeads()
      const before = received()
      sendUdp(pod, 1, 4100, PACKETS)
      expect(packetsTo(us, 4100)).toBe(PACKETS)
      expect(received() - before).toBe(PACKETS)
      expect(v0()?.problem).toBeUndefined()
    })

    it(`that came ${order} us and returns SHOT: we count all, the node gets none`, () => {
      const fd = program({ verdict: SHOT })
      if (order === 'before') attach(fd)
      const us = start(disable)
      if (order === 'after') attach(fd)
      us.checkHeads()
      const before = received()
      sendUdp(pod, 1, 4101, PACKETS)
      expect(packetsTo(us, 4101)).toBe(PACKETS)
      expect(received() - before).toBe(0)
    })

    it(`that came ${order} us and redirects: we count all, all arrive where they are sent`, async () => {
      const there = drainVeth()
      const fd = program({ redirect: there.ifindex })
      if (order === 'before') attach(fd)
      const us = start(disable)
      if (order === 'after') attach(fd)
      us.checkHeads()
      sendUdp(pod, 1, 4102, PACKETS)
      expect(packetsTo(us, 4102)).toBe(PACKETS)
      await until('the redirected packets', 1000, () => there.arrived() >= PACKETS)
    })
  }
})

describe('somebody who takes the head after us', () => {
  it('is noticed, and we go in front again', () => {
    const us = start()
    const foreign = program({ verdict: OK })
    tcxHead(foreign)
    expect((queryTcx(ifindex, false) as number[])[0]).toBe(programId(foreign))
    sendUdp(pod, 1, 4110, 3)
    expect(packetsTo(us, 4110)).toBe(0)
    us.checkHeads()
    expect((queryTcx(ifindex, false) as number[])[1]).toBe(programId(foreign))
    expect(v0()).toMatchObject({ reheaded: 1 })
    sendUdp(pod, 1, 4111, 3)
    expect(packetsTo(us, 4111)).toBe(3)
  })

  it('again and again is told in status instead of fought for ever', () => {
    const us = start()
    const foreign = program({ verdict: OK })
    for (let round = 0; round < 8; round++) {
      if ((queryTcx(ifindex, false) as number[])[0] !== programId(foreign)) {
        const link = open.pop()
        if (round > 0 && link !== undefined) closeSync(link)
        tcxHead(foreign)
      }
      us.checkHeads()
    }
    expect(v0()?.reheaded).toBe(5)
    expect(v0()?.problem).toMatch(/neighbour.* runs before vethflow at ingress/)
    // It leaves: all is well again.
    closeSync(open.pop() as number)
    us.checkHeads()
    expect(v0()).not.toHaveProperty('problem')
  })

  it('on clsact with a filter of another kind before ours is told in status', () => {
    run('tc', 'qdisc', 'add', 'dev', 'v0', 'clsact')
    run('tc', ...'filter add dev v0 ingress protocol ip prio 1 u32 match u32 0 0'.split(' '))
    const us = start(['tcx'])
    us.checkHeads()
    expect(v0()).toMatchObject({ attach: 'clsact' })
    expect(v0()?.problem).toMatch(/^u32 filter \(priority 1\) runs before vethflow at ingress/)
  })
})

describe('somebody who takes our clsact away', () => {
  it('is noticed, and we come back', () => {
    const us = start(['tcx'])
    run('tc', 'qdisc', 'del', 'dev', 'v0', 'clsact')
    us.checkHeads()
    expect(v0()).toMatchObject({ attach: 'clsact', reheaded: 2 })
    sendUdp(pod, 1, 4120, 4)
    expect(packetsTo(us, 4120)).toBe(4)
  })
})

describe('on clsact', () => {
  it("leaves a neighbour's filters and qdisc alone when we go", () => {
    clsact(1)(program({ verdict: OK }))
    const us = start(['tcx'])
    const socket = NetlinkSocket.open()
    expect(listFilters(socket, ifindex, false).map(({ handle }) => handle)).toEqual([FILTER_HANDLE, 1])
    us.close()
    expect(listFilters(socket, ifindex, false).map(({ handle }) => handle)).toEqual([1])
    expect(listFilters(socket, ifindex, true)).toEqual([])
    socket.close()
  })

  it('takes its qdisc along when nobody else is there', () => {
    start(['tcx']).close()
    expect(run('tc', 'qdisc', 'show', 'dev', 'v0')).not.toContain('clsact')
  })

  it('takes its qdisc along also after it went in front again', () => {
    const us = start(['tcx'])
    clsact(1)(program({ verdict: OK }))
    us.checkHeads()
    expect(v0()).toMatchObject({ reheaded: 1 })
    run('tc', ...'filter del dev v0 ingress prio 1 handle 1 bpf'.split(' '))
    void us.close()
    expect(run('tc', 'qdisc', 'show', 'dev', 'v0')).not.toContain('clsact')
  })

  it('leaves no qdisc behind where the kernel refuses the filter', () => {
    const socket = NetlinkSocket.open()
    const notAProgram = openSync('/dev/null', 'r')
    open.push(notAProgram)
    expect(() => attachClsact(socket, ifindex, false, notAProgram, 'veth_ingress')).toThrow(
      expect.objectContaining({ code: 'NETLINK' }),
    )
    expect(run('tc', 'qdisc', 'show', 'dev', 'v0')).not.toContain('clsact')
    socket.close()
  })
})
