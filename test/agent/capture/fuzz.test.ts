// Capture fed with wrong order, losses and noise: nothing is thrown, the deltas of each flow add up to its totals and never
// shrink, and the tables stay within their bounds.

import { describe, expect, it } from 'vitest'
import { FakeKernel, tuple } from './fake-kernel.js'
import { fuzz } from './fuzz.js'

const ROUNDS = Number(process.env.VETHFLOW_FUZZ_ROUNDS ?? 150)
const SEED = Number(process.env.VETHFLOW_FUZZ_SEED ?? 20_261_121)
const STEPS = 800

describe.each([
  ['what the kernel may say, in any order', false],
  ['what no kernel says', true],
])('%s', (_, noise) => {
  it(`holds over ${ROUNDS} rounds from seed ${SEED}`, () => {
    let records = 0
    let malformed = 0
    for (let round = 0; round < ROUNDS; round++) {
      try {
        const result = fuzz(SEED + round, STEPS, noise)
        records += result.records
        malformed += result.malformed
        // twice the kernel's entries and what is remembered
        expect(result.views).toBeLessThanOrEqual(48 * 4 + 16_384 * 1.5)
        expect(result.connections).toBeLessThanOrEqual(48 * 2 + 16_384)
      } catch (cause) {
        throw new Error(`round ${round}, seed ${SEED + round}: ${(cause as Error).message}`, { cause })
      }
    }
    expect(records).toBeGreaterThan(ROUNDS * 20)
    if (noise) expect(malformed).toBeGreaterThan(ROUNDS)
  })
})

describe('a malformed record', () => {
  it.each([0, 1, 4, 15])('of %i words is counted and nothing else', (words) => {
    const kernel = new FakeKernel()
    kernel.raw(new Uint32Array(words))
    expect(kernel.poll()).toEqual([])
    expect(kernel.capture.state()).toMatchObject({ ringRecords: 1, malformed: 1, views: 0, connections: 0 })
  })

  it('of a family, a kind or a length that is none', () => {
    const kernel = new FakeKernel()
    const key = tuple('10.0.0.1', 1, '10.0.0.2', 2)
    for (const kind of [0, 8, 255]) kernel.event(kind, key)
    // those that need a view or a tunnel behind the event, without one
    for (const kind of [2, 3, 6, 7]) kernel.event(kind, key)
    for (const family of [0, 5, 255]) kernel.event(1, { ...key, family: family as 4 })
    expect(kernel.poll()).toEqual([])
    expect(kernel.capture.state()).toMatchObject({ ringRecords: 10, malformed: 10, views: 0, connections: 0 })
  })
})
