// Every road of the corpus, with both ways to conntrack: each record is what was written down before.

import { afterAll, afterEach, describe, expect, it } from 'vitest'
import type { Built } from './bed.js'
import { fedObjects, fedRows } from './beds/fed-rows.js'
import { beds } from './beds/index.js'
import { runFed } from './fed.js'
import type { Case } from './judge.js'
import { Ports, runBed } from './run.js'
import { table } from './table.js'

const WAYS: readonly (readonly [string, readonly string[]])[] = [
  ['conntrack read at the hook', []],
  ['conntrack told by ctnetlink', ['--disable-feature', 'conntrack']],
]

const all = new Map<string, Case[]>(WAYS.map(([way]) => [way, []]))
let built: Built | undefined

afterEach(async () => {
  built?.close?.()
  await built?.bed.close()
  built = undefined
})

afterAll(() => {
  for (const [way, cases] of all) if (cases.length > 0) console.log(`\n${table(way, cases)}\n`)
})

describe.each(beds)('the roads of the $name bed', (bed) => {
  it('are told as they were written down', async () => {
    built = await bed.build()
    const ports = new Ports()
    const wrong: string[] = []
    for (const [number, [way, flags]] of WAYS.entries()) {
      const cases = await runBed(bed, built, ports, { flags, reversed: number % 2 === 1 })
      all.get(way)!.push(...cases)
      for (const one of cases)
        for (const text of one.wrong) wrong.push(`${way}, ${one.rules ?? ''} ${one.row.name}: ${text}`)
    }
    expect(wrong).toEqual([])
  }, 180_000)
})

describe('the roads of tunnels whose packets are fed', () => {
  it('are told as they were written down', async () => {
    const wrong: string[] = []
    for (const [way, disable] of [
      [WAYS[0]![0], []],
      [WAYS[1]![0], ['conntrack']],
    ] as const) {
      const cases = await runFed(fedRows, fedObjects, disable)
      all.get(way)!.push(...cases)
      for (const one of cases) for (const text of one.wrong) wrong.push(`${way}, ${one.row.name}: ${text}`)
    }
    expect(wrong).toEqual([])
  }, 120_000)
})
