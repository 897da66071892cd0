import { expect, it } from 'vitest'
import { fuzz } from '../ui-stream/server/fuzz.js'

const MEBIBYTE = 1024 * 1024

it('takes 1,000,000 damaged queries, messages, cursors, expressions and frames', () => {
  fuzz(5000, 99)
  const before = process.memoryUsage()
  let accepted = 0
  let refused = 0
  for (let seed = 1; seed <= 20; seed++) {
    const result = fuzz(50_000, seed)
    accepted += result.accepted
    refused += result.refused
    expect(result.slowest, `seed ${seed}, case ${result.slowestCase}`).toBeLessThan(50)
    expect(result.historyBytes).toBeLessThanOrEqual(2 * MEBIBYTE)
  }
  expect(accepted + refused).toBe(1_000_000)
  const after = process.memoryUsage()
  expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(64 * MEBIBYTE)
  expect(after.heapUsed - before.heapUsed).toBeLessThan(192 * MEBIBYTE)
})
