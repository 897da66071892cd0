import { expect, test } from 'vitest'

import { humanBytes, humanDuration, humanMicroseconds } from '../../../ui-stream/tail/human.js'

test.each([
  [0, '0B'],
  [999, '999B'],
  [1000, '1.0kB'],
  [1049, '1.0kB'],
  [9949, '9.9kB'],
  [9950, '10kB'],
  [999_499, '999kB'],
  [999_500, '1.0MB'],
  [1_500_000_000, '1.5GB'],
  [Number.MAX_SAFE_INTEGER, '9.0PB'],
])('%i bytes', (bytes, text) => {
  expect(humanBytes(bytes)).toBe(text)
})

test.each([
  [0, '0us'],
  [999, '999us'],
  [1000, '1.0ms'],
  [9949, '9.9ms'],
  [9950, '10ms'],
  [999_500, '1.0s'],
  [4_294_967_295, '4295s'],
])('%i microseconds', (us, text) => {
  expect(humanMicroseconds(us)).toBe(text)
})

test('no number takes more than five columns', () => {
  for (let exponent = 0; exponent < 53; exponent++) {
    for (const value of [2 ** exponent - 1, 2 ** exponent, 2 ** exponent + 1]) {
      expect(humanBytes(value).length).toBeLessThanOrEqual(5)
      if (value < 2 ** 32) expect(humanMicroseconds(value).length).toBeLessThanOrEqual(5)
    }
  }
})

test.each([
  [400, '0.4 s'],
  [12_000, '12 s'],
  [185_000, '3 min 5 s'],
  [7_800_000, '2 h 10 min'],
  [3 * 86_400_000, '3 d 0 h'],
])('%i ms', (ms, text) => {
  expect(humanDuration(ms)).toBe(text)
})
