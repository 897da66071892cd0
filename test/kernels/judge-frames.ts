// What the maps must hold after script.ts's frames have passed.

import { expect } from 'vitest'
import type { RunResult, ViewResult } from './result.js'
import { type Count, direction, type Script } from './script.js'

function counted(views: readonly ViewResult[]): Record<string, Count> {
  const counts: Record<string, Count> = {}
  for (const view of views)
    for (const dir of [0, 1] as const)
      if (view.counts[dir].packets > 0 || view.counts[dir].bytes > 0)
        counts[view.names[dir]] = view.counts[dir]
  return counts
}

/** contend.c's two tuples as scenario.sh asks for them, and nothing made of both. */
export function expectContended(run: RunResult): void {
  const to = { address: '10.2.0.4', port: 9 }
  expect(run.errors).toEqual([])
  expect(run.done).toBe(true)
  expect(run.losses).toEqual([0, 0, 0, 0])
  expect(counted(run.views)).toEqual({
    [direction(17, { address: '10.1.0.9', port: 1 }, to)]: { packets: 5000, bytes: 5000 * 64 },
    [direction(17, { address: '10.1.0.9', port: 2 }, to)]: { packets: 1000, bytes: 1000 * 96 },
  })
}

/** Every frame is counted where it belongs, once, and nothing else is there. */
export function expectFrames(run: RunResult, script: Script): void {
  expect(run.sent).toBe(script.frames)
  expect(counted(run.views)).toEqual(Object.fromEntries(script.counts))
  expect(run.views).toHaveLength(script.tuples)
  const others: Record<string, Count> = {}
  for (const [hook, { packets, bytes, lost }] of run.hooks) {
    expect(lost).toBe(0)
    if (packets > 0) others[`${run.devices.indexOf(hook >>> 1)} ${hook & 1}`] = { packets, bytes }
  }
  expect(others).toEqual(Object.fromEntries(script.others))
  expect(Object.fromEntries(run.events)).toEqual(script.events)
  expect(run.losses).toEqual([0, 0, 0, 0])
  expect(run.batch).toBe(true)
  // the connection that began again, seen at the uplink too and owned at the veth
  const name = direction(6, { address: '10.1.0.9', port: 40000 }, { address: '10.2.0.3', port: 80 })
  const view = run.views.find((one) => one.names.includes(name))
  expect(view?.generation).toBe(1)
  expect((view?.owners[view.names.indexOf(name)] ?? 0) >>> 1).toBe(run.devices[0])
}
