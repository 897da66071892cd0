import { expect, test } from 'vitest'
import type { TunnelInfo } from '../../../agent/capture/flow-batch.js'
import { MAX_TUNNELS, Tunnels } from '../../../agent/capture/tunnels.js'

const vxlan = (id: number): TunnelInfo => ({
  type: 1,
  id,
  source: Uint8Array.of(192, 0, 2, 1),
  destination: Uint8Array.of(192, 0, 2, 2),
})

test('equal tunnels are one, and -1 is none', () => {
  const tunnels = new Tunnels(() => {})
  const first = tunnels.intern(vxlan(7))
  expect(tunnels.intern(vxlan(7))).toBe(first)
  expect(tunnels.intern(vxlan(8))).not.toBe(first)
  expect(tunnels.get(first)).toEqual(vxlan(7))
  expect(tunnels.get(-1)).toBeUndefined()
})

test('those that nobody is in any more make room for others; the rest keep their numbers', () => {
  const live = new Set<number>()
  let walks = 0
  const tunnels = new Tunnels((use) => {
    walks++
    for (const index of live) use(index)
  })
  const numbers = Array.from({ length: MAX_TUNNELS }, (_, id) => tunnels.intern(vxlan(id)))
  expect(new Set(numbers).size).toBe(MAX_TUNNELS)
  for (const index of numbers) live.add(index)
  // All in use: refused, without a walk over all connections for each.
  const over = Array.from({ length: 1000 }, (_, i) => tunnels.intern(vxlan(100_000 + i)))
  expect(new Set(over)).toEqual(new Set([-1]))
  expect(walks).toBe(1)
  // Ten generations of a thousand: each is told, whatever came before.
  for (const index of numbers.slice(0, 1000)) live.delete(index)
  const kept = tunnels.get(numbers[2000]!)
  let refused = 0
  let wrong = 0
  for (let generation = 0; generation < 10; generation++) {
    const these: number[] = []
    for (let i = 0; i < 1000; i++) {
      const index = tunnels.intern(vxlan(1_000_000 + generation * 1000 + i))
      if (index < 0) refused++
      else {
        if (tunnels.get(index)?.id !== 1_000_000 + generation * 1000 + i) wrong++
        these.push(index)
        live.add(index)
      }
    }
    for (const index of these) live.delete(index)
  }
  expect(wrong).toBe(0)
  // Only until somebody looks again.
  expect(refused).toBeLessThanOrEqual(1024)
  expect(tunnels.get(numbers[2000]!)).toBe(kept)
  expect(tunnels.intern(vxlan(2000))).toBe(numbers[2000])
  expect(tunnels.size).toBeLessThanOrEqual(MAX_TUNNELS)
})
