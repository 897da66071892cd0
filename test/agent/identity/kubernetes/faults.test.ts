// The table of faults in its short form: all at once, each for a few seconds. The full one is test/long/faults.test.ts.

import { describe, test } from 'vitest'

import { FAULTS, play } from './fault-table.js'

describe.concurrent('the API server', () => {
  test.each(FAULTS.map((fault) => [fault.name, fault] as const))(
    '%s',
    async (_, fault) => {
      await play(fault, 5000)
    },
    60_000,
  )
})
