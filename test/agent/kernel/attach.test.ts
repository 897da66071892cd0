// Hooks come and go with their interfaces, in a network namespace of this test's own.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { hookNumber } from '../../../agent/kernel/hook.js'
import { view, view4 } from '../../../agent/kernel/layout.gen.js'
import type { InterfaceStatus } from '../../../agent/kernel/namespace.js'
import { queryTcx } from '../../../agent/kernel/tcx.js'
import { bpfDescriptors, ifindexOf, ip, Node, packetsTo, run, sendUdp, tcxLinks, until } from './support.js'

const SMALL = { maxConnections: 4096, ringBytes: 65536 }
let node: Node
let datapath: Datapath

beforeEach(() => {
  node = new Node()
  datapath = Datapath.open(SMALL)
})

afterEach(async () => {
  await datapath?.close()
  node.close()
})

function statusOf(name: string): InterfaceStatus | undefined {
  return datapath.status().interfaces.find((one) => one.name === name)
}

describe('attaching', () => {
  it('counts what goes through a veth that is there at the start', () => {
    const pod = node.pod('v0', 1)
    datapath.follow()
    expect(statusOf('v0')).toMatchObject({ role: 'veth', attach: 'tcx', reheaded: 0 })
    sendUdp(pod, 1, 4000, 20)
    expect(packetsTo(datapath, 4000)).toBe(20)
    const counters = datapath.hookCounters()
    expect(counters.map(({ hook }) => hook)).toEqual([
      hookNumber(ifindexOf('v0'), false),
      hookNumber(ifindexOf('v0'), true),
    ])
  })

  it('takes a new veth within a second', async () => {
    datapath.follow()
    const before = performance.now()
    const pod = node.pod('v1', 2)
    await until('v1 attached', 1000, () => {
      datapath.poll()
      return statusOf('v1')?.attach
    })
    expect(performance.now() - before).toBeLessThan(1000)
    sendUdp(pod, 2, 4001, 5)
    expect(packetsTo(datapath, 4001)).toBe(5)
  })

  it('keeps its hook when the interface is renamed', async () => {
    node.pod('v2', 3)
    datapath.follow()
    const ifindex = ifindexOf('v2')
    const ids = queryTcx(ifindex, false)
    expect(ids).toHaveLength(1)
    ip('link set v2 name renamed')
    const change = await until('the renaming', 1000, () =>
      datapath.poll().find(({ kind }) => kind === 'renamed'),
    )
    expect(change.previous?.name).toBe('v2')
    expect(statusOf('renamed')).toMatchObject({ ifindex, attach: 'tcx' })
    expect(statusOf('v2')).toBeUndefined()
    expect(queryTcx(ifindex, false)).toEqual(ids)
  })

  it('follows an interface that comes back with another ifindex', async () => {
    node.pod('v3', 4)
    datapath.follow()
    const before = ifindexOf('v3')
    ip('link del v3')
    const pod = node.pod('v3', 5)
    const after = ifindexOf('v3')
    expect(after).not.toBe(before)
    await until('the new v3', 1000, () => {
      datapath.poll()
      return statusOf('v3')?.ifindex === after && statusOf('v3')?.attach
    })
    sendUdp(pod, 5, 4003, 7)
    expect(packetsTo(datapath, 4003)).toBe(7)
    expect(datapath.hookCounters().map(({ ifindex }) => ifindex)).toEqual([after, after])
  })

  it('follows another interface that takes over an ifindex', async () => {
    const first = node.namespace()
    const second = node.namespace()
    ip(`link add one index 77 type veth peer name eth0 netns ${first}`)
    datapath.follow()
    expect(statusOf('one')).toMatchObject({ ifindex: 77, attach: 'tcx' })
    ip('link del one')
    ip(`link add two index 77 type veth peer name eth0 netns ${second}`)
    await until('two attached', 1000, () => {
      datapath.poll()
      return statusOf('two')?.attach
    })
    expect(statusOf('one')).toBeUndefined()
    expect(queryTcx(77, false)).toHaveLength(1)
    expect(queryTcx(77, true)).toHaveLength(1)
    expect(datapath.hookCounters()).toHaveLength(2)
  })

  it('lets go of an interface that moves to another namespace', async () => {
    const pod = node.namespace()
    const away = node.namespace()
    ip(`link add mover type veth peer name eth0 netns ${pod}`)
    datapath.follow()
    expect(tcxLinks()).toBe(2)
    ip(`link set mover netns ${away}`)
    await until('mover gone', 1000, () => {
      datapath.poll()
      return statusOf('mover') === undefined
    })
    expect(tcxLinks()).toBe(0)
    expect(datapath.hookCounters()).toEqual([])
  })

  it('reads a device without Ethernet header', () => {
    ip('tuntap add tun0 mode tun')
    ip('addr add 10.99.7.9/24 dev tun0')
    ip('link set tun0 up')
    datapath.follow()
    expect(statusOf('tun0')).toMatchObject({ role: 'l3', attach: 'tcx' })
    sendUdp(node.name, 7, 4005, 11)
    expect(packetsTo(datapath, 4005)).toBe(11)
    expect(datapath.hookCounters().map(({ otherPackets }) => otherPackets)).toEqual([0, 0])
  })

  it('adds the counters of a hook that went to those retired', async () => {
    const pod = node.namespace()
    ip(`link add v6 type veth peer name eth0 netns ${pod}`)
    ip('link set v6 up')
    ip(`-n ${pod} link set eth0 up`)
    ip(`-n ${pod} addr add 10.99.8.2/24 dev eth0`)
    ip('addr add 10.99.8.1/32 dev v6')
    ip('route add 10.99.8.2/32 dev v6')
    datapath.follow()
    // Nobody has resolved anything yet: ARP goes both ways.
    sendUdp(pod, 8, 4006, 1)
    const other = (): number => datapath.hookCounters().reduce((sum, one) => sum + one.otherPackets, 0)
    await until('ARP', 1000, () => other() >= 2)
    const seen = other()
    ip('link del v6')
    await until('v6 gone', 1000, () => {
      datapath.poll()
      return statusOf('v6') === undefined
    })
    expect(other()).toBe(0)
    expect(datapath.retiredCounters().otherPackets).toBeGreaterThanOrEqual(seen)
  })

  it('closes without leaving a descriptor, a program or a map', () => {
    node.pod('v7', 9)
    datapath.follow()
    expect(tcxLinks()).toBe(2)
    expect(bpfDescriptors().length).toBeGreaterThan(8)
    const ifindex = ifindexOf('v7')
    datapath.close()
    datapath.close()
    expect(bpfDescriptors()).toEqual([])
    expect(queryTcx(ifindex, false)).toEqual([])
  })

  it('reports what it does not cover, and why', () => {
    ip('link add br0 type bridge')
    node.pod('v8', 10)
    ip('link add mac0 link v8 type macvlan')
    ip('link add here type veth peer name alsohere')
    datapath.follow()
    expect(statusOf('lo')).toMatchObject({ reason: 'loopback' })
    expect(statusOf('br0')?.reason).toMatch(/ports/)
    expect(statusOf('mac0')?.reason).toMatch(/macvlan/)
    expect(statusOf('here')?.reason).toMatch(/both ends/)
    expect(statusOf('here')).not.toHaveProperty('attach')
  })
})

