// Each kernel feature that is missing switches off what hangs on it and nothing else. They are forced off: the paths
// taken are those of a kernel without them.

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { FEATURES, Features } from '../../../agent/kernel/features.js'
import { libbpf } from '../../../agent/kernel/libbpf.js'
import { effectiveCapabilities, lockedMemory, missingCapabilities } from '../../../agent/kernel/permission.js'
import { ifindexOf, Node, packetsTo, sendUdp } from './support.js'

const SMALL = { maxConnections: 4096, ringBytes: 65536 }
let node: Node
let pod: string
let datapath: Datapath | undefined

beforeEach(() => {
  node = new Node()
  pod = node.pod('v0', 1)
})
afterEach(() => {
  datapath?.close()
  datapath = undefined
  node.close()
})

function start(...disable: string[]): Datapath {
  datapath = Datapath.open({ ...SMALL, disable: new Set(disable) })
  datapath.follow()
  return datapath
}

/** What works, seen from outside. */
function behaviour(us: Datapath): Record<string, unknown> {
  sendUdp(pod, 1, 4200, 6)
  let records = 0
  us.readRing(() => {
    records++
  }, 1000)
  const packets = packetsTo(us, 4200)
  const { keyWords } = us.strides(4)
  let keys = new Uint32Array()
  us.drain(4, (batch, _values, count) => {
    keys = batch.slice(0, count * keyWords)
  })
  const held = keys.length / keyWords
  const deleted = us.deleteViews(4, keys, held)
  return {
    packets,
    records: records > 0,
    deleted: deleted === held && held > 0,
    left: us.drain(4, () => {}),
    attach: us.status().interfaces.find(({ name }) => name === 'v0')?.attach,
    object: us.status().object.replace(/.*\//, ''),
    conntrack: us.features.enabled('conntrack'),
  }
}

const ALL = {
  packets: 6,
  records: true,
  deleted: true,
  left: 0,
  attach: 'tcx',
  object: 'flow.bpf.o',
  conntrack: true,
}

describe('features', () => {
  it('are all there on this kernel', () => {
    const features = Features.probe()
    expect(features.list().map(({ name }) => name)).toEqual([...FEATURES])
    expect(features.list().filter(({ enabled }) => !enabled)).toEqual([])
    expect(behaviour(start())).toEqual(ALL)
  })

  it.each([
    ['btf', { object: 'flow-5.12.bpf.o', conntrack: false }],
    ['ring_buffer', { records: false }],
    ['atomic_fetch', { object: 'flow-5.10.bpf.o' }],
    ['batch', {}],
    ['tcx', { attach: 'clsact' }],
    ['clsact', {}],
    ['conntrack', { object: 'flow-5.12.bpf.o', conntrack: false }],
    ['sockets', {}],
    ['socket_walk', {}],
  ])('without %s: what hangs on it, and nothing else', (name, difference) => {
    const us = start(name)
    expect(behaviour(us)).toEqual({ ...ALL, ...difference })
    const off = us.status().features.filter(({ enabled }) => !enabled)
    const hanging: Readonly<Record<string, readonly string[]>> = {
      btf: ['conntrack', 'sockets', 'socket_walk'],
      ring_buffer: ['sockets', 'socket_walk'],
      sockets: ['socket_walk'],
    }
    expect(off.map((feature) => feature.name)).toEqual([name, ...(hanging[name] ?? [])])
    expect(off[0]?.reason).toBe('switched off')
    if (name === 'btf') expect(off[1]?.reason).toBe('needs btf')
  })

  it('without tcx and clsact: a problem for each interface that says so', () => {
    const us = start('tcx', 'clsact')
    const v0 = us.status().interfaces.find(({ name }) => name === 'v0')
    expect(v0).not.toHaveProperty('attach')
    expect(v0?.problem).toMatch(/not captured: cannot attach veth_ingress to interface \d+/)
    expect(us.hookCounters()).toEqual([])
    us.checkHeads()
    expect(us.status().interfaces.find(({ name }) => name === 'v0')?.problem).toBe(v0?.problem)
  })

  it('without any of the optional ones: still exact', () => {
    expect(behaviour(start('btf', 'ring_buffer', 'atomic_fetch', 'batch', 'tcx'))).toEqual({
      ...ALL,
      records: false,
      attach: 'clsact',
      object: 'flow-5.10.bpf.o',
      conntrack: false,
    })
  })
})

describe('a missing libbpf', () => {
  it('is an error with what to install', () => {
    expect(() => libbpf('libbpf.so.0.0.0')).toThrow(
      expect.objectContaining({
        code: 'LIBBPF_MISSING',
        exitCode: 69,
        hint: expect.stringContaining('libbpf1'),
      }),
    )
  })

  it('is also one that is no libbpf', () => {
    expect(() => libbpf('libc.so.6')).toThrow(expect.objectContaining({ code: 'LIBBPF_MISSING' }))
  })
})

describe('an interface that does not exist', () => {
  it('is no problem: it has gone', () => {
    const us = start()
    us.attach({ ifindex: 9999, name: 'ghost', kind: 'veth' }, 'veth')
    expect(us.status().interfaces.find(({ name }) => name === 'ghost')).toBeUndefined()
    expect(us.hookCounters().every(({ ifindex }) => ifindex === ifindexOf('v0'))).toBe(true)
  })
})

describe('capabilities', () => {
  const bits = (...numbers: number[]): bigint => numbers.reduce((set, bit) => set | (1n << BigInt(bit)), 0n)

  it('are read from the status file', () => {
    expect(effectiveCapabilities('Name:\tnode\nCapPrm:\t00000000ffffffff\nCapEff:\t000000c000001000\n')).toBe(
      bits(12, 38, 39),
    )
    expect(effectiveCapabilities('')).toBe(0n)
  })

  it('that lack are named; SYS_ADMIN stands for BPF and PERFMON, not for NET_ADMIN', () => {
    const needed = ['CAP_BPF', 'CAP_NET_ADMIN', 'CAP_PERFMON'] as const
    expect(missingCapabilities(needed, bits(12, 38, 39))).toEqual([])
    expect(missingCapabilities(needed, bits(12, 39))).toEqual(['CAP_PERFMON'])
    expect(missingCapabilities(needed, bits(21))).toEqual(['CAP_NET_ADMIN'])
    expect(missingCapabilities(needed, 0n)).toEqual([...needed])
  })

  it('are not blamed for too little locked memory before Linux 5.11', () => {
    const limits =
      'Limit                     Soft Limit           Hard Limit           Units     \n' +
      'Max locked memory         65536                65536                bytes     \n'
    expect(lockedMemory(limits, '5.10.0-28-amd64')).toMatch(
      /locked memory, of which this process may have 64 KiB/,
    )
    expect(lockedMemory(limits, '4.19.0')).toMatch(/64 KiB/)
    expect(lockedMemory(limits, '5.11.0')).toBeUndefined()
    expect(lockedMemory(limits, '6.1.0')).toBeUndefined()
    expect(lockedMemory(limits.replaceAll('65536', 'unlimited'), '5.10.0')).toBeUndefined()
    expect(lockedMemory(undefined, '5.10.0')).toBeUndefined()
  })
})
