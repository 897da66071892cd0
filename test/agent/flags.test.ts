import { expect, test } from 'vitest'

import { wholeNumber } from '../../agent/flag-values.js'
import { listFlag, nearest, parseFlags, quote, switchFlag, valueFlag } from '../../agent/flags.js'

const TABLE = {
  follow: switchFlag({ name: 'follow', short: 'f', help: '' }),
  quiet: switchFlag({ name: 'quiet', short: 'q', help: '' }),
  output: valueFlag({
    name: 'output',
    short: 'o',
    takes: 'FORM',
    help: '',
    parse: (text) => text,
    fallback: 'compact',
  }),
  last: valueFlag({ name: 'last', takes: 'N', help: '', parse: wholeNumber(0, 9) }),
  node: listFlag({ name: 'node', takes: 'NODE', help: '', parse: (text) => text }),
}
const parse = (...argv: string[]) => parseFlags('x', TABLE, argv).values

test('every way of writing a flag', () => {
  expect(parse()).toEqual({ follow: false, quiet: false, output: 'compact', last: undefined, node: [] })
  expect(parse('-f', '-o', 'json')).toMatchObject({ follow: true, output: 'json' })
  expect(parse('-fo', 'json')).toMatchObject({ follow: true, output: 'json' })
  expect(parse('-fqojson')).toMatchObject({ follow: true, quiet: true, output: 'json' })
  expect(parse('-o=json')).toMatchObject({ output: 'json' })
  expect(parse('--output=a=b')).toMatchObject({ output: 'a=b' })
  expect(parse('--output=')).toMatchObject({ output: '' })
  expect(parse('--follow=no')).toMatchObject({ follow: false })
  expect(parse('--last', '3', '--last', '4')).toMatchObject({ last: 4 })
  expect(parse('--node', 'a', '--node=b')).toMatchObject({ node: ['a', 'b'] })
  expect(parse('--output', '-')).toMatchObject({ output: '-' })
})

test('what was given, and in which order', () => {
  const { given, occurrences } = parseFlags('x', TABLE, ['--node', 'a', '-f', '--node', 'b'], {
    env: { VETHFLOW_LAST: '2', VETHFLOW_OUTPUT: '' },
  })
  expect([...given].sort()).toEqual(['follow', 'last', 'node'])
  expect(occurrences.map(({ key, value }) => [key, value])).toEqual([
    ['node', 'a'],
    ['follow', true],
    ['node', 'b'],
  ])
})

test.each([
  [['--last', '-f'], '--last takes N, and nothing was given'],
  [['--last'], '--last takes N, and nothing was given'],
  [['--last=10'], '--last takes a whole number from 0 to 9, not "10"'],
  [['-fx'], 'x has no flag "-x"'],
  [['--'], 'x has no flag "--"'],
  [['-'], 'x takes no argument "-"'],
  [['--follow=x'], '--follow takes true or false, not "x"'],
])('%j is refused', (argv, message) => {
  expect(() => parse(...argv)).toThrow(message)
})

test('a guess is near or is none', () => {
  expect(nearest('--folow', ['--follow', '--from'])).toBe('--follow')
  expect(nearest('--zebra-crossing', ['--follow', '--from'])).toBeUndefined()
})

test('quoted text is short and harmless', () => {
  expect(quote('a\u001b[31m\u202e\u0085"')).toBe('"a\\u001b[31m\\u202e\\u0085\\""')
  expect(quote('x'.repeat(10_000)).length).toBeLessThan(90)
})
