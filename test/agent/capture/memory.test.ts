// What a live connection takes in the agent's memory: the figure that docs/architecture.md states, measured.

import { describe, expect, it } from 'vitest'
import { Capture } from '../../../agent/capture/capture.js'
import type { DrainSource } from '../../../agent/capture/source.js'
import { event as E, EVENT_BYTES4, event_kind as Kind } from '../../../agent/kernel/layout.gen.js'
import { collectGarbage } from '../kernel/support.js'

const GROUP = 500

/** A ring that tells new UDP connections, as many as it is asked for. */
class Openings implements DrainSource {
  #left = 0
  #made = 0
  readonly #record = new Uint32Array(E.size / 4)

  /** Boot time of what is told, microseconds. */
  open(count: number, us: number): void {
    this.#left = count
    this.#record[0] = (us * 1000) >>> 0
    this.#record[1] = Math.floor((us * 1000) / 2 ** 32)
  }

  readRing(sink: (words: Uint32Array, at: number, length: number) => void, max: number): number {
    const record = this.#record
    const count = Math.min(this.#left, max)
    for (let i = 0; i < count; i++) {
      const number = this.#made++
      record[E.packets / 4] = ((4 << 24) | (Kind.EVENT_OPEN << 16) | 1) >>> 0
      record[E.bytes / 4] = 100
      record[E.hook / 4] = 10
      record.set([0x0a000000 + number, 0x0a600000, 0x35001000, 17], E.key / 4)
      sink(record, 0, EVENT_BYTES4)
    }
    this.#left -= count
    return count
  }

  drain(): number {
    return 0
  }

  strides(family: 4 | 6): { keyWords: number; valueWords: number } {
    return family === 4 ? { keyWords: 4, valueWords: 32 } : { keyWords: 10, valueWords: 38 }
  }

  deleteViews(): number {
    return 0
  }

  losses(): { mapFull: number; packets: number; ringFull: number; dns: number } {
    return { mapFull: 0, packets: 0, ringFull: 0, dns: 0 }
  }
}

describe('a live connection', () => {
  it('takes less than 450 bytes of the agent, tables and index included', () => {
    const source = new Openings()
    let boot = 1e9
    const capture = new Capture({
      source,
      maxViews4: 131_072,
      maxViews6: 65_536,
      updateIntervalMs: 5000,
      clock: { bootUs: () => boot, wallUs: () => 1.7e15 + boot },
      hookAttachedAt: () => 1,
      isPodHook: () => false,
      onFlows: () => undefined,
      onLost: () => undefined,
    })
    const open = (connections: number): void => {
      for (let i = 0; i < connections; i += GROUP) {
        source.open(GROUP, boot)
        boot += 5000
        capture.poll()
      }
    }
    // code and buffers that are made once
    open(20_000)
    collectGarbage()
    const before = process.memoryUsage.rss()
    open(100_000)
    collectGarbage()
    const each = (process.memoryUsage.rss() - before) / 100_000
    console.log(`${each.toFixed(0)} bytes a connection`)
    expect(capture.state().connections).toBeGreaterThan(119_000)
    expect(each).toBeGreaterThan(250)
    expect(each).toBeLessThan(450)
  })
})
