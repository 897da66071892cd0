import { expect, it } from 'vitest'
import { fuzz } from './fuzz.js'

const MEBIBYTE = 1024 * 1024

it('takes 50,000 damaged queries, messages, cursors, expressions and frames: an answer or an error, each soon', () => {
  fuzz(2000, 99)
  const before = process.memoryUsage()
  const result = fuzz(50_000, 1)
  const after = process.memoryUsage()
  expect(result.accepted + result.refused).toBe(50_000)
  // Damage is not so great that nothing gets through, nor so small that all does.
  expect(result.accepted).toBeGreaterThan(15_000)
  expect(result.refused).toBeGreaterThan(15_000)
  // CPU time of one case; a collection of garbage may fall into it.
  expect(result.slowest, result.slowestCase).toBeLessThan(50)
  expect(result.historyBytes).toBeLessThanOrEqual(2 * MEBIBYTE)
  expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(64 * MEBIBYTE)
  expect(after.heapUsed - before.heapUsed).toBeLessThan(128 * MEBIBYTE)
})
