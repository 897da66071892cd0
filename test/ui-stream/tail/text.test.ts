import { describe, expect, test } from 'vitest'

import { padEnd, safe, safeJson, shorten, width } from '../../../ui-stream/tail/text.js'

/** What a hostile name may hold, and what of it must not reach a terminal. */
const HOSTILE: readonly [string, string][] = [
  ['\u001b[31mred', '\\x1b[31mred'],
  ['\u001b]0;title\u0007', '\\x1b]0;title\\x07'],
  ['a\rb\nc\td', 'a\\x0db\\x0ac\\x09d'],
  ['\u009b2J', '\\x9b2J'],
  ['\u007f\u0000', '\\x7f\\x00'],
  ['admin\u202egnp.exe', 'admin\\u{202e}gnp.exe'],
  ['\u2066x\u2069', '\\u{2066}x\\u{2069}'],
  ['zero\u200bwidth\u200d\ufeff', 'zero\\u{200b}width\\u{200d}\\u{feff}'],
  ['soft\u00adhyphen', 'soft\\xadhyphen'],
  ['line\u2028para\u2029', 'line\\u{2028}para\\u{2029}'],
  ['nbsp\u00a0space\u3000', 'nbsp\\xa0space\\u{3000}'],
  ['hangul\u3164filler', 'hangul\\u{3164}filler'],
  ['blank\u2800', 'blank\\u{2800}'],
  ['tag\u{e0041}', 'tag\\u{e0041}'],
  ['lone\ud800', 'lone\\u{d800}'],
  ['private\ue000', 'private\\u{e000}'],
  ['z\u0335\u0336\u0337', 'z\\u{335}\\u{336}\\u{337}'],
]

describe('safe', () => {
  test.each(HOSTILE)('%j', (hostile, harmless) => {
    expect(safe(hostile)).toBe(harmless)
    expect(safe(hostile)).not.toMatch(
      /[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/,
    )
  })

  test('leaves names alone', () => {
    for (const name of [
      'web-859d8b7c4f-fgph8',
      'kube-system',
      '例え.テスト',
      'münchen.example',
      'Ελλάδα',
      '*.example.com',
    ]) {
      expect(safe(name)).toBe(name)
    }
  })

  test('takes every code unit of the basic plane to something that is printable', () => {
    for (let code = 0; code < 0x10000; code++) {
      const text = safe(`a${String.fromCharCode(code)}b`)
      expect(/^[^\p{C}\p{M}\p{Zl}\p{Zp}]+$/u.test(text), code.toString(16)).toBe(true)
    }
  })
})

test('safeJson changes no value', () => {
  for (const [hostile] of HOSTILE) {
    const line = safeJson(JSON.stringify({ name: hostile }))
    expect(JSON.parse(line)).toEqual({ name: hostile })
    expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/)
  }
})

test('width counts columns', () => {
  expect(width('abc')).toBe(3)
  expect(width('例え')).toBe(4)
  expect(width('ｗｅｂ')).toBe(6)
  expect(width('한국')).toBe(4)
  expect(width('🚀x')).toBe(3)
  expect(width('é…→')).toBe(3)
})

test('shorten cuts the middle and never exceeds its columns', () => {
  expect(shorten('abcdefghij', 5)).toBe('ab…ij')
  expect(shorten('abcdefghij', 10)).toBe('abcdefghij')
  expect(shorten('abc', 1)).toBe('…')
  expect(shorten('abc', 0)).toBe('')
  for (let columns = 0; columns < 20; columns++) {
    for (const text of ['abcdefghijklmnop', '例え例え例え例え', 'a例b例c例d例e']) {
      expect(width(shorten(text, columns))).toBeLessThanOrEqual(columns)
      expect(width(padEnd(shorten(text, columns), columns))).toBe(columns)
    }
  }
})
