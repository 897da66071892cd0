// Objects that the kernel does not take as they are: what is told, what is tried instead, and that nothing stays behind.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { readElf } from '../../../agent/kernel/elf.js'
import { BpfObject } from '../../../agent/kernel/object.js'
import { summary, VerifierError } from '../../../agent/kernel/verifier.js'
import { bpfDescriptors, descriptors, ifindexOf, Node, packetsTo, sendUdp } from './support.js'

const prebuilt = resolve(import.meta.dirname, '../../../bpf/prebuilt')
const SMALL = { maxConnections: 1024, ringBytes: 65536 }
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vethflow-object-'))
  cpSync(prebuilt, folder, { recursive: true })
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Breaks a program of a copied object: its first instruction reads a register that nobody has written. */
function breakProgram(name: string, file = 'flow.bpf.o'): string {
  const path = join(folder, file)
  const bytes = readFileSync(path)
  const elf = readElf(bytes)
  const symbol = elf.symbols.find((candidate) => candidate.name === name)
  const section = elf.sections[symbol?.section ?? 0]
  if (symbol === undefined || section === undefined) throw new Error(`no program ${name}`)
  // r0 = r9
  section.bytes.set([0xbf, 0x90, 0, 0, 0, 0, 0, 0], symbol.value)
  writeFileSync(path, bytes)
  return path
}

describe('a program that the verifier refuses', () => {
  it('is an error with a summary, and the whole log on demand', () => {
    const path = breakProgram('veth_ingress')
    const before = descriptors()
    let error: unknown
    try {
      BpfObject.load({ path, programs: ['veth_ingress'] })
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(VerifierError)
    expect(error).toMatchObject({ code: 'VERIFIER', exitCode: 69 })
    expect((error as VerifierError).message).toMatch(/: R9 !read_ok$/)
    expect((error as VerifierError).log).toMatch(/r0 = r9[\s\S]*R9 !read_ok[\s\S]*processed 1 insns/)
    expect(descriptors()).toEqual(before)
  })

  it('among those that read conntrack costs conntrack and nothing else', () => {
    breakProgram('veth_egress_ct')
    const node = new Node()
    const pod = node.pod('v0', 1)
    const datapath = Datapath.open({ ...SMALL, objectDir: folder })
    try {
      datapath.follow()
      sendUdp(pod, 1, 4500, 5)
      expect(packetsTo(datapath, 4500)).toBe(5)
      expect(datapath.hookCounters().map(({ ifindex }) => ifindex)).toEqual([
        ifindexOf('v0'),
        ifindexOf('v0'),
      ])
      const off = datapath.status().features.filter(({ enabled }) => !enabled)
      expect(off).toEqual([
        { name: 'conntrack', enabled: false, reason: expect.stringContaining('R9 !read_ok') },
      ])
    } finally {
      datapath.close()
      node.close()
    }
    expect(bpfDescriptors()).toEqual([])
  })

  it('in both forms ends the start, and leaves nothing', () => {
    breakProgram('veth_egress_ct')
    breakProgram('veth_egress', 'flow-5.12.bpf.o')
    expect(() => Datapath.open({ ...SMALL, objectDir: folder })).toThrow(VerifierError)
    expect(bpfDescriptors()).toEqual([])
  })

  it('in a role that comes later is a problem of the interfaces of that role', () => {
    breakProgram('uplink_ingress')
    breakProgram('uplink_ingress', 'flow-5.12.bpf.o')
    const node = new Node()
    node.pod('pod0', 1)
    node.pod('up0', 2)
    const datapath = Datapath.open({ ...SMALL, objectDir: folder })
    try {
      datapath.attach({ ifindex: ifindexOf('pod0'), name: 'pod0', kind: 'veth' }, 'veth')
      datapath.attach({ ifindex: ifindexOf('up0'), name: 'up0', kind: 'veth' }, 'uplink')
      const [pod0, up0] = datapath.status().interfaces
      expect(pod0).toMatchObject({ name: 'pod0', attach: 'tcx' })
      expect(up0?.problem).toMatch(/not captured: .*R9 !read_ok/)
      expect(up0).not.toHaveProperty('attach')
    } finally {
      datapath.close()
      node.close()
    }
  })
})

describe('the summary of a verifier log', () => {
  it('is its last line before the statistics', () => {
    expect(summary('0: (bf) r0 = r9\nR9 !read_ok\nprocessed 1 insns (limit 1000000)\n')).toBe('R9 !read_ok')
    expect(summary('')).toBe('it gave no reason')
    expect(summary('x'.repeat(10_000)).length).toBe(300)
  })
})

describe('an opening that fails half way', () => {
  it('leaves no descriptor', () => {
    const before = descriptors()
    // libbpf rounds the ring's size up; we map what we asked for, and refuse what is no power of two.
    expect(() => Datapath.open({ maxConnections: 1024, ringBytes: 70_000 })).toThrow(
      expect.objectContaining({ code: 'RING_MAP' }),
    )
    expect(descriptors()).toEqual(before)
  })

  it('says what to lower when the maps are too big', () => {
    expect(() => Datapath.open({ maxConnections: 2 ** 32 - 1, ringBytes: 65536 })).toThrow(
      expect.objectContaining({
        code: 'BPF_LOAD',
        exitCode: 69,
        message: expect.not.stringMatching(/undefined/),
      }),
    )
    expect(bpfDescriptors()).toEqual([])
  })
})
