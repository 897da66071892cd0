// The user's own names for address ranges.

import { expect, test } from 'vitest'

import { parseRange } from '../../../agent/identity/address.js'
import { Cluster } from '../../../agent/identity/cluster.js'
import { AddressGroups } from '../../../agent/identity/groups.js'
import { ClusterIdentity } from '../../../agent/identity/identity.js'
import type { Name } from '../../../agent/identity/names.js'
import { batchOf } from './batch.js'

function group(text: string, name: string) {
  const range = parseRange(text)
  if (range === undefined) throw new Error(text)
  return { range, name }
}

test('beside whatever else an end is called; the narrowest range counts, and names stay one object', () => {
  const cluster = new Cluster('n1', () => Date.now() * 1000)
  const groups = new AddressGroups([
    group('198.51.100.0/24', 'branch'),
    group('198.51.100.8/29', 'lab'),
    group('0.0.0.0/0', 'v4'),
    group('2001:db8::/32', 'v6'),
    group('10.0.0.0/30', 'db'),
    // The later one counts.
    group('198.51.100.0/24', 'office'),
  ])
  const identity = new ClusterIdentity('kubernetes', cluster, undefined, groups)
  for (const [name, podIP] of [
    ['a', '10.0.0.1'],
    ['b', '10.0.0.9'],
  ]) {
    cluster.upsert('Pod', { metadata: { name, namespace: 's' }, status: { podIP, phase: 'Running' } })
  }
  const named = (address: string): Name =>
    identity.name(batchOf([{ source: '::1', destination: address }])).destination[0] as Name
  const groupOf = (address: string) => named(address).group
  expect(groupOf('198.51.100.7')).toBe('office')
  expect(groupOf('198.51.100.8')).toBe('lab')
  expect(groupOf('198.51.100.15')).toBe('lab')
  expect(groupOf('198.51.100.16')).toBe('office')
  expect(groupOf('8.8.8.8')).toBe('v4')
  expect(groupOf('2001:db8:1::1')).toBe('v6')
  expect(groupOf('2001:db9::1')).toBeUndefined()
  expect(named('10.0.0.1')).toMatchObject({ pod: 'a', group: 'db' })
  expect(named('10.0.0.9')).toMatchObject({ pod: 'b', group: 'v4' })
  expect(named('10.0.0.1')).toBe(named('10.0.0.1'))
  expect(named('198.51.100.8')).toBe(named('198.51.100.9'))
})
