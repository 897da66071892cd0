// Draining and deleting in batches on real maps, whose content the test knows.

import { closeSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { Drain } from '../../../agent/kernel/drain.js'
import { BPF_MAP_TYPE_HASH, libbpf } from '../../../agent/kernel/libbpf.js'

const KEY_SIZE = 16
const VALUE_SIZE = 24
let fd = -1

afterEach(() => {
  if (fd >= 0) closeSync(fd)
  fd = -1
})

/** A hash whose entry i has the key [i, 0, 0, 7] and the value [i * 3, …]. */
function map(entries: number, maxEntries = entries): void {
  fd = libbpf().bpf_map_create(BPF_MAP_TYPE_HASH, 'vf_test', KEY_SIZE, VALUE_SIZE, maxEntries, null)
  expect(fd).toBeGreaterThan(0)
  const key = new Uint32Array(KEY_SIZE / 4)
  const value = new Uint32Array(VALUE_SIZE / 4)
  for (let i = 0; i < entries; i++) {
    key[0] = i
    key[3] = 7
    value[0] = i * 3
    value[5] = i
    expect(libbpf().bpf_map_update_elem(fd, key, value, 0)).toBe(0)
  }
}

function drain(batch: boolean, batchSize: number, maxEntries: number): Drain {
  return new Drain({ fd, keySize: KEY_SIZE, valueSize: VALUE_SIZE, maxEntries, batch, batchSize })
}

/** Everything a drain gives, by first key word; fails on anything given twice or torn. */
function everything(from: Drain): Map<number, number> {
  const seen = new Map<number, number>()
  const total = from.read((keys, values, count) => {
    for (let i = 0; i < count; i++) {
      const key = keys[i * from.keyWords] ?? -1
      expect(keys[i * from.keyWords + 3]).toBe(7)
      expect(values[i * from.valueWords + 5]).toBe(key)
      expect(seen.has(key)).toBe(false)
      seen.set(key, values[i * from.valueWords] ?? -1)
    }
  })
  expect(total).toBe(seen.size)
  return seen
}

function keysOf(...numbers: number[]): Uint32Array {
  return Uint32Array.from(numbers.flatMap((number) => [number, 0, 0, 7]))
}

describe.each([
  ['in batches', true],
  ['key by key', false],
])('%s', (_name, batch) => {
  it.each([
    [0, 4096],
    [1, 4096],
    [1000, 4096],
    [5000, 256],
    [4096, 4096],
  ])('%i entries come once each, %i at a time', (entries, size) => {
    map(entries, Math.max(entries, 1))
    const seen = everything(drain(batch, size, Math.max(entries, 1)))
    expect(seen.size).toBe(entries)
    for (let i = 0; i < entries; i++) expect(seen.get(i)).toBe(i * 3)
  })

  it('with room for one entry only, buckets that hold several come whole', () => {
    map(3000)
    expect(everything(drain(batch, 1, 3000)).size).toBe(3000)
  })

  it('again gives the same, and new values', () => {
    map(100)
    const from = drain(batch, 16, 100)
    expect(everything(from).size).toBe(100)
    libbpf().bpf_map_update_elem(fd, keysOf(50), new Uint32Array([999, 0, 0, 0, 0, 50]), 0)
    const seen = everything(from)
    expect(seen.size).toBe(100)
    expect(seen.get(50)).toBe(999)
  })

  it('deletes what is there and passes over what is not', () => {
    map(20)
    const from = drain(batch, 16, 20)
    expect(from.delete(keysOf(100, 0, 1, 101, 102, 5, 19, 103), 8)).toBe(4)
    expect([...everything(from).keys()].sort((a, b) => a - b)).toEqual([
      2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
    ])
    expect(from.delete(keysOf(100, 101), 2)).toBe(0)
    expect(from.delete(keysOf(), 0)).toBe(0)
  })

  it('deletes no more than it is told, of a longer array', () => {
    map(10)
    const from = drain(batch, 16, 10)
    expect(from.delete(keysOf(0, 1, 2, 3), 2)).toBe(2)
    expect(everything(from).size).toBe(8)
  })

  it('an array that begins within a larger one is read from its own beginning', () => {
    map(10)
    const from = drain(batch, 16, 10)
    expect(from.delete(keysOf(0, 1, 2, 3).subarray(8), 2)).toBe(2)
    expect([...everything(from).keys()].sort((a, b) => a - b)).toEqual([0, 1, 4, 5, 6, 7, 8, 9])
  })
})
