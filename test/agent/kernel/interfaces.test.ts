// What rtnetlink tells, against interfaces made here.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type InterfaceChange, Interfaces } from '../../../agent/kernel/interfaces.js'
import { ArpType } from '../../../agent/kernel/link-message.js'
import { tunnelsOf } from '../../../agent/kernel/tunnels.js'
import { ifindexOf, ip, Node, run, sendUdp, until } from './support.js'

let node: Node
let interfaces: Interfaces | undefined

beforeEach(() => {
  node = new Node()
})
afterEach(() => {
  interfaces?.close()
  interfaces = undefined
  node.close()
})

function open(bufferBytes?: number): Interfaces {
  interfaces = Interfaces.open(bufferBytes)
  return interfaces
}

function byName(name: string): ReturnType<Interfaces['get']> {
  return [...(interfaces?.values() ?? [])].find((one) => one.name === name)
}

/** Kinds and names of all changes up to now. */
function told(): string[] {
  return changes().map(({ kind, interface: { name } }) => `${kind} ${name}`)
}

function changes(): InterfaceChange[] {
  return interfaces?.poll() ?? []
}

describe('an interface', () => {
  it('is described: veth, peer, master, addresses, state', () => {
    const pod = node.pod('v0', 1)
    ip('link add br0 type bridge')
    ip('link set v0 master br0')
    ip('link add here type veth peer name there')
    open()
    expect(byName('v0')).toMatchObject({
      ifindex: ifindexOf('v0'),
      kind: 'veth',
      slaveKind: 'bridge',
      arpType: ArpType.ETHER,
      up: true,
      master: ifindexOf('br0'),
      linkElsewhere: true,
      link: Number(/^(\d+):/.exec(ip(`-n ${pod} -o link show eth0`))?.[1]),
      addresses: [{ family: 4, address: Uint8Array.of(10, 99, 1, 1), prefixLength: 32, scope: 0 }],
    })
    expect(byName('v0')?.address).toBe(/ether (\S+)/.exec(ip('-o link show v0'))?.[1])
    expect(byName('here')).toMatchObject({
      linkElsewhere: false,
      link: ifindexOf('there'),
      up: false,
      master: 0,
    })
    expect(byName('lo')).toMatchObject({ kind: '', arpType: ArpType.LOOPBACK, link: 0 })
    expect(byName('br0')).toMatchObject({ kind: 'bridge' })
  })

  it('has the counters that ip shows', () => {
    const pod = node.pod('v0', 1)
    const all = open()
    sendUdp(pod, 1, 4400, 12)
    const shown = JSON.parse(ip('-s -j link show v0'))[0].stats64
    expect(shown.rx.packets).toBeGreaterThanOrEqual(12)
    expect(all.counters().get(ifindexOf('v0'))).toEqual({
      rxPackets: shown.rx.packets,
      txPackets: shown.tx.packets,
      rxBytes: shown.rx.bytes,
      txBytes: shown.tx.bytes,
    })
  })

  it('that is a tunnel says id, port and addresses', () => {
    node.pod('v0', 1)
    run('sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=0')
    ip('link add vx4 type vxlan id 77 dstport 8472 local 10.99.1.1 dev v0')
    ip('link add vx6 type vxlan id 78 dstport 4789 local fd00::1 remote fd00::2 dev v0')
    ip('link add vxe type vxlan external dstport 4790')
    for (const name of ['vx4', 'vx6', 'vxe']) ip(`link set ${name} up`)
    open()
    const local = Uint8Array.of(10, 99, 1, 1)
    expect(byName('vx4')?.tunnel).toEqual({ id: 77, port: 8472, local, external: false })
    expect(byName('vx6')?.tunnel).toEqual({
      id: 78,
      port: 4789,
      local: Uint8Array.from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
      remote: Uint8Array.from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
      external: false,
    })
    expect(byName('vxe')?.tunnel).toEqual({ id: 0, port: 4790, external: true })
    const tunnels = tunnelsOf(interfaces?.values() ?? [], (ifindex) => ifindex === byName('vx4')?.ifindex)
    expect(tunnels).toContainEqual({
      port: 8472,
      protocol: 17,
      family: 4,
      type: 1,
      local,
      id: 77,
      inside: true,
    })
    expect(tunnels).toContainEqual({
      port: 4789,
      protocol: 17,
      family: 6,
      type: 1,
      local: expect.anything(),
      id: 78,
    })
    expect(tunnels).toContainEqual({ port: 4790, protocol: 17, family: 4, type: 1 })
    expect(tunnels).toContainEqual({ port: 4790, protocol: 17, family: 6, type: 1 })
    expect(tunnels).toHaveLength(4)
  })
})

