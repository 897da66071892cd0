// Endpoints that change under load, in full: a hundred changes a second for half a minute, with both ways to conntrack.

import { expect, it } from 'vitest'
import { churn } from '../corpus/churn.js'

it.each([
  ['read at the hook', []],
  ['told by ctnetlink', ['--disable-feature', 'conntrack']],
])('30 s of 100 changes a second, conntrack %s: no flow has the wrong backend', async (_, flags) => {
  const result = await churn(30, flags)
  console.log(JSON.stringify({ ...result, wrong: result.wrong.length }))
  expect(result.wrong).toEqual([])
  expect(result.backends).toBe(5)
})
