import { expect, test } from 'vitest'
import type { InterfaceStatus } from '../../agent/kernel/namespace.js'
import { describeUncovered } from '../../agent/uncovered.js'

const device = (name: string, more: Partial<InterfaceStatus>): InterfaceStatus => ({
  netns: 0,
  ifindex: 1,
  name,
  kind: '',
  reheaded: 0,
  ...more,
})

test('says nothing as long as one interface is hooked', () => {
  const hooked = device('veth0', { role: 'veth', attach: 'tcx' })
  expect(describeUncovered([device('lo', { reason: 'loopback' }), hooked], [])).toBeUndefined()
})

test('names what is there and why it is not captured, twelve at most', () => {
  const lo = device('lo', { reason: 'loopback' })
  const broken = device('veth0', { role: 'veth', problem: 'not captured: no way' })
  expect(describeUncovered([lo, broken], [])).toBe(
    'no interface is captured yet: none is here; there are lo (loopback), veth0 (not captured: no way)',
  )
  const many = Array.from({ length: 14 }, (_, i) => device(`d${i}`, { reason: 'x' }))
  expect(describeUncovered(many, ['a*', 'b'])).toMatch(
    /that --interface a\* --interface b asks for; there are d0 \(x\), .*d11 \(x\), 2 more$/,
  )
})
