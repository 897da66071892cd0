// Whatever set of interfaces is captured, a connection counts once: also one that was open before the agent started.

import { afterEach, expect, it } from 'vitest'
import type { Built } from './bed.js'
import { overlay } from './beds/overlay.js'
import type { Mix } from './judge.js'
import { Ports, runBed } from './run.js'
import { table } from './table.js'

const DEVICES = new Set(['eth0', 'flannel.1', 'wire0'])
const captured = (globs: readonly string[]) => globs.flatMap((glob) => ['--interface', glob])

const MIXES: readonly Mix[] = [
  { name: 'veths alone', flags: captured(['veth*']), sees: (word) => !DEVICES.has(word) },
  { name: 'uplinks alone', flags: captured(['eth*']), sees: (word) => word === 'eth0' },
  {
    name: 'all but the overlay',
    flags: ['--exclude-interface', 'flannel*'],
    sees: (word) => word !== 'flannel.1',
  },
  {
    name: 'all and the bridge',
    flags: captured(['veth*', 'eth*', 'flannel*', 'wire*', 'cni0']),
    sees: () => true,
  },
]

let built: Built | undefined
afterEach(async () => {
  await built?.bed.close()
  built = undefined
})

it('one flow with its ends and counts, on any mix of interfaces', async () => {
  built = await overlay.build()
  const ports = new Ports()
  const wrong: string[] = []
  for (const mix of MIXES) {
    const cases = await runBed(overlay, built, ports, { flags: [], mix })
    console.log(table(mix.name, cases))
    expect(cases.reduce((sum, one) => sum + one.records, 0)).toBeGreaterThan(8)
    for (const one of cases) for (const text of one.wrong) wrong.push(`${mix.name}, ${one.row.name}: ${text}`)
  }
  expect(wrong).toEqual([])
}, 180_000)
