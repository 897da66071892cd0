// The small maps against the kernel.

import { closeSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { HookMap, readLosses } from '../../../agent/kernel/counters.js'
import { hook_counters, loss, tunnel_device, tunnel_key } from '../../../agent/kernel/layout.gen.js'
import { BPF_MAP_TYPE_HASH, libbpf } from '../../../agent/kernel/libbpf.js'
import { type Tunnel, TunnelMap } from '../../../agent/kernel/tunnel-map.js'

const BPF_MAP_TYPE_PERCPU_ARRAY = 6
let fd = -1
afterEach(() => {
  closeSync(fd)
})

function make(type: number, key: number, value: number, entries: number): number {
  fd = libbpf().bpf_map_create(type, 'vf_test', key, value, entries, null)
  expect(fd).toBeGreaterThan(0)
  return fd
}

/** All keys and values as hexadecimal text. */
function content(keySize: number, valueSize: number): Record<string, string> {
  const found: Record<string, string> = {}
  let previous: Buffer | null = null
  for (;;) {
    const key = Buffer.alloc(keySize)
    if (libbpf().bpf_map_get_next_key(fd, previous, key) !== 0) return found
    const value = Buffer.alloc(valueSize)
    libbpf().bpf_map_lookup_elem(fd, key, value)
    found[key.toString('hex')] = value.toString('hex')
    previous = key
  }
}

describe('tunnels', () => {
  const tunnels = (): Record<string, string> => content(tunnel_key.size, tunnel_device.size)
  const map = (): TunnelMap => new TunnelMap(make(BPF_MAP_TYPE_HASH, tunnel_key.size, tunnel_device.size, 64))
  const vxlan: Tunnel = { port: 8472, protocol: 17, family: 4, type: 1, local: Uint8Array.of(10, 0, 0, 1) }
  const zeros = '0'.repeat(24 + 32)

  it('stand in the map in network order, and go when they go', () => {
    const under = map()
    const ipip: Tunnel = { port: 0, protocol: 4, family: 4, type: 3 }
    under.set([vxlan, ipip])
    expect(tunnels()).toEqual({
      '21181104': `0a000001${zeros}00010000`,
      '00000404': `00000000${zeros}00030000`,
    })
    under.set([ipip])
    expect(Object.keys(tunnels())).toEqual(['00000404'])
    under.set([{ ...ipip, local: Uint8Array.of(10, 0, 0, 2) }])
    expect(tunnels()).toEqual({ '00000404': `0a000002${zeros}00030000` })
    under.set([])
    expect(tunnels()).toEqual({})
  })

  it('of two devices with one port and different addresses are open for any', () => {
    const under = map()
    under.set([vxlan, { ...vxlan, local: Uint8Array.of(10, 0, 0, 2) }])
    expect(tunnels()).toEqual({ '21181104': `00000000${zeros}00010000` })
    under.set([vxlan, vxlan])
    expect(tunnels()).toEqual({ '21181104': `0a000001${zeros}00010000` })
  })

  it('of devices with one port take the ids of all, and any when they are many', () => {
    const under = map()
    const ids = (...all: (number | undefined)[]): string => {
      under.set(all.map((id) => ({ ...vxlan, ...(id === undefined ? {} : { id }) })))
      return tunnels()['21181104']?.slice(32) ?? ''
    }
    expect(ids(1, 0xabcdef, 1)).toBe('01000000efcdab00000000000000000002010000')
    expect(ids(1, 2, 3, 4)).toBe('0100000002000000030000000400000004010000')
    expect(ids(1, 2, 3, 4, 5)).toBe(`${'0'.repeat(32)}00010000`)
    expect(ids(1, undefined)).toBe(`${'0'.repeat(32)}00010000`)
  })

  it('count on their devices only when all of them are hooked', () => {
    const under = map()
    under.set([
      { ...vxlan, inside: true },
      { ...vxlan, inside: true },
    ])
    expect(tunnels()['21181104']?.slice(-4)).toBe('0100')
    under.set([{ ...vxlan, inside: true }, vxlan])
    expect(tunnels()['21181104']?.slice(-4)).toBe('0000')
  })

  it('beyond 64 are left out', () => {
    const under = map()
    under.set(Array.from({ length: 100 }, (_, i) => ({ ...vxlan, port: 5000 + i })))
    expect(Object.keys(tunnels())).toHaveLength(64)
  })
})

describe('hooks', () => {
  it('begin at zero, are read, and are gone', () => {
    const hooks = new HookMap(make(BPF_MAP_TYPE_HASH, 4, hook_counters.size, 2))
    expect(hooks.read(14)).toBeUndefined()
    hooks.insert(14)
    expect(hooks.read(14)).toEqual({
      otherPackets: 0,
      otherBytes: 0,
      lostPackets: 0,
      lostBytes: 0,
      tunnelPackets: 0,
      tunnelBytes: 0,
    })
    libbpf().bpf_map_update_elem(fd, Uint32Array.of(14), BigUint64Array.of(1n, 2n, 3n, 2n ** 40n, 5n, 6n), 0)
    expect(hooks.read(14)).toEqual({
      otherPackets: 1,
      otherBytes: 2,
      lostPackets: 3,
      lostBytes: 2 ** 40,
      tunnelPackets: 5,
      tunnelBytes: 6,
    })
    hooks.delete(14)
    hooks.delete(14)
    expect(hooks.read(14)).toBeUndefined()
  })

  it('of a number with bit 31 are told apart', () => {
    const hooks = new HookMap(make(BPF_MAP_TYPE_HASH, 4, hook_counters.size, 2))
    hooks.insert(2 ** 31 + 14)
    expect(hooks.read(14)).toBeUndefined()
    expect(hooks.read(2 ** 31 + 14)).toBeDefined()
  })

  it('that do not fit are an error', () => {
    const hooks = new HookMap(make(BPF_MAP_TYPE_HASH, 4, hook_counters.size, 1))
    hooks.insert(2)
    expect(() => hooks.insert(3)).toThrow(expect.objectContaining({ code: 'HOOKS_FULL' }))
  })
})

describe('losses', () => {
  it('are summed over all processors', () => {
    make(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, loss.LOSS_COUNT)
    const cpus = libbpf().libbpf_num_possible_cpus()
    const put = (index: number, first: bigint): void => {
      const values = BigUint64Array.from({ length: cpus }, (_, cpu) => first + BigInt(cpu))
      expect(libbpf().bpf_map_update_elem(fd, Uint32Array.of(index), values, 0)).toBe(0)
    }
    put(loss.LOSS_MAP_FULL, 10n)
    put(loss.LOSS_PACKET, 100n)
    put(loss.LOSS_RING_FULL, 2n ** 33n)
    put(loss.LOSS_DNS, 1000n)
    const steps = (cpus * (cpus - 1)) / 2
    expect(readLosses(fd)).toEqual({
      mapFull: 10 * cpus + steps,
      packets: 100 * cpus + steps,
      ringFull: 2 ** 33 * cpus + steps,
      dns: 1000 * cpus + steps,
    })
  })
})
