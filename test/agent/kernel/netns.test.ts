// Entering another network namespace and coming back, and hooks there.

import { readlinkSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { withNetns } from '../../../agent/kernel/netns.js'
import { bpfDescriptors, descriptors, ip, Node, packetsTo, run, sendUdp, tcxLinks, until } from './support.js'

const here = (): string => readlinkSync('/proc/thread-self/ns/net')
let node: Node
beforeEach(() => {
  node = new Node()
})
afterEach(() => node.close())

describe('withNetns', () => {
  it('is there during the call, and back after, also when it throws', () => {
    const other = node.namespace()
    const home = here()
    const before = descriptors()
    const there = withNetns(`/run/netns/${other}`, here)
    expect(there).not.toBe(home)
    expect(there).toBe(run('ip', 'netns', 'exec', other, 'readlink', '/proc/self/ns/net').trim())
    expect(here()).toBe(home)
    expect(() =>
      withNetns(`/run/netns/${other}`, () => {
        throw new Error('inside')
      }),
    ).toThrow('inside')
    expect(here()).toBe(home)
    expect(descriptors()).toEqual(before)
  })

  it('names a namespace that is missing, or is none', () => {
    const home = here()
    expect(() => withNetns('/run/netns/vf-k-nowhere', here)).toThrow(
      expect.objectContaining({ code: 'NETNS_MISSING' }),
    )
    expect(() => withNetns('/etc/hostname', here)).toThrow(expect.objectContaining({ code: 'NETNS_ENTER' }))
    expect(here()).toBe(home)
  })
})

describe.each([
  ['tcx', []],
  ['clsact', ['tcx']],
])('a namespace that was entered, by %s', (attach, disable) => {
  it('follows its own interfaces and is left without a trace', async () => {
    const other = node.namespace()
    const pod = node.namespace()
    ip(`-n ${other} link set lo up`)
    ip(`-n ${pod} link set lo up`)
    const datapath = Datapath.open({ maxConnections: 1024, ringBytes: 65536, disable: new Set(disable) })
    try {
      datapath.follow()
      const inside = datapath.enter(`/run/netns/${other}`, 9)
      inside.follow()
      ip(`-n ${other} link add v0 type veth peer name eth0 netns ${pod}`)
      ip(`-n ${other} addr add 10.99.3.1/32 dev v0`)
      ip(`-n ${other} link set v0 up`)
      ip(`-n ${pod} addr add 10.99.3.2/24 dev eth0`)
      ip(`-n ${pod} link set eth0 up`)
      ip(`-n ${other} route add 10.99.3.2/32 dev v0`)
      await until('v0 attached', 1000, () => {
        datapath.poll()
        return inside.status().find(({ name }) => name === 'v0')?.attach
      })
      expect(inside.status()).toContainEqual(
        expect.objectContaining({ netns: 9, name: 'v0', role: 'veth', attach }),
      )
      datapath.checkHeads()
      expect(inside.status().find(({ name }) => name === 'v0')).toMatchObject({ reheaded: 0 })
      sendUdp(pod, 3, 4600, 8)
      await until('the packets', 1000, () => packetsTo(datapath, 4600) === 8)
      expect(datapath.hookCounters().map(({ netns }) => netns)).toEqual([9, 9])
      datapath.leave(9)
      expect(datapath.hookCounters()).toEqual([])
      expect(run('tc', '-n', other, 'qdisc', 'show', 'dev', 'v0')).not.toContain('clsact')
      expect(tcxLinks()).toBe(0)
    } finally {
      datapath.close()
    }
    expect(bpfDescriptors()).toEqual([])
  })
})
