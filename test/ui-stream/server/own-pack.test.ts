// Records packed from columns against the same records read and packed: the same to the byte.

import { describe, expect, it } from 'vitest'
import { ByteWriter } from '../../../ui-stream/server/byte-writer.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import { packOwn } from '../../../ui-stream/server/own-pack.js'
import { RecordPacker } from '../../../ui-stream/server/record-pack.js'
import { hookInterface, Random, randomBatch } from './corpus.js'
import { Traffic, trafficInterface } from './traffic.js'

const encoder = (interfaces: typeof hookInterface) =>
  new FlowEncoder({ nodeName: 'n1', agentId: 'a1', hookInterface: interfaces })

describe('packing a record from its columns', () => {
  it.each([
    [
      'anything that capture and identity may say',
      0.001,
      () => {
        const random = new Random(11)
        const from = encoder(hookInterface)
        return () => from.encode(randomBatch(random, 500), 1)
      },
    ],
    [
      'ordinary traffic',
      0.99,
      () => {
        const traffic = new Traffic(500)
        const from = encoder(trafficInterface)
        let second = 0
        return () => from.encode(traffic.next(500, 1.79e15 + second++ * 1e6), 1)
      },
    ],
  ] as const)('gives what reading it gives: %s', (_, share, source) => {
    const next = source()
    let direct = 0
    let all = 0
    for (let round = 0; round < 8; round++) {
      const { batch, rows } = next()
      for (let row = 0; row < batch.count; row++) {
        all++
        const own = new ByteWriter(4096)
        if (!packOwn(own, rows.own!, rows, row)) continue
        direct++
        const packer = new RecordPacker()
        const [from, to] = [batch.offsets[row]!, batch.offsets[row + 1]!]
        expect(packer.read(batch.bytes, from, to, rows, row, 1 + row)).toBe(true)
        const read = new ByteWriter(4096)
        packer.write(read, batch.bytes, rows.columns.timeUs[row]!)
        expect(own.take()).toEqual(read.take())
      }
    }
    expect(direct / all).toBeGreaterThan(share)
  })
})
