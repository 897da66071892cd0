// Who held an address, and when; and what it costs to ask.

import { isIPv4 } from 'node:net'

import { describe, expect, test } from 'vitest'

import { type AddressWords, parseAddress, parseRange } from '../../../agent/identity/address.js'
import { AddressIndex, LEAD_US } from '../../../agent/identity/address-index.js'
import { RangeSet } from '../../../agent/identity/ranges.js'

function words(text: string): AddressWords {
  const parsed = parseAddress(text)
  if (parsed === undefined) throw new Error(text)
  return parsed
}

const second = 1_000_000
const day = 1_800_000_000 * second

describe.each(['10.244.1.2', '2001:db8::2'])('history of %s', (text) => {
  const address = words(text)
  const at = (index: AddressIndex<{ id: string }>, time: number) => index.get(...address, 0, time)?.id

  test('each holder within its time, nobody in the gap, the next one shortly before it', () => {
    const index = new AddressIndex<{ id: string }>()
    const [a, b] = [{ id: 'a' }, { id: 'b' }]
    index.claim(address, 0, a, 0)
    index.release(address, 0, a, day)
    index.claim(address, 0, b, day + 3600 * second)
    expect(at(index, 1)).toBe('a')
    expect(at(index, day - 1)).toBe('a')
    expect(at(index, day)).toBeUndefined()
    expect(at(index, day + 3600 * second - LEAD_US - 1)).toBeUndefined()
    expect(at(index, day + 3600 * second - LEAD_US)).toBe('b')
    expect(at(index, day * 2)).toBe('b')
  })

  test('who is superseded holds no longer, and its late release changes nothing', () => {
    const index = new AddressIndex<{ id: string }>()
    const [a, b] = [{ id: 'a' }, { id: 'b' }]
    index.claim(address, 0, a, 0)
    index.claim(address, 0, b, day)
    index.release(address, 0, a, day + second)
    expect(at(index, day - 1)).toBe('a')
    expect(at(index, day)).toBe('b')
    expect(at(index, day + 2 * second)).toBe('b')
  })

  test('saying the same again changes nothing', () => {
    const index = new AddressIndex<{ id: string }>()
    const a = { id: 'a' }
    index.claim(address, 0, a, 0)
    index.claim(address, 0, a, day)
    expect(index).toMatchObject({ current: 1, tombstones: 0 })
    expect(at(index, 1)).toBe('a')
  })

  test('what was learnt later does not reach back over who held it', () => {
    const index = new AddressIndex<{ id: string }>()
    index.claim(address, 0, { id: 'a' }, day)
    // A clock that stepped back.
    index.claim(address, 0, { id: 'b' }, day - 5 * second)
    expect(at(index, day + 1)).toBe('b')
  })

  test('passed on 1,000 times, bounded: the youngest are remembered', () => {
    const index = new AddressIndex<{ id: string }>(100)
    for (let i = 0; i < 1000; i++) {
      const holder = { id: String(i) }
      index.claim(address, 0, holder, day + i * 60 * second)
      index.release(address, 0, holder, day + i * 60 * second + 40 * second)
    }
    expect(index.tombstones).toBe(100)
    expect(index.forgotten).toBe(900)
    for (let i = 900; i < 1000; i++) expect(at(index, day + i * 60 * second + second)).toBe(String(i))
    expect(at(index, day + 5 * 60 * second)).toBeUndefined()
  })
})

test('tombstones of many addresses go oldest first and leave nothing behind', () => {
  const index = new AddressIndex<{ id: number }>(50)
  for (let i = 0; i < 5000; i++) {
    const holder = { id: i }
    const address: AddressWords = [0, 0, 0xffff, 0x0a000000 + (i % 300)]
    index.claim(address, 0, holder, i)
    index.release(address, 0, holder, i + 1)
  }
  let known = 0
  for (let i = 0; i < 300; i++) if (index.has(0, 0, 0xffff, 0x0a000000 + i, 0)) known++
  expect(known).toBe(50)
  expect(index.current).toBe(0)
})

test('no tombstones at all', () => {
  const index = new AddressIndex<{ id: string }>(0)
  const address = words('10.0.0.1')
  index.claim(address, 0, { id: 'a' }, 0)
  index.claim(address, 0, { id: 'b' }, 5)
  expect(index.get(...address, 0, 7)?.id).toBe('b')
  expect(index.tombstones).toBe(0)
})

