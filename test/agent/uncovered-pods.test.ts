// Which pods are told as not covered: those that the node would reach by its own way out.

import { expect, it } from 'vitest'
import type { InterfaceStatus } from '../../agent/kernel/namespace.js'
import { UncoveredPods } from '../../agent/uncovered-pods.js'

const device = (ifindex: number, name: string, role: string | undefined) =>
  ({ netns: 0, ifindex, name, kind: '', role }) as unknown as InterfaceStatus
const DEVICES = [device(2, 'eth0', 'uplink'), device(3, 'cni0', undefined), device(4, 'veth1', 'veth')]
const pod = (name: string, ...words: [number, number, number, number][]) => ({
  namespace: 'shop',
  name,
  addresses: words,
})
const V4 = (last: number): [number, number, number, number] => [0, 0, 0xffff, 0x0a000000 + last]

/** By the last octet: where the kernel would send. */
const WAYS = new Map([
  [1, 2],
  [2, 3],
  [3, 4],
])

it('are those behind the uplink, neither those on veths and bridges nor those without a route or an address', () => {
  const asked: number[] = []
  const uncovered = new UncoveredPods((address) => {
    asked.push(address.length)
    return WAYS.get(address.at(-1)!)
  })
  const pods = [
    pod('macvlan', V4(1)),
    pod('bridged', V4(2)),
    pod('routed', V4(3)),
    pod('nowhere', V4(9)),
    pod('starting'),
    pod('macvlan6', [0xfd000000, 0, 0, 1]),
  ]
  // before anything is hooked nobody knows, and nothing is remembered
  expect(
    uncovered.list(
      () => pods,
      () => [],
    ),
  ).toEqual([])
  expect(
    uncovered.list(
      () => pods,
      () => DEVICES,
    ),
  ).toEqual([
    {
      namespace: 'shop',
      pod: 'macvlan',
      reason: 'it has no interface in this node: only what passes eth0 is seen',
    },
    {
      namespace: 'shop',
      pod: 'macvlan6',
      reason: 'it has no interface in this node: only what passes eth0 is seen',
    },
  ])
  expect(asked).toEqual([4, 4, 4, 4, 16])
  // remembered for a while
  expect(
    uncovered.list(
      () => [],
      () => DEVICES,
    ),
  ).toHaveLength(2)
})

it('are bounded in what is told', () => {
  const uncovered = new UncoveredPods(() => 2)
  const many = Array.from({ length: 600 }, (_, i) => pod(`pod-${i}`, V4(i)))
  expect(
    uncovered.list(
      () => many,
      () => DEVICES,
    ),
  ).toHaveLength(100)
})
