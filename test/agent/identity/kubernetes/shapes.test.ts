// Every field that a store reads is among those that are taken out of an answer: the stores are given objects that note
// what is read of them.

import { expect, test } from 'vitest'

import { Cluster } from '../../../../agent/identity/cluster.js'
import type { Shape } from '../../../../agent/identity/kubernetes/projection.js'
import { SHAPES } from '../../../../agent/identity/kubernetes/shapes.js'
import { KINDS, type Kind } from '../../../../agent/identity/source.js'
import { recorded } from '../../../fakes/api-server.js'

/** `value`, with the paths of all members that are read of it added to `read`. List positions are left out of paths. */
function watched(value: unknown, read: Set<string>, path = ''): unknown {
  if (Array.isArray(value)) return value.map((element) => watched(element, read, path))
  if (typeof value !== 'object' || value === null) return value
  const inner = new Map<string, unknown>()
  return new Proxy(value as Record<string, unknown>, {
    get(target, key) {
      if (typeof key !== 'string') return undefined
      const full = path === '' ? key : `${path} ${key}`
      read.add(full)
      if (!inner.has(key)) inner.set(key, watched(target[key], read, full))
      return inner.get(key)
    },
  })
}

function has(shape: Shape, path: readonly string[]): boolean {
  if (shape === true) return true
  if (Array.isArray(shape)) return has(shape[0] as Shape, path)
  const [first = '', ...rest] = path
  const inner = (shape as Readonly<Record<string, Shape>>)[first]
  return path.length === 0 || (inner !== undefined && has(inner, rest))
}

test.each(Object.entries(KINDS))('%s', (kind, resource) => {
  const { items } = JSON.parse(recorded(`list-${resource}.json`).toString()) as { items: object[] }
  const read = new Set<string>()
  const cluster = new Cluster('n1', () => 0)
  for (const item of items) cluster.upsert(kind as Kind, watched(item, read))
  // The same without what the recordings happen to have, for what is read in its place.
  for (const item of items) {
    const { metadata } = item as { metadata: object }
    cluster.upsert(kind as Kind, watched({ metadata }, read))
    cluster.remove(kind as Kind, watched(item, read))
  }
  const missing = [...read].filter((path) => !has(SHAPES[kind as Kind], path.split(' ')))
  expect(missing).toEqual([])
  expect(read.size).toBeGreaterThan(2)
})
