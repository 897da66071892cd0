// Which interfaces are hooked: each rule on the interface that it is about, and the setups of real CNI plugins.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Interface, Interfaces } from '../../../agent/kernel/interfaces.js'
import { ArpType } from '../../../agent/kernel/link-message.js'
import { chooseRole, matches } from '../../../agent/kernel/roles.js'
import { ip, Node } from './support.js'

const base: Interface = {
  ifindex: 2,
  name: 'eth0',
  kind: '',
  slaveKind: '',
  arpType: ArpType.ETHER,
  up: true,
  address: '02:00:00:00:00:01',
  master: 0,
  link: 0,
  linkElsewhere: false,
  counters: { rxPackets: 0, txPackets: 0, rxBytes: 0, txBytes: 0 },
  addresses: [],
  defaultRoute: false,
}
const address = (prefixLength: number, scope = 0, family: 4 | 6 = 4): Interface['addresses'][number] => ({
  ifindex: 2,
  family,
  address: new Uint8Array(family === 4 ? 4 : 16),
  prefixLength,
  scope,
})
const podVeth: Partial<Interface> = { kind: 'veth', link: 2, linkElsewhere: true }

describe('by default', () => {
  it.each<[string, Partial<Interface>, string | RegExp]>([
    ['hardware', {}, 'uplink'],
    ['hardware that is a port of a bridge', { master: 5, slaveKind: 'bridge' }, 'uplink'],
    ['hardware that is a slave of a bond', { master: 5, slaveKind: 'bond' }, /bond/],
    ['a bond', { kind: 'bond' }, 'uplink'],
    ['hardware without Ethernet', { arpType: ArpType.NONE }, 'l3'],
    ['InfiniBand', { arpType: 32 }, /neither Ethernet nor bare IP/],
    ['loopback', { arpType: ArpType.LOOPBACK }, /loopback/],
    ['a bridge', { kind: 'bridge', addresses: [address(24)], defaultRoute: true }, /ports/],
    ["a pod's veth", podVeth, 'veth'],
    ["a pod's netkit", { ...podVeth, kind: 'netkit' }, 'veth'],
    ["a pod's veth on a bridge", { ...podVeth, master: 5, slaveKind: 'bridge' }, 'veth'],
    ["a pod's veth with the gateway's host address (ptp)", { ...podVeth, addresses: [address(32)] }, 'veth'],
    [
      "a pod's veth with a link-local address (Calico)",
      { ...podVeth, addresses: [address(64, 253, 6)] },
      'veth',
    ],
    ["a pod's veth with both", { ...podVeth, addresses: [address(128, 0, 6), address(32)] }, 'veth'],
    ["a pod's veth with a link to one other host", { ...podVeth, addresses: [address(31)] }, 'veth'],
    ["a node's veth with an address on a subnet", { ...podVeth, addresses: [address(24)] }, 'uplink'],
    [
      "a node's veth with an IPv6 address on a subnet",
      { ...podVeth, addresses: [address(64, 0, 6)] },
      'uplink',
    ],
    ["a node's veth with the default route", { ...podVeth, defaultRoute: true }, 'uplink'],
    ['a veth with both ends here', { kind: 'veth', link: 3 }, /both ends/],
    ['vxlan', { kind: 'vxlan' }, 'veth'],
    ['vxlan that is a port of a bridge', { kind: 'vxlan', master: 5, slaveKind: 'bridge' }, 'veth'],
    ['vxlan that is down', { kind: 'vxlan', up: false }, /down/],
    ['ipip', { kind: 'ipip', arpType: ArpType.TUNNEL }, 'l3'],
    ['gre', { kind: 'gre', arpType: ArpType.IPGRE }, 'l3'],
    ['gretap', { kind: 'gretap' }, 'veth'],
    ['wireguard', { kind: 'wireguard', arpType: ArpType.NONE }, 'l3'],
    ['tun', { kind: 'tun', arpType: ArpType.NONE }, 'l3'],
    ['tap', { kind: 'tun' }, 'veth'],
    ['a tunnel device with the default route', { kind: 'vxlan', defaultRoute: true }, 'veth'],
    ['vlan', { kind: 'vlan', link: 3 }, /device it lies on/],
    ['macvlan', { kind: 'macvlan', link: 3 }, /pods on macvlan are not covered/],
    ['a vlan on a device elsewhere', { kind: 'vlan', link: 3, linkElsewhere: true }, 'uplink'],
    ['dummy', { kind: 'dummy' }, /kind dummy/],
  ])('%s', (_name, difference, expected) => {
    const choice = chooseRole({ ...base, ...difference })
    if (typeof expected === 'string') expect(choice).toEqual({ role: expected })
    else expect(choice).toEqual({ role: undefined, reason: expect.stringMatching(expected) })
  })
})

