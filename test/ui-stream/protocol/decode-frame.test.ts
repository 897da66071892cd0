import { describe, expect, it } from 'vitest'
import { FrameDecoder } from '../../../ui-stream/protocol/decode-frame.js'
import { frameToJson } from '../../../ui-stream/protocol/frame-json.js'
import { StreamMessage, type StreamMessageMessage } from '../../../ui-stream/protocol/messages.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import { hookInterface, Random, randomBatch } from '../server/corpus.js'
import { Traffic, trafficInterface } from '../server/traffic.js'

const encoder = new FlowEncoder({ nodeName: 'node-1', agentId: 'a1', hookInterface })

/** A frame with everything that a server may put behind the flows. */
function frame(flows: Uint8Array): Uint8Array {
  const tail = StreamMessage.encode({
    lost: [{ nodeName: 'n', stage: 4, unit: 1, count: 3 }],
    history: { beginsUs: 5, records: 7 },
    cursor: 'a1:17',
  }).finish()
  return Buffer.concat([flows, tail])
}

function both(decoder: FrameDecoder, bytes: Uint8Array): [unknown, unknown] {
  const attempt = (decode: () => StreamMessageMessage): unknown => {
    try {
      const message = decode()
      return { frames: frameToJson(message), again: StreamMessage.encode(message).finish() }
    } catch (error) {
      return (error as Error).name
    }
  }
  return [attempt(() => decoder.decode(bytes)), attempt(() => StreamMessage.decode(bytes))]
}

describe('FrameDecoder', () => {
  it('says what the generated code says, and can be encoded again to the same bytes', () => {
    const decoder = new FrameDecoder()
    const random = new Random(5)
    for (let round = 0; round < 60; round++) {
      const bytes = frame(encoder.encode(randomBatch(random, random.below(60)), 1 + round * 60).batch.bytes)
      const [ours, theirs] = both(decoder, bytes)
      expect(ours).toEqual(theirs)
      expect(Buffer.compare(StreamMessage.encode(decoder.decode(bytes)).finish(), bytes)).toBe(0)
    }
  })

  it('knows fields that no encoder here writes', () => {
    const decoder = new FrameDecoder()
    const flow = {
      id: 5,
      source: { kind: 1, ip: Uint8Array.of(1, 2, 3, 4), port: 80, process: { pid: 7, command: 'x' } },
      destination: { kind: 3, names: ['a.b'], labels: { k: 'v' } },
      drop: { reason: 'NO_SOCKET', packets: 3 },
      dns: { query: 'a.b', answers: ['1.2.3.4'] },
      tcp: { state: 3, smoothedRttUs: 5, retransmits: { forward: 2 }, resetBy: 1 },
      policies: [{ name: 'p' }, { name: 'q' }],
      views: [{ nodeName: 'n1' }, { nodeName: 'n2', forward: { packets: 1 } }],
      sequence: 9,
    }
    for (const { policies, views, ...rest } of [flow]) {
      for (const each of [flow, rest, { ...rest, policies }, { ...rest, views }]) {
        const [ours, theirs] = both(decoder, StreamMessage.encode({ flows: [each, each] }).finish())
        expect(ours).toEqual(theirs)
      }
    }
  })

  it('takes damaged frames as the generated code does', () => {
    const decoder = new FrameDecoder()
    const random = new Random(17)
    let taken = 0
    for (let round = 0; round < 3000; round++) {
      const bytes = Buffer.from(frame(encoder.encode(randomBatch(random, 2), 1).batch.bytes))
      for (let edits = 1 + random.below(3); edits > 0; edits--)
        bytes[random.below(bytes.length)] = random.below(256)
      const cut = random.chance(0.2) ? bytes.subarray(0, random.below(bytes.length)) : bytes
      const [ours, theirs] = both(decoder, cut)
      if (typeof theirs !== 'string') taken++
      expect(ours, `round ${round}: ${cut.toString('hex')}`).toEqual(theirs)
    }
    expect(taken).toBeGreaterThan(300)
  })

  it('is faster than the generated code by a third at least', () => {
    const traffic = new FlowEncoder({ nodeName: 'node-0', agentId: 'a', hookInterface: trafficInterface })
    const { bytes } = traffic.encode(new Traffic(512).next(512, 1.79e15), 1).batch
    const decoder = new FrameDecoder()
    const seconds = (run: () => unknown): number => {
      const start = process.cpuUsage()
      for (let i = 0; i < 40; i++) run()
      const { user, system } = process.cpuUsage(start)
      return user + system
    }
    let [ours, theirs] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
    for (let i = 0; i < 6; i++) {
      ours = Math.min(
        ours,
        seconds(() => decoder.decode(bytes)),
      )
      theirs = Math.min(
        theirs,
        seconds(() => StreamMessage.decode(bytes)),
      )
    }
    expect(theirs / ours).toBeGreaterThan(1.33)
  })
})
