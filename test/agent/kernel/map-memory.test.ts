// What the maps take in the kernel with the shipped defaults, as the kernel itself accounts for them (memlock in fdinfo,
// since 6.4), against what docs/architecture.md states.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { view4, view6 } from '../../../agent/kernel/layout.gen.js'
import { Node } from './support.js'

const MEBIBYTE = 1024 * 1024

/** Bytes of each kind of map that this process holds, each map once. */
function mapBytes(): Map<string, number> {
  const maps = new Map<string, [string, number]>()
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (!readlinkSync(`/proc/self/fd/${fd}`).includes('bpf-map')) continue
    } catch {
      continue // the descriptor of the listing itself
    }
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')
    const field = (name: string) =>
      /\d+/.exec(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(info)?.[0] ?? '')?.[0]
    maps.set(field('map_id') ?? '', [
      `type ${field('map_type')}, value ${field('value_size')}, ${field('max_entries')} entries`,
      Number(field('memlock')),
    ])
  }
  return new Map(maps.values())
}

describe('the maps', () => {
  let node: Node
  let datapath: Datapath | undefined
  afterEach(() => {
    datapath?.close()
    node?.close()
  })

  it('take what docs/architecture.md says', () => {
    node = new Node()
    expect(mapBytes().size).toBe(0)
    datapath = Datapath.open()
    const bytes = mapBytes()
    const sum = [...bytes.values()].reduce((a, b) => a + b, 0)
    console.log([...bytes].map(([name, size]) => `${name}: ${(size / MEBIBYTE).toFixed(2)} MiB`).join('\n'))
    console.log(`all: ${(sum / MEBIBYTE).toFixed(1)} MiB`)
    const of = (name: string) => (bytes.get(name) ?? Number.NaN) / MEBIBYTE
    // entries (192 and 240 bytes), and 16 bytes for each of as many buckets
    expect(of(`type 1, value ${view4.size}, 131072 entries`)).toBeCloseTo((131_072 * 208) / MEBIBYTE, 1)
    expect(of(`type 1, value ${view6.size}, 65536 entries`)).toBeCloseTo((65_536 * 256) / MEBIBYTE, 1)
    expect(sum / MEBIBYTE).toBeLessThan(53)
  })
})
