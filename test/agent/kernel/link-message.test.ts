// Messages as the kernel writes them (linux/if_link.h, if_tunnel.h), for devices that not every kernel can make, and
// broken ones.

import { describe, expect, it } from 'vitest'
import type { Interface } from '../../../agent/kernel/interfaces.js'
import { ArpType, parseAddress, parseLink } from '../../../agent/kernel/link-message.js'
import { attribute, attributes, stringAttribute, wordAttribute } from '../../../agent/kernel/netlink.js'
import { tunnelsOf } from '../../../agent/kernel/tunnels.js'

const LOCAL = Uint8Array.of(172, 18, 0, 2)
const REMOTE = Uint8Array.of(172, 18, 0, 3)
const LOCAL6 = Uint8Array.from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9])

function linkMessage(kind: string, data: Buffer[], arpType: number = ArpType.ETHER, up = true): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt16LE(arpType, 2)
  head.writeInt32LE(42, 4)
  head.writeUInt32LE(up ? 1 : 0, 8)
  return Buffer.concat([
    head,
    stringAttribute(3, 'dev0'),
    attribute(18, Buffer.concat([stringAttribute(1, kind), attribute(2, Buffer.concat(data))])),
  ])
}

function port(type: number, number: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(number)
  return attribute(type, bytes)
}

function tunnels(message: Buffer): ReturnType<typeof tunnelsOf> {
  return tunnelsOf([{ ...parseLink(message), addresses: [], defaultRoute: false } as Interface], () => false)
}

describe('a tunnel device', () => {
  it('geneve, by its remote end', () => {
    const message = linkMessage('geneve', [wordAttribute(1, 5), attribute(2, REMOTE), port(5, 6081)])
    expect(parseLink(message)?.tunnel).toEqual({ id: 5, port: 6081, remote: REMOTE, external: false })
    expect(tunnels(message)).toEqual([{ port: 6081, protocol: 17, family: 4, type: 2, id: 5 }])
  })

  it('geneve, external', () => {
    const message = linkMessage('geneve', [port(5, 6081), attribute(6, new Uint8Array())])
    expect(parseLink(message)?.tunnel).toEqual({ id: 0, port: 6081, external: true })
    expect(tunnels(message).map(({ family }) => family)).toEqual([4, 6])
  })

  it('ipip', () => {
    const message = linkMessage('ipip', [attribute(2, LOCAL), attribute(3, REMOTE)], ArpType.TUNNEL)
    expect(parseLink(message)?.tunnel).toEqual({
      id: 0,
      port: 0,
      local: LOCAL,
      remote: REMOTE,
      external: false,
    })
    expect(tunnels(message)).toEqual([{ port: 0, protocol: 4, family: 4, type: 3, local: LOCAL }])
  })

  it('ipip for any address, as Calico makes it', () => {
    const any = new Uint8Array(4)
    const message = linkMessage('ipip', [attribute(2, any), attribute(3, any)], ArpType.TUNNEL)
    expect(tunnels(message)).toEqual([{ port: 0, protocol: 4, family: 4, type: 3 }])
  })

  it('gre with a key, which is in network order', () => {
    const key = attribute(5, Uint8Array.of(0, 0, 1, 2))
    const message = linkMessage('gre', [key, attribute(6, LOCAL), attribute(7, REMOTE)], ArpType.IPGRE)
    expect(parseLink(message)?.tunnel).toMatchObject({ id: 258, local: LOCAL, remote: REMOTE })
    expect(tunnels(message)).toEqual([{ port: 0, protocol: 47, family: 4, type: 4, id: 258, local: LOCAL }])
  })

  it('ip6tnl carries both versions', () => {
    const message = linkMessage('ip6tnl', [attribute(2, LOCAL6)], ArpType.TUNNEL6)
    expect(tunnels(message)).toEqual([
      { port: 0, protocol: 4, family: 6, type: 3, local: LOCAL6 },
      { port: 0, protocol: 41, family: 6, type: 3, local: LOCAL6 },
    ])
  })

  it('that is down opens nothing', () => {
    expect(tunnels(linkMessage('ipip', [attribute(2, LOCAL)], ArpType.TUNNEL, false))).toEqual([])
  })

  it('of a kind called like a property of all objects is none', () => {
    expect(parseLink(linkMessage('constructor', []))?.tunnel).toBeUndefined()
    expect(tunnels(linkMessage('toString', []))).toEqual([])
  })
})

describe('messages', () => {
  it("of a bridge's ports and without a name are passed over", () => {
    const bridge = linkMessage('veth', [])
    bridge.writeUInt8(7, 0)
    expect(parseLink(bridge)).toBeUndefined()
    expect(parseLink(Buffer.alloc(16))).toBeUndefined()
  })

  it('that are cut anywhere give nothing wrong and do not throw', () => {
    const whole = linkMessage('vxlan', [wordAttribute(1, 9), attribute(4, LOCAL), port(15, 8472)])
    for (let length = 0; length < whole.length; length++) {
      const link = parseLink(whole.subarray(0, length))
      if (link?.tunnel === undefined) continue
      expect([0, 9]).toContain(link.tunnel.id)
      expect([0, 8472]).toContain(link.tunnel.port)
    }
    expect(parseLink(whole)?.tunnel).toMatchObject({ id: 9, port: 8472 })
  })

  it('with attributes that lie about their length end there', () => {
    const lying = Buffer.concat([wordAttribute(1, 7), Buffer.from([0xff, 0xff, 2, 0])])
    expect([...attributes(lying).keys()]).toEqual([1])
    expect(attributes(Buffer.from([3, 0, 1, 0, 1, 1, 1, 1])).size).toBe(0)
  })

  it('of addresses: local before peer, wrong lengths refused', () => {
    const head = Buffer.from([2, 24, 0, 0, 42, 0, 0, 0])
    expect(parseAddress(Buffer.concat([head, attribute(1, REMOTE), attribute(2, LOCAL)]))).toMatchObject({
      ifindex: 42,
      prefixLength: 24,
      address: LOCAL,
    })
    expect(parseAddress(Buffer.concat([head, attribute(2, LOCAL6)]))).toBeUndefined()
    expect(parseAddress(head)).toBeUndefined()
    expect(parseAddress(Buffer.alloc(3))).toBeUndefined()
  })
})
