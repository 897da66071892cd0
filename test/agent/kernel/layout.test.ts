import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { VethflowError } from '../../../agent/errors.js'
import { elfSection, readElf } from '../../../agent/kernel/elf.js'
import { checkLayout } from '../../../agent/kernel/layout/check.js'
import { generateLayout } from '../../../agent/kernel/layout/generate.js'
import { BpfObject } from '../../../agent/kernel/object.js'

const project = resolve(import.meta.dirname, '../../..')
const object = (name: string): Buffer => readFileSync(join(project, 'bpf/prebuilt', name))
const header = readFileSync(join(project, 'bpf/flow.h'), 'utf8')

/** A copy of the main object in which one word of the type information reads differently. */
function doctored(from: string, to: string): Buffer {
  expect(to.length).toBe(from.length)
  const bytes = Buffer.from(object('flow.bpf.o'))
  const section = elfSection(readElf(bytes), '.BTF') as Uint8Array
  const text = Buffer.from(section.buffer, section.byteOffset, section.byteLength)
  const at = text.indexOf(`\0${from}\0`)
  expect(at).toBeGreaterThan(0)
  text.write(to, at + 1)
  return bytes
}

const STRUCT = 4
const ENUM = 6
const VAR = 14

/** A copy whose type information is changed; `find` gives the place of the type of a kind and name. */
function doctoredTypes(
  change: (data: DataView, find: (kind: number, name: string) => number) => void,
): Buffer {
  const bytes = Buffer.from(object('flow.bpf.o'))
  const section = elfSection(readElf(bytes), '.BTF') as Uint8Array
  const data = new DataView(section.buffer, section.byteOffset, section.byteLength)
  const text = Buffer.from(section.buffer, section.byteOffset, section.byteLength)
  const strings = data.getUint32(4, true) + data.getUint32(16, true)
  change(data, (kind, name) => {
    const wanted = text.indexOf(`\0${name}\0`, strings) + 1 - strings
    for (let at = data.getUint32(4, true); at < strings; at += 4)
      if (data.getUint32(at, true) === wanted && ((data.getUint32(at + 4, true) >>> 24) & 0x1f) === kind)
        return at
    throw new Error(`no type ${name}`)
  })
  return bytes
}

describe('the layout of the kernel boundary', () => {
  it.each(['flow.bpf.o', 'flow-5.10.bpf.o'])('in layout.gen.ts is that of %s', (name) => {
    const committed = readFileSync(join(project, 'agent/kernel/layout.gen.ts'), 'utf8')
    expect(generateLayout(object(name), header, 'bpf/flow.h')).toBe(committed)
  })

  it('in socket-layout.gen.ts is that of socket.bpf.o', () => {
    const committed = readFileSync(join(project, 'agent/kernel/socket-layout.gen.ts'), 'utf8')
    const socketHeader = readFileSync(join(project, 'bpf/socket.h'), 'utf8')
    expect(generateLayout(object('socket.bpf.o'), socketHeader, 'bpf/socket.h')).toBe(committed)
  })

  it('accepts the object it was made from', () => {
    expect(() => checkLayout(readElf(object('flow.bpf.o')))).not.toThrow()
  })

  it('names structure and member when a member has another name', () => {
    expect(() => checkLayout(readElf(doctored('conntrack', 'conntrick')))).toThrow(
      expect.objectContaining({
        code: 'LAYOUT_MISMATCH',
        message: expect.stringContaining('struct view has no member conntrack'),
      }),
    )
  })

  it('names the enumeration when a value is called otherwise', () => {
    expect(() => checkLayout(readElf(doctored('MARK_PEER_IS_ROOT', 'MARK_PEER_IS_R00T')))).toThrow(
      expect.objectContaining({ message: expect.stringContaining('enum mark has MARK_PEER_IS_ROOT') }),
    )
  })

  it('names member and offsets when a member has moved', () => {
    const bytes = doctoredTypes((data, find) => {
      // Twelve bytes for the structure, twelve for its first member; the offset is in bits.
      data.setUint32(find(STRUCT, 'hook_counters') + 12 + 12 + 8, 24 * 8, true)
    })
    expect(() => checkLayout(readElf(bytes))).toThrow(
      /struct hook_counters has other_bytes at byte 24 instead of 8/,
    )
  })

  it('names the structure when it has grown', () => {
    const bytes = doctoredTypes((data, find) => data.setUint32(find(STRUCT, 'tunnel_device') + 8, 24, true))
    expect(() => checkLayout(readElf(bytes))).toThrow(/struct tunnel_device has 24 bytes instead of 36/)
  })

  it('tells a structure that is missing', () => {
    expect(() => checkLayout(readElf(doctored('event_tunnel', 'event_funnel')))).toThrow(
      /struct event_tunnel is missing/,
    )
  })

  it('is refused when the same layout means something else', () => {
    const raised = doctoredTypes((data, find) => data.setUint32(find(ENUM, 'abi') + 16, 2, true))
    expect(() => checkLayout(readElf(raised))).toThrow(
      expect.objectContaining({
        code: 'LAYOUT_MISMATCH',
        message: expect.stringContaining('VETHFLOW_ABI = 2 instead of 1'),
      }),
    )
  })
})

describe('an object file', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vethflow-layout-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const load = (bytes: Uint8Array): (() => void) => {
    const path = join(folder, 'flow.bpf.o')
    writeFileSync(path, bytes)
    return () => BpfObject.load({ path, programs: ['veth_ingress'] }).close()
  }

  it('is refused before it is loaded when its layout differs', () => {
    expect(load(doctored('conntrack', 'conntrick'))).toThrow(
      expect.objectContaining({ code: 'LAYOUT_MISMATCH' }),
    )
  })

  it('is refused when its maps have other sizes', () => {
    // The two definitions change places.
    const bytes = doctoredTypes((data, find) => {
      const [hooks, tunnels] = [find(VAR, 'hooks') + 8, find(VAR, 'tunnels') + 8]
      const definition = data.getUint32(hooks, true)
      data.setUint32(hooks, data.getUint32(tunnels, true), true)
      data.setUint32(tunnels, definition, true)
    })
    expect(load(bytes)).toThrow(
      expect.objectContaining({
        code: 'LAYOUT_MISMATCH',
        message: expect.stringContaining(
          'map hooks has keys of 4 and values of 36 bytes instead of 4 and 48',
        ),
      }),
    )
  })

  it('is refused when a map is missing', () => {
    expect(load(doctored('losses', 'bosses'))).toThrow(VethflowError)
  })

  it('is refused when it is cut short anywhere', () => {
    const whole = object('flow.bpf.o')
    for (const length of [0, 3, 63, 64, 1000, whole.length - 1000])
      expect(load(whole.subarray(0, length)), `cut to ${length}`).toThrow(
        expect.objectContaining({ code: 'OBJECT_INVALID' }),
      )
  })

  it('is refused when it is not BPF', () => {
    expect(load(readFileSync(process.execPath).subarray(0, 4096))).toThrow(
      expect.objectContaining({ code: 'OBJECT_INVALID' }),
    )
  })

  it('is missed by name', () => {
    expect(() => BpfObject.load({ path: join(folder, 'nothing.o'), programs: [] })).toThrow(
      expect.objectContaining({ code: 'OBJECT_MISSING', exitCode: 69 }),
    )
  })
})