test('50,000 addresses, history included: at least a million lookups a second on a busy machine', () => {
  const index = new AddressIndex<{ id: number }>()
  const count = 50_000
  for (let i = 0; i < count; i++) {
    const address: AddressWords = [0, 0, 0xffff, (0x0af40000 + i * 3) >>> 0]
    if (i % 5 === 0) {
      const before = { id: -i }
      index.claim(address, 0, before, 0)
      index.release(address, 0, before, day)
    }
    index.claim(address, 0, { id: i }, i % 5 === 0 ? day + 60 * second : 0)
  }
  const order = new Uint32Array(65_536)
  let state = 7
  for (let i = 0; i < order.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    order[i] = state % count
  }
  let best = 0
  for (let run = 0; run < 20; run++) {
    let sum = 0
    const began = performance.now()
    for (let i = 0; i < order.length; i++) {
      const pod = order[i]!
      sum += index.get(0, 0, 0xffff, (0x0af40000 + pod * 3) >>> 0, 0, day + 3600 * second)!.id - pod
    }
    best = Math.max(best, order.length / (performance.now() - began))
    expect(sum).toBe(0)
  }
  expect(best * 1000).toBeGreaterThan(1_000_000)
})

describe('addresses', () => {
  test.each<[string, readonly number[] | undefined]>([
    ['10.244.1.2', [0, 0, 0xffff, 0x0af40102]],
    ['255.255.255.255', [0, 0, 0xffff, 0xffffffff]],
    ['::', [0, 0, 0, 0]],
    ['::1', [0, 0, 0, 1]],
    ['2001:db8::ff00:42:8329', [0x20010db8, 0, 0xff00, 0x428329]],
    ['1:2:3:4:5:6:7:8', [0x10002, 0x30004, 0x50006, 0x70008]],
    ['::ffff:10.0.0.1', [0, 0, 0xffff, 0x0a000001]],
    ['64:ff9b::192.0.2.33', [0x64ff9b, 0, 0, 0xc0000221]],
    ['fe80::1%eth0', undefined],
    ['10.0.0', undefined],
    ['010.0.0.1', undefined],
    ['', undefined],
    ['None', undefined],
  ])('%s', (text, expected) => {
    expect(parseAddress(text)).toEqual(expected)
  })

  test('ranges hold exactly their own', () => {
    const set = new RangeSet()
    for (const text of ['10.244.1.0/24', '10.0.0.0/30', 'fd00:10:244::/56', '0.0.0.0/0']) {
      const range = parseRange(text)
      if (range === undefined) throw new Error(text)
      if (text !== '0.0.0.0/0') set.add(range)
    }
    const has = (text: string) => set.has(...words(text))
    expect(
      ['10.244.1.0', '10.244.1.255', '10.0.0.3', 'fd00:10:244::1', 'fd00:10:244:ff::1'].map(has),
    ).toEqual([true, true, true, true, true])
    expect(['10.244.0.255', '10.244.2.0', '10.0.0.4', 'fd00:10:244:100::1', '::1'].map(has)).toEqual([
      false,
      false,
      false,
      false,
      false,
    ])
    const range = parseRange('10.244.1.0/24')
    if (range !== undefined) {
      set.add(range)
      set.delete(range)
      expect(has('10.244.1.7')).toBe(true)
      set.delete(range)
      set.delete(range)
      expect(has('10.244.1.7')).toBe(false)
    }
    expect(['10.0.0.0/33', '10.0.0.0', '::/129', 'x/8', '10.0.0.0/'].map(parseRange)).toEqual(
      new Array(5).fill(undefined),
    )
  })
})

test('dotted addresses: exactly what node:net takes', () => {
  let state = 20261121
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % below
  }
  const pieces = ['0', '1', '9', '10', '25', '255', '256', '00', '.', '.', '.', '.', '', ' ', '-', 'a', '٣']
  let valid = 0
  for (let i = 0; i < 200_000; i++) {
    const whole = random(2) === 0
    const text = whole
      ? [0, 0, 0, 0].map(() => random(300)).join('.')
      : Array.from({ length: 1 + random(9) }, () => pieces[random(pieces.length)]).join('')
    const parsed = parseAddress(text)
    if (!isIPv4(text)) expect(parsed, text).toBeUndefined()
    else {
      valid++
      const octets = text.split('.').map(Number)
      expect(parsed, text).toEqual([0, 0, 0xffff, octets.reduce((word, octet) => word * 256 + octet, 0)])
    }
  }
  expect(valid).toBeGreaterThan(10_000)
})
