// What is taken out of JSON bytes equals what JSON.parse would have given of it, for recordings and for noise; text that
// breaks off is noticed wherever it does.

import { describe, expect, test } from 'vitest'

import { ItemSplitter } from '../../../../agent/identity/kubernetes/list-page.js'
import { Projection, type Shape } from '../../../../agent/identity/kubernetes/projection.js'
import { SHAPES } from '../../../../agent/identity/kubernetes/shapes.js'
import { isKind } from '../../../../agent/identity/source.js'
import { recorded, recordedLines } from '../../../fakes/api-server.js'

/** The shape applied to what JSON.parse gives: what a projection must agree with. */
function cut(value: unknown, shape: Shape): unknown {
  if (shape === true) return value
  if (Array.isArray(shape)) {
    return Array.isArray(value) ? value.map((element) => cut(element, shape[0] as Shape)) : undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const result: Record<string, unknown> = {}
  for (const [key, inner] of Object.entries(shape)) {
    if (Object.hasOwn(value, key)) result[key] = cut((value as Record<string, unknown>)[key], inner as Shape)
  }
  return result
}

function read(text: string, shape: Shape): unknown {
  return new Projection(shape).read(Buffer.from(text))
}

const lists = [
  ['list-pods.json', 'Pod'],
  ['list-services.json', 'Service'],
  ['list-endpointslices.json', 'EndpointSlice'],
  ['list-nodes.json', 'Node'],
  ['list-namespaces.json', 'Namespace'],
  ['list-replicasets.json', 'ReplicaSet'],
  ['list-jobs.json', 'Job'],
] as const

test.each(lists)('%s, as it was recorded and without white space', (file, kind) => {
  if (!isKind(kind)) throw new Error(kind)
  const shape = { items: [SHAPES[kind]] } as const
  const text = recorded(file).toString()
  const parsed: unknown = JSON.parse(text)
  expect(read(text, shape)).toEqual(cut(parsed, shape))
  expect(read(JSON.stringify(parsed), shape)).toEqual(cut(parsed, shape))
})

test('events, and each of them broken off at every byte', () => {
  const shape = { type: true, object: SHAPES.Pod } as const
  const projection = new Projection(shape)
  for (const line of recordedLines('watchlist-pods.ndjson').slice(0, 12)) {
    expect(projection.read(Buffer.from(line))).toEqual(cut(JSON.parse(line), shape))
  }
  const bytes = recorded('watchlist-pods.ndjson')
  const line = bytes.subarray(0, bytes.indexOf('\n'))
  for (let end = 0; end < line.length; end++) {
    expect(() => projection.read(line.subarray(0, end)), `cut at ${end}`).toThrow(/not JSON/)
  }
})

describe('JSON that nobody expects', () => {
  const shape = { a: true, b: { c: true }, d: [{ e: true }] } as const
  test.each([
    '{}',
    ' { "a" : 1 , "b" : { "c" : [ 1 , { } ] } } ',
    '{"a":"\\u00e4\\n\\"","b":{"c":"ä€😀"},"d":[{"e":-1.5e+3},{},{"e":null,"x":[[]]}]}',
    '{"a":1,"a":2}',
    '{"b":7,"d":{"e":1}}',
    '{"b":null,"d":"[{]"}',
    '{"d":[1,"}",null,{"e":[]},[{"e":1}]]}',
    '{"x":"\\\\","a":"\\\\"}',
    '{"":1,"aa":2,"\\u0061":3}',
    '[1,2]',
    '"text"',
    '7',
  ])('%s', (text) => {
    // An escaped name is not looked for: Kubernetes escapes none of its own.
    const expected = text.includes('\\u0061') ? {} : cut(JSON.parse(text), shape)
    expect(read(text, shape)).toEqual(expected)
  })

  test.each(['', ' ', '{', '{"a"}', '{"a":}', '{"a":1,}', '{"a":1', '{"a":1}}', '{"a":1}{"a":2}', '{a:1}'])(
    'refused: %s',
    (text) => {
      expect(() => read(text, shape)).toThrow(/not JSON/)
    },
  )
  test.each(['{"a":"\\x"}', '{"a":01}', '{"a":nul}', '{"d":[{"e":1},]}', '{"d":[{"e":1}{"e":2}]}'])(
    'refused: %s',
    (text) => {
      expect(() => read(text, shape)).toThrow(/not JSON/)
    },
  )

  test('noise: whatever JSON.parse takes comes out the same', () => {
    let state = 20261121
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      return (state >>> 8) % below
    }
    const names = ['a', 'b', 'c', 'd', 'e', 'ab', '"', '\\', 'ü', '']
    const make = (depth: number): unknown => {
      const kind = random(depth > 4 ? 5 : 7)
      if (kind === 0) return random(1000) - 500
      if (kind === 1) return null
      if (kind === 2) return random(2) === 0
      if (kind < 5) return names[random(names.length)]
      if (kind === 5) return Array.from({ length: random(4) }, () => make(depth + 1))
      return Object.fromEntries(
        Array.from({ length: random(5) }, () => [names[random(names.length)], make(depth + 1)]),
      )
    }
    for (let i = 0; i < 20_000; i++) {
      const value = make(0)
      const text = random(2) === 0 ? JSON.stringify(value) : JSON.stringify(value, null, 2)
      expect(read(text, shape), text).toEqual(cut(value, shape))
    }
  })

  test('noise: flipped bytes make an error or a value, never anything else', () => {
    const line = Buffer.from(recordedLines('watchlist-endpointslices.ndjson')[0] ?? '')
    const projection = new Projection({ type: true, object: SHAPES.EndpointSlice })
    let refused = 0
    for (let i = 0; i < 4000; i++) {
      const bytes = Buffer.from(line)
      bytes[(i * 7919) % bytes.length] = (i * 31) & 0xff
      try {
        projection.read(bytes)
      } catch (error) {
        refused++
        expect(error).toMatchObject({ code: 'KUBERNETES_ANSWER' })
      }
    }
    expect(refused).toBeGreaterThan(100)
  })
})

