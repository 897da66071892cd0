import { isIPv6 } from 'node:net'
import { describe, expect, it } from 'vitest'
import {
  bytesOfWords,
  formatAddress,
  networkHolds,
  parseNetwork,
  wordsOfBytes,
} from '../../../ui-stream/protocol/address.js'
import { cursorOfFlow, formatCursor, parseCursor } from '../../../ui-stream/protocol/cursor.js'
import { globTest } from '../../../ui-stream/protocol/glob.js'
import { labelsMatch, parseLabelSelector } from '../../../ui-stream/protocol/label-selector.js'
import { parseTcpFlagBits, tcpFlagNames } from '../../../ui-stream/protocol/tcp-flags.js'
import { formatTime, parseDuration, parseMoment, parseTime } from '../../../ui-stream/protocol/time.js'

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))

describe('addresses', () => {
  // RFC 5952, sections 4 and 5.
  it.each([
    ['20010db8000000000000000000000001', '2001:db8::1'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['20010db80000000000010000000a0001', '2001:db8::1:0:a:1'],
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['fe800000000000000000000000000000', 'fe80::'],
    ['00010002000300040005000600070008', '1:2:3:4:5:6:7:8'],
    ['00010000000300040005000600070000', '1:0:3:4:5:6:7:0'],
    ['00000000000300040005000000000000', '0:0:3:4:5::'],
    ['20010DB8AAAABBBBCCCCDDDDEEEEFFFF', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff'],
    ['00000000000000000000ffffc0000201', '::ffff:192.0.2.1'],
    ['c0000201', '192.0.2.1'],
    ['00000000', '0.0.0.0'],
    ['ffffffff', '255.255.255.255'],
  ])('%s is %s, there and back', (bytes, text) => {
    expect(formatAddress(hex(bytes))).toBe(text)
    const network = parseNetwork(text)!
    expect(Buffer.from(bytesOfWords(network.words, 0, network.version)).toString('hex')).toBe(
      bytes.toLowerCase(),
    )
  })

  it('gives every random IPv6 address a text that means it', () => {
    let state = 1
    const next = (): number => {
      state = (Math.imul(state, 48271) & 0x7fffffff) >>> 0
      return state
    }
    for (let i = 0; i < 2000; i++) {
      const bytes = new Uint8Array(16)
      for (let g = 0; g < 16; g += 2) if (next() % 3 > 0) bytes.set([next() & 255, next() & 255], g)
      const text = formatAddress(bytes)!
      expect(isIPv6(text)).toBe(true)
      expect(bytesOfWords(parseNetwork(text)!.words, 0, 6)).toEqual(bytes)
      // The platform's own notion of the canonical form.
      expect(`[${text}]`).toBe(new URL(`http://[${text}]/`).hostname)
    }
  })

  it.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '01.2.3.4',
    '1.2.3.4/33',
    '::/129',
    '::1::',
    ':::',
    '1:2:3',
    'g::',
    '1:2:3:4:5:6:7:8:9',
    '10.0.0.0/',
    '10.0.0.0/08',
    'fe80::1%eth0',
    '::1.2.3',
    '1.2.3.4::',
    '12345::',
    '1:2:3:4:5:6:7:8::',
  ])('refuses %j', (text) => expect(parseNetwork(text)).toBeUndefined())

  it('keeps words of bytes, and refuses odd lengths', () => {
    const words = new Uint32Array(8)
    expect(wordsOfBytes(hex('0a000001'), words, 4)).toBe(true)
    expect([...words]).toEqual([0, 0, 0, 0, 0, 0, 0xffff, 0x0a000001])
    expect(wordsOfBytes(new Uint8Array(5), words, 0)).toBe(false)
    expect(networkHolds(parseNetwork('10.0.0.0/8')!, words, 4)).toBe(true)
    expect(networkHolds(parseNetwork('11.0.0.0/8')!, words, 4)).toBe(false)
    expect(networkHolds(parseNetwork('0.0.0.0/0')!, words, 0)).toBe(false)
    expect(formatAddress(new Uint8Array(3))).toBeUndefined()
  })
})

