// The parts of access by themselves, where a clock has to be turned or a table has to be filled.

import { describe, expect, test } from 'vitest'
import { FailureLimit } from '../../../ui-stream/server/auth/failure-limit.js'
import { OPEN_GRANT } from '../../../ui-stream/server/auth/grant.js'
import { Tickets } from '../../../ui-stream/server/auth/tickets.js'

describe('failures', () => {
  test('ten at once, then one every six seconds, for each address by itself', () => {
    let now = 0
    const limit = new FailureLimit(() => now)
    for (let i = 0; i < 10; i++) {
      expect(limit.waitMs('192.0.2.1'), `failure ${i}`).toBe(0)
      limit.failed('192.0.2.1')
    }
    expect(limit.waitMs('192.0.2.1')).toBe(6000)
    expect(limit.waitMs('::ffff:192.0.2.1')).toBe(6000)
    expect(limit.waitMs('192.0.2.2')).toBe(0)
    now = 5999
    expect(limit.waitMs('192.0.2.1')).toBeGreaterThan(0)
    now = 6000
    expect(limit.waitMs('192.0.2.1')).toBe(0)
    limit.failed('192.0.2.1')
    expect(limit.waitMs('192.0.2.1')).toBe(6000)
    now += 60_000
    for (let i = 0; i < 10; i++) {
      expect(limit.waitMs('192.0.2.1')).toBe(0)
      limit.failed('192.0.2.1')
    }
    expect(limit.waitMs('192.0.2.1')).toBeGreaterThan(0)
  })

  test.each([
    ['2001:db8::1', '2001:db8:0:0:ffff::9', true],
    ['2001:db8:0:1::1', '2001:db8::1', false],
    ['fe80::1%eth0', 'fe80::2', true],
    ['::1', '::2', true],
    ['2001:db8::', '2001:db8:0:0:1:2:3:4', true],
  ])('%s and %s are one: %s', (one, other, same) => {
    const limit = new FailureLimit(() => 0)
    for (let i = 0; i < 10; i++) limit.failed(one)
    expect(limit.waitMs(other) > 0).toBe(same)
  })

  test('no more than 4,096 addresses are remembered', () => {
    const limit = new FailureLimit(() => 0)
    for (let i = 0; i < 10_000; i++) limit.failed(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    expect(limit.size).toBe(4096)
  })
})

describe('tickets', () => {
  test('are good once, for their origin, for half a minute', () => {
    let now = 0
    const tickets = new Tickets(() => now)
    const issue = () => tickets.issue(OPEN_GRANT, 'https://a')
    const good = issue()
    expect(good).toMatch(/^[\w-]{43}$/)
    expect(tickets.redeem(good, 'https://a')).toBe(OPEN_GRANT)
    expect(tickets.redeem(good, 'https://a')).toBeUndefined()
    const stolen = issue()
    expect(tickets.redeem(stolen, 'https://b')).toBeUndefined()
    expect(tickets.redeem(stolen, 'https://a')).toBeUndefined()
    const late = issue()
    now = 29_999
    const inTime = issue()
    now = 30_000
    expect(tickets.redeem(late, 'https://a')).toBeUndefined()
    expect(tickets.redeem(inTime, 'https://a')).toBe(OPEN_GRANT)
    expect(tickets.redeem('', undefined)).toBeUndefined()
  })

  test('no more than 1,024 wait', () => {
    const tickets = new Tickets(() => 0)
    const first = tickets.issue(OPEN_GRANT, undefined)
    const rest = Array.from({ length: 1024 }, () => tickets.issue(OPEN_GRANT, undefined))
    expect(tickets.size).toBe(1024)
    expect(tickets.redeem(first, undefined)).toBeUndefined()
    expect(tickets.redeem(rest[0]!, undefined)).toBe(OPEN_GRANT)
  })
})