describe('another namespace', () => {
  it('is hooked with numbers of its own, also when an ifindex is the same', () => {
    const pod = node.pod('v9', 11)
    ip(`-n ${pod} link set eth0 down`)
    ip(`-n ${pod} link set eth0 up`)
    datapath.follow()
    const inside = datapath.enter(`/run/netns/${pod}`, 5)
    const eth0 = Number(/^(\d+):/.exec(ip(`-n ${pod} -o link show eth0`))?.[1])
    inside.attach({ ifindex: eth0, name: 'eth0', kind: 'veth' }, 'veth')
    expect(inside.status()).toMatchObject([{ netns: 5, name: 'eth0', attach: 'tcx' }])
    expect(ifindexOf('v9')).toBeGreaterThan(0)
    sendUdp(pod, 11, 4010, 9)
    // Seen at both ends of the veth, counted at one.
    expect(packetsTo(datapath, 4010)).toBe(9)
    const hooks = datapath.hookCounters().map(({ hook }) => hook)
    expect(hooks).toContain(hookNumber(eth0, false, 5))
    expect(hooks).toContain(hookNumber(ifindexOf('v9'), false))
    datapath.leave(5)
    expect(datapath.hookCounters().every(({ netns }) => netns === 0)).toBe(true)
    expect(tcxLinks()).toBe(2)
    // The thread is where it was.
    expect(ifindexOf('v9')).toBeGreaterThan(0)
  })
})