describe('times', () => {
  it.each([
    [0, '1970-01-01T00:00:00.000000Z'],
    [1_790_000_000_123_456, '2026-09-21T14:13:20.123456Z'],
    [1_790_000_000_000_001, '2026-09-21T14:13:20.000001Z'],
  ])('%i is %s', (us, text) => {
    expect(parseTime(text)).toBe(us)
    expect(formatTime(us)).toBe(text)
  })

  it('reads offsets, lower case and fewer or more digits', () => {
    expect(parseTime('2026-09-21T16:13:20.5+02:00')).toBe(1_790_000_000_500_000)
    expect(parseTime('2026-09-21t14:13:20z')).toBe(1_790_000_000_000_000)
    expect(parseTime('2026-09-21T14:13:20.123456999Z')).toBe(1_790_000_000_123_456)
    for (const text of [
      '2026-09-21',
      '2026-13-01T00:00:00Z',
      '2026-09-21T14:13:20',
      'now',
      '1969-12-31T23:59:59Z',
    ]) {
      expect(parseTime(text), text).toBeUndefined()
    }
    expect(formatTime(Number.POSITIVE_INFINITY)).toBeUndefined()
  })

  it('reads durations', () => {
    expect(parseDuration('500ms')).toBe(500)
    expect(parseDuration('1h30m')).toBe(5_400_000)
    expect(parseDuration('1.5s')).toBe(1500)
    expect(parseDuration('2d')).toBe(172_800_000)
    for (const text of ['', '5', 'm', '-5m', '5 m', '5x', '1h30'])
      expect(parseDuration(text), text).toBeUndefined()
    expect(parseMoment('5m', 1_790_000_300_000)).toBe(1_790_000_000_000_000)
    expect(parseMoment('2026-09-21T14:13:20Z', 0)).toBe(1_790_000_000_000_000)
    expect(parseMoment('100d', 0)).toBe(0)
  })
})

describe('cursors', () => {
  it('go there and back', () => {
    expect(parseCursor(formatCursor('01jabc', 42))).toEqual({ agentId: '01jabc', sequence: 42 })
    expect(cursorOfFlow('01jabc:99', 42)).toBe('01jabc:42')
    expect(cursorOfFlow('', 42)).toBeUndefined()
    expect(cursorOfFlow('01jabc:99', 0)).toBeUndefined()
    for (const text of [
      '',
      ':',
      'a',
      'a:',
      ':1',
      'a:x',
      'a:-1',
      'a b:1',
      'a:1:2',
      'a:99999999999999999',
      `${'a'.repeat(200)}:1`,
    ]) {
      expect(parseCursor(text), text).toBeUndefined()
    }
  })
})

describe('globs', () => {
  it.each([
    ['web', 'web', true],
    ['web', 'Web', true],
    ['web', 'web1', false],
    ['web*', 'web', true],
    ['*.example.com', 'www.example.com', true],
    ['*.example.com', 'example.com', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['*a*b*', 'xxaxxbxx', true],
    ['*a*b*', 'xxbxxaxx', false],
    ['*', '', true],
    ['**x', 'x', true],
    ['a.c', 'abc', false],
    ['[ab]', 'a', false],
  ])('%s and %s: %s', (pattern, text, matches) => expect(globTest(pattern)(text)).toBe(matches))

  it('takes no long time over hostile patterns', () => {
    const start = performance.now()
    expect(globTest(`${'*a'.repeat(500)}b`)('a'.repeat(1000))).toBe(false)
    expect(performance.now() - start).toBeLessThan(500)
  })
})

describe('label selectors', () => {
  const labels = { app: 'web', 'kubernetes.io/name': 'x', empty: '' }
  it.each([
    ['app=web', true],
    ['app==web', true],
    ['app = web', true],
    ['app!=web', false],
    ['missing!=web', true],
    ['app', true],
    ['!app', false],
    ['!missing', true],
    ['app in (web,api)', true],
    ['app in ( api , web )', true],
    ['app notin (api)', true],
    ['app notin (api,web)', false],
    ['missing notin (a)', true],
    ['missing in (a)', false],
    ['empty=', true],
    ['empty in ()', true],
    ['kubernetes.io/name=x,app', true],
    ['kubernetes.io/name=x,app=api', false],
    ['toString', false],
    ['constructor=x', false],
  ])('%s: %s', (text, matches) => expect(labelsMatch(parseLabelSelector(text)!, labels)).toBe(matches))

  it.each([
    '',
    ',',
    'app=web,',
    '=web',
    'app=a b',
    'app in web',
    'app in (web',
    'a b',
    '!',
    'app=we$b',
    '-a=b',
    `${'a'.repeat(64)}=b`,
    `a=${'b'.repeat(64)}`,
  ])('refuses %j', (text) => expect(parseLabelSelector(text)).toBeUndefined())
})

describe('TCP flags', () => {
  it('go there and back', () => {
    expect(tcpFlagNames(255)).toEqual(['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'])
    for (let bits = 1; bits < 256; bits++) expect(parseTcpFlagBits(tcpFlagNames(bits).join(','))).toBe(bits)
    expect(parseTcpFlagBits('SYN, ack')).toBe(18)
    for (const text of ['', 'syn,', 'foo', 'syn ack']) expect(parseTcpFlagBits(text)).toBeUndefined()
  })
})