test('labels that come again are one object; others are not taken for them', () => {
  const projection = new Projection({ labels: true })
  const labelsOf = (text: string) =>
    (projection.read(Buffer.from(text)) as { labels: Record<string, unknown> }).labels
  const first = labelsOf('{"labels":{"a":"1","ü":"2"}}')
  expect(labelsOf('{"x":7,"labels":{"a":"1","ü":"2"}}')).toBe(first)
  expect(labelsOf('{"labels":{"a":"1","ü":"3"}}')).toEqual({ a: '1', ü: '3' })
  for (let i = 0; i < 2000; i++) expect(labelsOf(`{"labels":{"a":"${i}"}}`)).toEqual({ a: String(i) })
  expect(labelsOf('{"labels":{"a":"1","ü":"2"}}')).toEqual(first)
})

describe('pages', () => {
  function split(bytes: Buffer, chunk: number): { items: string[]; rest: unknown } {
    const items: string[] = []
    const splitter = new ItemSplitter((item) => items.push(item.toString()))
    for (let at = 0; at < bytes.length; at += chunk) splitter.take(bytes.subarray(at, at + chunk))
    return { items, rest: splitter.end() }
  }

  test.each([1, 2, 3, 7, 100, 4096, 1 << 20])('in chunks of %i bytes', (chunk) => {
    for (const file of ['page-1.http', 'page-2.http']) {
      const text = recorded(file)
      const bytes = text.subarray(text.indexOf('\n\n') + 2)
      const whole = JSON.parse(bytes.toString()) as { items: unknown[] }
      const { items, rest } = split(bytes, chunk)
      expect(items.map((item) => JSON.parse(item) as unknown)).toEqual(whole.items)
      expect(rest).toEqual({ ...whole, items: [] })
    }
  })

  test('items of any form, none at all, and the word in other places', () => {
    const text =
      '{"metadata":{"x":"\\"items\\":[","items":[1]},"items":[null, 7 ,"a,]",[1,[2]],{"items":[{}]}]}'
    const { items, rest } = split(Buffer.from(text), 5)
    expect(items.map((item) => JSON.parse(item) as unknown)).toEqual(
      (JSON.parse(text) as { items: unknown[] }).items,
    )
    expect(rest).toEqual({ metadata: { x: '"items":[', items: [1] }, items: [] })
    for (const empty of ['{"items":[]}', '{"items":[ \n ]}', '{"items":null}'])
      expect(split(Buffer.from(empty), 3).items).toEqual([])
  })

  test.each(['{"kind":"PodList"}', '{"items":{}}', '[]', '{"items":[{}]', '{"items":[{}', '', '<html>'])(
    'refused: %s',
    (text) => {
      expect(() => split(Buffer.from(text), 4)).toThrow(/page/)
    },
  )
})
