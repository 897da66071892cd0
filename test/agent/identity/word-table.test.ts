// The hash tables against Map, over many random steps: growth, collisions and deletion in the middle of a run.

import { describe, expect, test } from 'vitest'

import { TupleTable, WordTable } from '../../../agent/identity/word-table.js'

function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state
  }
}

/** 0 and 2^32 - 1 among them. */
function keyOf(n: number): number {
  return n === 2999 ? 0xffffffff : n * 1_431_655
}

describe('tables agree with Map', () => {
  test('one word', () => {
    const next = random(1)
    const table = new WordTable()
    const map = new Map<number, number>()
    for (let step = 0; step < 100_000; step++) {
      // Few keys, so that they are deleted and come again.
      const key = keyOf(next() % 3000)
      if (next() % 3 === 0) {
        table.delete(key)
        map.delete(key)
      } else {
        table.set(key, step)
        map.set(key, step)
      }
      if (step % 1000 === 0) expect(table.size).toBe(map.size)
    }
    for (let i = 0; i < 3000; i++) expect(table.get(keyOf(i))).toBe(map.get(keyOf(i)) ?? -1)
  })

  test('five words', () => {
    const next = random(2)
    const table = new TupleTable()
    const map = new Map<string, number>()
    const key = () => [next() % 2, 0, next() % 7, next() % 40, next() % 5] as const
    for (let step = 0; step < 100_000; step++) {
      const words = key()
      if (next() % 3 === 0) {
        table.delete(...words)
        map.delete(words.join())
      } else {
        table.set(...words, step)
        map.set(words.join(), step)
      }
    }
    expect(table.size).toBe(map.size)
    for (let i = 0; i < 3000; i++) {
      const words = key()
      expect(table.get(...words)).toBe(map.get(words.join()) ?? -1)
    }
  })
})
