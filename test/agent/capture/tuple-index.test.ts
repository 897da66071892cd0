// The index against a plain Map, over many random insertions and removals.

import { describe, expect, it } from 'vitest'
import { TupleIndex } from '../../../agent/capture/tuple-index.js'

/** A small generator with a seed, so that a failure can be repeated (mulberry32). */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

describe('TupleIndex', () => {
  it.each([4, 10])('agrees with a Map over 60,000 operations on keys of %i words', (words) => {
    const next = random(words)
    const index = new TupleIndex(words, 500)
    const model = new Map<string, number>()
    const key = new Uint32Array(words)
    for (let i = 0; i < 60_000; i++) {
      key.fill(0)
      // few values, so that keys meet again; in different words, so that hashes collide
      key[Math.floor(next() * words)] = Math.floor(next() * 200)
      const name = key.join()
      const slot = index.find(key, 0)
      expect(slot).toBe(model.get(name) ?? -1)
      if (slot >= 0 && next() < 0.6) {
        index.remove(slot)
        model.delete(name)
      } else if (slot < 0) {
        const made = index.insert(key, 0)
        if (model.size === 500) expect(made).toBe(-1)
        else {
          expect(made).toBeGreaterThanOrEqual(0)
          model.set(name, made)
        }
      }
      expect(index.size).toBe(model.size)
    }
    expect(new Set(model.values()).size).toBe(model.size)
  })

  it('takes no more than its capacity', () => {
    const index = new TupleIndex(4, 3)
    for (let i = 0; i < 3; i++) expect(index.insert(Uint32Array.of(i, 0, 0, 0), 0)).toBe(i)
    expect(index.insert(Uint32Array.of(9, 0, 0, 0), 0)).toBe(-1)
    index.remove(1)
    expect(index.insert(Uint32Array.of(9, 0, 0, 0), 0)).toBe(1)
    expect(index.find(Uint32Array.of(1, 0, 0, 0), 0)).toBe(-1)
  })
})
