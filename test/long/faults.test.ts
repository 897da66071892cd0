// The table of faults in full: each for a minute, with the patience of the field.

import { describe, test } from 'vitest'

import { FAULTS, play } from '../agent/identity/kubernetes/fault-table.js'

describe.concurrent('the API server', () => {
  test.each(FAULTS.map((fault) => [fault.name, fault] as const))('%s', async (name, fault) => {
    const { askedWhile, rightAfterMs } = await play(fault, 60_000)
    console.log(`${name}: ${askedWhile} requests in 60 s, right after ${(rightAfterMs / 1000).toFixed(1)} s`)
  })
})
