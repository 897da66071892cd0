import { describe, expect, test } from 'vitest'

import { Line } from '../../../ui-stream/client/line.js'
import type { DialEvents } from '../../../ui-stream/client/transport.js'
import { StreamMessage } from '../../../ui-stream/protocol/messages.js'

const REQUEST = { url: new URL('ws://x'), subprotocol: 'p', token: undefined, ca: undefined }

/** A line whose far end is this test. */
function open(canPause: boolean) {
  const calls: string[] = []
  let events: DialEvents | undefined
  const line = new Line((_request, given) => {
    events = given
    const note = (name: string) => () => void calls.push(name)
    return {
      canPause,
      send: () => undefined,
      pause: note('pause'),
      resume: note('resume'),
      close: note('close'),
    }
  }, REQUEST)
  return { line, calls, events: events! }
}

/** A frame of `flows` flows, about `bytes` long. */
function frame(flows: number, bytes: number): Uint8Array {
  const nodeName = 'n'.repeat(Math.floor(bytes / flows))
  return StreamMessage.encode({ flows: Array.from({ length: flows }, () => ({ nodeName })) }).finish()
}

describe('where the peer can be held back', () => {
  test('it is, from 1 MiB in the queue until a quarter of that is left; nothing is dropped', async () => {
    const { line, calls, events } = open(true)
    events.opened()
    const sent = Array.from({ length: 12 }, () => frame(1, 100_000))
    for (const bytes of sent) events.frame(bytes)
    expect(calls).toEqual(['pause'])
    expect(await line.next(undefined)).toEqual({ type: 'opened' })
    const received: unknown[] = []
    for (let i = 0; i < 12; i++) {
      const before = calls.length
      received.push(await line.next(undefined))
      const left = sent.slice(i + 1).reduce((sum, bytes) => sum + bytes.length, 0)
      if (calls.length > before) expect(left).toBeLessThan(1 << 18)
    }
    expect(calls).toEqual(['pause', 'resume'])
    expect(received).toEqual(sent.map((bytes) => ({ type: 'frame', bytes })))
  })
})

describe('where it cannot', () => {
  test('the oldest frames beyond 16 MiB go, and their flows are counted', async () => {
    const { line, calls, events } = open(false)
    for (let i = 1; i <= 40; i++) events.frame(frame(i, 1_000_000))
    const first = await line.next(undefined)
    // 16 of the 40 frames of about a megabyte fit: 24 go.
    expect(first).toEqual({ type: 'dropped', flows: (24 * 25) / 2 })
    let flows = 0
    for (let i = 0; i < 16; i++) {
      const item = await line.next(undefined)
      if (item?.type === 'frame') flows += StreamMessage.decode(item.bytes).flows.length
    }
    expect(flows + (24 * 25) / 2).toBe((40 * 41) / 2)
    expect(calls).toEqual([])
  })

  test('garbage that has to go counts nothing and harms nothing', async () => {
    const { line, events } = open(false)
    for (let i = 0; i < 20; i++) events.frame(new Uint8Array(1 << 20).fill(255))
    expect((await line.next(undefined))?.type).toBe('frame')
  })
})

test('what came before the end is read before the end', async () => {
  const { line, events } = open(true)
  events.opened()
  events.frame(frame(1, 10))
  events.closed({ code: 1000, reason: '' })
  const types: (string | undefined)[] = []
  for (let i = 0; i < 3; i++) types.push((await line.next(undefined))?.type)
  expect(types).toEqual(['opened', 'frame', 'closed'])
})

test('a reader that waits wakes for what comes, and for its signal', async () => {
  const { line, events } = open(true)
  const stop = new AbortController()
  const waiting = line.next(stop.signal)
  events.opened()
  expect(await waiting).toEqual({ type: 'opened' })
  const more = line.next(stop.signal)
  stop.abort()
  expect(await more).toBeUndefined()
  expect(await line.next(stop.signal)).toBeUndefined()
})
