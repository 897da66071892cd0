// Whom to ask for, when again, and how long to believe it. Time is the test's own.

import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { type Found, type Lease, Strangers } from '../../../agent/identity/strangers.js'

type Address = readonly [number, number, number, number]

let asked: string[]
let answer: (address: Address) => Found | undefined
let strangers: Strangers
const lent: Lease[] = []
let released: number

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 })
  asked = []
  lent.length = 0
  released = 0
  answer = () => undefined
  strangers = new Strangers({
    ask: async (address) => {
      asked.push(address.join('.'))
      return answer(address)
    },
    cost: () => 1,
    tokensPerSecond: 10,
    burst: 20,
    nowUs: () => Date.now() * 1000,
  })
})
afterEach(() => {
  strangers.close()
  vi.useRealTimers()
})

const somebody = (who: object): Found => ({
  who,
  lend: (lease) => void lent.push(lease),
  release: () => void released++,
})

test('nobody: not again for 30 s, then a minute, at most half an hour; true once it is known', async () => {
  expect(strangers.want(0, 0, 1, 1)).toBe(false)
  await vi.advanceTimersByTimeAsync(1)
  for (const wait of [30, 60, 120, 240, 480, 960, 1800, 1800]) {
    const before = asked.length
    await vi.advanceTimersByTimeAsync(wait * 1000 - 100)
    expect(strangers.want(0, 0, 1, 1)).toBe(true)
    expect(asked).toHaveLength(before)
    await vi.advanceTimersByTimeAsync(100)
    strangers.want(0, 0, 1, 1)
    await vi.advanceTimersByTimeAsync(1)
    expect(asked).toHaveLength(before + 1)
  }
})

test('somebody: believed for ten minutes, asked again after five when in use', async () => {
  const who = {}
  answer = () => somebody(who)
  strangers.want(0, 0, 1, 1)
  await vi.advanceTimersByTimeAsync(1)
  const [lease] = lent
  expect((lease?.renewUs ?? 0) / 1000 - Date.now()).toBeCloseTo(300_000, -2)
  expect((lease?.untilUs ?? 0) / 1000 - Date.now()).toBeCloseTo(600_000, -2)
  await vi.advanceTimersByTimeAsync(300_000)
  strangers.renew(lease as Lease)
  strangers.renew(lease as Lease)
  await vi.advanceTimersByTimeAsync(1)
  expect(asked).toHaveLength(2)
  expect(lent).toHaveLength(2)
  expect(released).toBe(0)
  // Its address has passed on by the next time.
  answer = () => somebody({})
  await vi.advanceTimersByTimeAsync(300_000)
  strangers.renew(lent[1] as Lease)
  await vi.advanceTimersByTimeAsync(1)
  expect(released).toBe(1)
  expect(strangers.state()).toMatchObject({ lent: 1, asked: 3 })
})

test('no more than the tokens allow: 20 at once, 10 a second from then on', async () => {
  for (let i = 0; i < 200; i++) strangers.want(0, 0, 2, i)
  await vi.advanceTimersByTimeAsync(10)
  expect(asked.length).toBeLessThanOrEqual(20)
  await vi.advanceTimersByTimeAsync(5000)
  expect(asked.length).toBeGreaterThanOrEqual(60)
  expect(asked.length).toBeLessThanOrEqual(72)
  await vi.advanceTimersByTimeAsync(15_000)
  expect(asked).toHaveLength(200)
})

test('a flood of addresses is bounded: the rest is counted and asked for later', async () => {
  for (let i = 0; i < 100_000; i++) strangers.want(0, 0, 3, i)
  const { waiting, refused } = strangers.state()
  expect(waiting).toBeLessThanOrEqual(1024 + 4)
  expect(waiting + refused).toBe(100_000)
  await vi.advanceTimersByTimeAsync(200_000)
  expect(asked).toHaveLength(waiting)
})

test('the oldest make room for new ones, and what was lent is given back', async () => {
  answer = (address) => somebody({ address })
  for (let i = 0; i < 40_000; i += 10) {
    for (let k = 0; k < 10; k++) strangers.want(0, 0, 4, i + k)
    await vi.advanceTimersByTimeAsync(1000)
  }
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked).toHaveLength(40_000)
  expect(strangers.state().lent).toBe(16_384)
  expect(released).toBe(40_000 - 16_384)
})

test('doubt asks at once, also about somebody who was not there', async () => {
  strangers.want(0, 0, 1, 1)
  await vi.advanceTimersByTimeAsync(1)
  strangers.doubt(0, 0, 1, 1)
  expect(asked).toHaveLength(1)
  expect(strangers.want(0, 0, 1, 1)).toBe(false)
  await vi.advanceTimersByTimeAsync(1)
  expect(asked).toHaveLength(2)
})