describe('changes', () => {
  it('are told in order: appeared, changed, renamed, gone', () => {
    open()
    expect(told()).toEqual([])
    ip('link add br0 type bridge')
    expect(told()[0]).toBe('appeared br0')
    ip('link set br0 up')
    expect(told()).toContain('changed br0')
    ip('link set br0 down')
    ip('link set br0 name br1')
    expect(told()).toContain('renamed br1')
    ip('link del br1')
    expect(told()).toContain('gone br1')
    expect(byName('br1')).toBeUndefined()
  })

  it('tell of addresses that come and go', () => {
    const pod = node.pod('v0', 1)
    expect(pod).toBeTruthy()
    open()
    ip('addr add 172.18.0.2/24 dev v0')
    expect(told()).toEqual(['changed v0'])
    expect(byName('v0')?.addresses.map(({ prefixLength }) => prefixLength)).toEqual([32, 24])
    ip('addr del 172.18.0.2/24 dev v0')
    expect(told()).toEqual(['changed v0'])
    expect(byName('v0')?.addresses).toHaveLength(1)
  })

  it('tell when the default route comes and goes', async () => {
    node.pod('v0', 1)
    open()
    expect(byName('v0')?.defaultRoute).toBe(false)
    ip('route add default via 10.99.1.2 dev v0 onlink')
    await until('the default route', 2000, () => told().includes('changed v0') && byName('v0')?.defaultRoute)
    ip('route del default')
    await until('no default route', 2000, () => told().includes('changed v0') && !byName('v0')?.defaultRoute)
  })

  it('know a multipath default route', () => {
    node.pod('v0', 1)
    node.pod('v1', 2)
    run(
      'ip',
      ...'route add default nexthop via 10.99.1.2 dev v0 onlink nexthop via 10.99.2.2 dev v1 onlink'.split(
        ' ',
      ),
    )
    open()
    expect([byName('v0')?.defaultRoute, byName('v1')?.defaultRoute]).toEqual([true, true])
  })

  it("leave a bridge's port there when it leaves the bridge", () => {
    node.pod('v0', 1)
    ip('link add br0 type bridge')
    ip('link set v0 master br0')
    open()
    ip('link set v0 nomaster')
    expect(told()).toEqual(['changed v0'])
    expect(byName('v0')?.master).toBe(0)
  })

  it('that the kernel had to drop are found by listing anew', () => {
    node.pod('stays', 1)
    node.pod('goes', 2)
    const all = open(4096)
    expect(all.relisted).toBe(0)
    ip('link del goes')
    ip('link set stays name stayed')
    for (let i = 0; i < 10; i++) ip(`link add br${i} type bridge`)
    ip('addr add 172.18.0.2/24 dev stayed')
    const kinds = told()
    expect(all.relisted).toBe(1)
    expect(kinds).toContain('gone goes')
    expect(kinds).toContain('renamed stayed')
    for (let i = 0; i < 10; i++) expect(kinds.filter((one) => one === `appeared br${i}`)).toHaveLength(1)
    expect(byName('stayed')?.addresses.map(({ prefixLength }) => prefixLength)).toEqual([32, 24])
    expect(told()).toEqual([])
    expect([...all.values()].map(({ name }) => name).sort()).toEqual(
      JSON.parse(ip('-j link show'))
        .map(({ ifname }: { ifname: string }) => ifname)
        .sort(),
    )
  })
})
