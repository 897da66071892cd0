// One veth seen at both of its ends, and interfaces of the same number in different namespaces: each packet counts once.

import { afterEach, describe, expect, it } from 'vitest'
import { Capture } from '../../../agent/capture/capture.js'
import { bootUs, wallUs } from '../../../agent/kernel/clock.js'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { ifindexOf, ip, Node, sendUdp } from '../kernel/support.js'

const PORT = 7777

let node: Node | undefined
let datapath: Datapath | undefined

afterEach(() => {
  datapath?.close()
  datapath = undefined
  node?.close()
  node = undefined
})

interface Seen {
  flows: Set<number>
  packets: number
  hooks: Set<number>
}

/** Sends from the pod and says what capture makes of the packets to PORT. */
function capture(source: Datapath, send: () => void): Seen {
  const seen: Seen = { flows: new Set(), packets: 0, hooks: new Set() }
  const stage = new Capture({
    source,
    maxViews4: 131_072,
    maxViews6: 65_536,
    updateIntervalMs: 1000,
    clock: { bootUs, wallUs },
    hookAttachedAt: () => 1,
    isPodHook: () => true,
    onFlows: (batch) => {
      for (let row = 0; row < batch.count; row++) {
        if (batch.destinationPort[row] !== PORT) continue
        seen.flows.add(batch.id[row]!)
        seen.packets += batch.forwardPackets[row]!
        for (let i = 0; i < batch.observationCount[row]!; i++)
          seen.hooks.add(batch.observations[row * 8 + i]!)
      }
    },
    onLost: () => undefined,
  })
  send()
  stage.stop()
  return seen
}

describe('a packet counts once', () => {
  it('at both ends of one veth', () => {
    node = new Node()
    const pod = node.pod('va', 1)
    datapath = Datapath.open()
    datapath.attach({ ifindex: ifindexOf('va'), name: 'va', kind: 'veth' }, 'veth')
    const inside = datapath.enter(`/run/netns/${pod}`, 1)
    const podIfindex = Number(/^(\d+):/.exec(ip(`-n ${pod} -o link show eth0`))?.[1])
    inside.attach({ ifindex: podIfindex, name: 'eth0', kind: 'veth' }, 'veth')
    const seen = capture(datapath, () => sendUdp(pod, 1, PORT, 250))
    expect(seen).toMatchObject({ packets: 250 })
    expect(seen.flows.size).toBe(1)
    // the way out of the pod and the way into the node: two hooks, one count
    expect(seen.hooks.size).toBe(2)
  })

  it('between interfaces of the same number in two namespaces', () => {
    node = new Node()
    const pod = node.namespace()
    ip(`-n ${pod} link set lo up`)
    // the same ifindex at both ends
    ip(`link add vsame index 77 type veth peer name eth0 netns ${pod} index 77`)
    ip(`-n ${pod} addr add 10.99.9.2/24 dev eth0`)
    ip(`-n ${pod} link set eth0 up`)
    ip('addr add 10.99.9.1/24 dev vsame')
    ip('link set vsame up')
    expect(ifindexOf('vsame')).toBe(77)
    datapath = Datapath.open()
    datapath.attach({ ifindex: 77, name: 'vsame', kind: 'veth' }, 'veth')
    datapath.enter(`/run/netns/${pod}`, 2).attach({ ifindex: 77, name: 'eth0', kind: 'veth' }, 'veth')
    const seen = capture(datapath, () => sendUdp(pod, 9, PORT, 250))
    expect(seen).toMatchObject({ packets: 250 })
    expect(seen.flows.size).toBe(1)
    expect(seen.hooks.size).toBe(2)
  })
})