describe('by name', () => {
  it('only those asked for, in the role they would have', () => {
    expect(chooseRole({ ...base, ...podVeth, name: 'cali1' }, { include: ['cali*'] })).toEqual({
      role: 'veth',
    })
    expect(chooseRole(base, { include: ['cali*', 'eth?'] })).toEqual({ role: 'uplink' })
    expect(chooseRole(base, { include: ['cali*'] })).toMatchObject({ role: undefined })
  })

  it('also those that are left out by default', () => {
    expect(chooseRole({ ...base, kind: 'bridge', name: 'br0' }, { include: ['br0'] })).toEqual({
      role: 'veth',
    })
    expect(chooseRole({ ...base, arpType: ArpType.LOOPBACK, name: 'lo' }, { include: ['lo'] })).toEqual({
      role: 'veth',
    })
    expect(chooseRole({ ...base, arpType: 32, name: 'ib0' }, { include: ['ib0'] })).toMatchObject({
      role: undefined,
    })
  })

  it('excluded wins', () => {
    expect(chooseRole(base, { include: ['eth0'], exclude: ['eth*'] })).toMatchObject({
      role: undefined,
      reason: 'excluded by name',
    })
  })

  it.each([
    ['eth*', 'eth0', true],
    ['eth*', 'xeth0', false],
    ['e.h0', 'eth0', false],
    ['*', '', true],
    ['v?', 'v12', false],
    ['a+b', 'a+b', true],
    ['[ab]', 'a', false],
    ['**x', 'aax', true],
  ])('glob %s on %s: %s', (glob, name, expected) => {
    expect(matches([glob], name)).toBe(expected)
  })

  it('globs with many stars end soon', () => {
    const before = performance.now()
    expect(matches(['*a'.repeat(40)], 'b'.repeat(15))).toBe(false)
    expect(matches(['*a*a*a*a*a*a*a*b'], 'a'.repeat(15))).toBe(false)
    expect(performance.now() - before).toBeLessThan(100)
  })
})

describe('on real interfaces', () => {
  let node: Node
  beforeEach(() => {
    node = new Node()
  })
  afterEach(() => node.close())

  it('a node in a namespace: uplink, pods on a bridge, pods routed, overlay', () => {
    const lan = node.namespace()
    ip(`link add eth0 type veth peer name port netns ${lan}`)
    ip('addr add 172.18.0.2/24 dev eth0')
    ip('link set eth0 up')
    ip(`-n ${lan} link set port up`)
    ip('route add default via 172.18.0.1')
    ip('link add cni0 type bridge')
    ip('addr add 10.1.0.1/24 dev cni0')
    ip(`link add vethb type veth peer name eth0 netns ${node.namespace()}`)
    ip('link set vethb master cni0')
    node.pod('cali1', 3)
    ip('link add flannel.1 type vxlan id 1 dstport 8472 local 172.18.0.2 dev eth0')
    ip('link set flannel.1 up')
    const interfaces = Interfaces.open()
    const roles = Object.fromEntries([...interfaces.values()].map((one) => [one.name, chooseRole(one).role]))
    interfaces.close()
    expect(roles).toMatchObject({
      lo: undefined,
      eth0: 'uplink',
      cni0: undefined,
      vethb: 'veth',
      cali1: 'veth',
      'flannel.1': 'veth',
    })
  })
})