describe('packets before the hooks are there', () => {
  /** Both ends up, a neighbour each way, no hook yet. */
  function early(index: number): { pod: string; send: (count: number) => void } {
    const pod = node.pod(`early${index}`, index)
    return { pod, send: (count) => sendUdp(pod, index, 4200 + index, count) }
  }

  it('are told as missed, to the packet', () => {
    datapath.follow()
    const { send } = early(31)
    send(7)
    datapath.poll()
    expect(statusOf('early31')).toMatchObject({ attach: 'tcx' })
    send(5)
    expect(packetsTo(datapath, 4231)).toBe(5)
    const counters = datapath.linkCounters().get(ifindexOf('early31'))
    const carried = (counters?.rxPackets ?? 0) + (counters?.txPackets ?? 0)
    const seen = views(datapath) + datapath.hookCounters().reduce((sum, one) => sum + one.otherPackets, 0)
    expect(datapath.missedPackets()).toBeGreaterThanOrEqual(7)
    expect(carried).toBe(seen + datapath.missedPackets())
  })

  it('are not told of interfaces that were there before us', () => {
    const { send } = early(32)
    send(7)
    datapath.follow()
    send(5)
    expect(packetsTo(datapath, 4232)).toBe(5)
    expect(datapath.missedPackets()).toBe(0)
  })

  it('are not told of what an interface carried in another namespace before it came here', () => {
    const elsewhere = node.namespace()
    const { pod, send } = early(33)
    send(9)
    ip(`link set early33 netns ${elsewhere}`)
    datapath.follow()
    ip(`-n ${elsewhere} link set early33 netns ${node.name}`)
    datapath.poll()
    expect(statusOf('early33')).toMatchObject({ attach: 'tcx' })
    expect(datapath.missedPackets()).toBe(0)
    expect(ip(`-n ${pod} -o link show eth0`)).toContain('eth0')
  })

  it('are told of an interface that could not be hooked at first', async () => {
    await datapath.close()
    datapath = Datapath.open({ ...SMALL, disable: new Set(['tcx']) })
    const { send } = early(34)
    // A filter of another kind holds each priority that we would take.
    run('tc', 'qdisc', 'add', 'dev', 'early34', 'clsact')
    for (const priority of [1, 2, 3, 4])
      run('tc', ...`filter add dev early34 ingress protocol ip prio ${priority} u32 match u32 0 0`.split(' '))
    datapath.follow()
    expect(statusOf('early34')?.problem).toMatch(/^not captured/)
    send(6)
    // Tried in vain: what is told then is not told again.
    datapath.checkHeads()
    datapath.checkHeads()
    expect(datapath.missedPackets()).toBe(6)
    run('tc', ...'filter del dev early34 ingress protocol ip prio 1'.split(' '))
    datapath.checkHeads()
    expect(statusOf('early34')).toMatchObject({ attach: 'clsact' })
    // An answer that nobody waits for (ICMP: no such port) goes back for the first of them.
    const back = datapath.linkCounters().get(ifindexOf('early34'))?.txPackets ?? 0
    expect(datapath.missedPackets()).toBe(6 + back)
  })
})

/** Packets of all IPv4 views. */
function views(of: Datapath): number {
  let packets = 0
  const { valueWords } = of.strides(4)
  of.drain(4, (_keys, values, count) => {
    for (let i = 0; i < count; i++)
      for (const dir of [0, 1]) packets += values[i * valueWords + (view4.view + view.packets) / 4 + dir] ?? 0
  })
  return packets
}
