// Packets of tunnels at the uplink: what counts there, what is only noted, and what somebody forged opens nothing.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { event, event_kind, event_tunnel } from '../../agent/kernel/layout.gen.js'
import { Ring } from '../../agent/kernel/ring.js'
import { ifindexOf, ip, Node } from '../agent/kernel/support.js'
import type { DecodedTunnel } from './decode.js'
import { A4, addressOf, B4, ETHERTYPE, ethernet, ipv4, PROTOCOL, tcp, udp, vxlan } from './headers.js'
import { Programs } from './programs.js'

const RING_BYTES = 4096 * 64
const HERE = '192.0.2.1'
const PEER = '192.0.2.2'
const VXLAN: DecodedTunnel = {
  protocol: PROTOCOL.udp,
  family: 4,
  port: 8472,
  carries: 'vxlan',
  local: addressOf(HERE),
  id: 7,
}
const hex = (address: string) => addressOf(address).toString('hex')
const INNER = ethernet(ETHERTYPE.ipv4, ipv4({ source: A4, destination: B4, protocol: PROTOCOL.tcp }, tcp()))
const FLOW = /^4 6 0 0a010203:\d+>0ac80009:\d+$/
const INNER_BYTES = INNER.length - 14

function outer(source: string, destination: string, vni: number): Buffer {
  return ethernet(
    ETHERTYPE.ipv4,
    ipv4({ source, destination, protocol: PROTOCOL.udp }, udp(50_000, 8472, vxlan(vni, INNER))),
  )
}

let node: Node
let programs: Programs
let overlay = 0
let uplink = 0

beforeEach(() => {
  node = new Node()
  for (const name of ['overlay0', 'uplink0']) ip(`link add ${name} type veth peer name ${name}p`)
  overlay = ifindexOf('overlay0')
  uplink = ifindexOf('uplink0')
})
afterEach(() => {
  programs?.close()
  node.close()
})

function load(tunnel: DecodedTunnel): void {
  programs = new Programs(['veth_ingress', 'veth_egress', 'uplink_ingress', 'uplink_egress'], [tunnel])
  for (const device of [overlay, uplink]) for (const egress of [false, true]) programs.watch(egress, device)
}

function at(program: string, ifindex: number, frame: Buffer): void {
  expect(programs.run(program, frame, undefined, ifindex)).toMatchObject({ verdict: -1, out: frame })
}

/** Kinds of what the ring tells, and the tunnels in it as `vni source>destination`. */
function told(): string[] {
  const ring = Ring.open(programs.object.mapFd('events'), RING_BYTES)
  const found: string[] = []
  ring.read((words, offset) => {
    const bytes = Buffer.from(words.slice(offset, offset + event_tunnel.size / 4).buffer)
    const kind = bytes.readUInt8(event.kind)
    found.push(
      kind === event_kind.EVENT_TUNNEL
        ? `tunnel ${bytes.readUInt32LE(event_tunnel.id)} ${bytes.toString('hex', event_tunnel.source, event_tunnel.source + 4)}>${bytes.toString('hex', event_tunnel.destination, event_tunnel.destination + 4)}`
        : kind === event_kind.EVENT_OPEN
          ? 'open'
          : `kind ${kind}`,
    )
  }, 100)
  ring.close()
  return found
}

describe('where the tunnel device has no hooks', () => {
  beforeEach(() => load(VXLAN))

  it('the inner flow counts at the uplink, with its tunnel', () => {
    at('uplink_ingress', uplink, outer(PEER, HERE, 7))
    expect(told()).toEqual(['open', `tunnel 7 ${hex(PEER)}>${hex(HERE)}`])
    const [[flow = '', sum] = []] = programs.take().sums
    expect(flow).toMatch(FLOW)
    expect(sum).toMatchObject({ packets: 1, bytes: INNER_BYTES })
  })

  it.each([
    ['another VNI', 'uplink_ingress', outer(PEER, HERE, 8)],
    ['another address than ours', 'uplink_ingress', outer(PEER, '192.0.2.9', 7)],
    ['the way out, from another address than ours', 'uplink_egress', outer('10.1.0.9', PEER, 7)],
  ])('%s opens nothing: the datagram is a datagram', (_, program, frame) => {
    at(program, uplink, frame)
    expect(told()).toEqual(['open'])
    const { sums } = programs.take()
    expect([...sums.keys()]).toEqual([expect.stringMatching(/^4 17 0 \w+:50000>\w+:8472$/)])
    expect([...sums.values()][0]).toMatchObject({ packets: 1, bytes: frame.length - 14 })
  })
})

describe('where the tunnel device is hooked', () => {
  beforeEach(() => load({ ...VXLAN, inside: true }))

  it('on the way out the device counts, the uplink adds itself and the tunnel', () => {
    for (let packet = 0; packet < 3; packet++) {
      at('veth_egress', overlay, INNER)
      at('uplink_egress', uplink, outer(HERE, PEER, 7))
    }
    expect(told()).toEqual(['open', `tunnel 7 ${hex(HERE)}>${hex(PEER)}`])
    expect([...programs.take().sums.values()]).toEqual([
      expect.objectContaining({ packets: 3, bytes: 3 * INNER_BYTES }),
    ])
  })

  it('on the way in the first packet is left to the device, the others are noted', () => {
    for (let packet = 0; packet < 3; packet++) {
      at('uplink_ingress', uplink, outer(PEER, HERE, 7))
      at('veth_ingress', overlay, INNER)
    }
    expect(told()).toEqual(['open', `tunnel 7 ${hex(PEER)}>${hex(HERE)}`])
    expect([...programs.take().sums.values()]).toEqual([
      expect.objectContaining({ packets: 3, bytes: 3 * INNER_BYTES }),
    ])
    expect(programs.tunnelled(false, uplink)).toEqual({ packets: 1, bytes: INNER_BYTES })
  })

  it('what was forged opens no flow that the kernel does not take out of the tunnel', () => {
    for (let packet = 0; packet < 5; packet++) at('uplink_ingress', uplink, outer(PEER, HERE, 7))
    expect(told()).toEqual([])
    expect(programs.take().entries).toBe(0)
    expect(programs.tunnelled(false, uplink)).toEqual({ packets: 5, bytes: 5 * INNER_BYTES })
  })

  it("a pod's own datagram to a tunnel's port, masqueraded, is a datagram", () => {
    at('uplink_egress', uplink, outer(HERE, PEER, 7))
    expect(told()).toEqual(['open'])
    expect([...programs.take().sums.keys()]).toEqual([`4 17 0 ${hex(HERE)}:50000>${hex(PEER)}:8472`])
  })
})

it('nothing is lost or doubled when the device is hooked in mid-connection', () => {
  load({ ...VXLAN, inside: true })
  // the uplink owns both directions, as it would have before: it saw the flow bare
  at('uplink_ingress', uplink, INNER)
  for (let packet = 0; packet < 4; packet++) {
    at('uplink_ingress', uplink, outer(PEER, HERE, 7))
    at('veth_ingress', overlay, INNER)
  }
  expect([...programs.take().sums.values()]).toEqual([
    expect.objectContaining({ packets: 5, bytes: 5 * INNER_BYTES }),
  ])
  at('uplink_egress', uplink, INNER)
  for (let packet = 0; packet < 4; packet++) {
    at('veth_egress', overlay, INNER)
    at('uplink_egress', uplink, outer(HERE, PEER, 7))
  }
  expect([...programs.take().sums.values()]).toEqual([
    expect.objectContaining({ packets: 5, bytes: 5 * INNER_BYTES }),
  ])
})
