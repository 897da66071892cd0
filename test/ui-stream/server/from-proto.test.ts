import { describe, expect, it } from 'vitest'
import { type FlowMessage, StreamMessage } from '../../../ui-stream/protocol/messages.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import { FlowFilter } from '../../../ui-stream/server/filter.js'
import { FlowImporter } from '../../../ui-stream/server/from-proto.js'
import { History } from '../../../ui-stream/server/history.js'
import { columnsOf } from './columns.js'
import { hookInterface, Random, randomBatch } from './corpus.js'

const encoder = new FlowEncoder({ nodeName: 'n', agentId: 'a', hookInterface })

const NO_LIMIT = { scan: 1e9, records: 1e9 }

function decode(bytes: Uint8Array): FlowMessage[] {
  return StreamMessage.decode(bytes).flows
}

describe('FlowImporter', () => {
  it('passes on every byte of a flow but its sequence', () => {
    const importer = new FlowImporter()
    const first = encoder.encode(randomBatch(new Random(11), 500), 1).batch
    const again = importer.encode(decode(first.bytes), 1).batch
    expect(Buffer.compare(again.bytes, first.bytes)).toBe(0)
    expect(again.offsets).toEqual(first.offsets)
    const later = decode(importer.encode(decode(first.bytes), 7001).batch.bytes)
    expect(later.map((flow) => flow.sequence)).toEqual(Array.from({ length: 500 }, (_, i) => 7001 + i))
  })

  it('keeps one object for equal ends, labels heeded', () => {
    const importer = new FlowImporter()
    const end = { kind: 1, namespace: 'a', pod: 'p', labels: { x: '1' } }
    const { rows } = importer.encode(
      [
        { source: { ...end, port: 1 }, destination: { ...end, port: 2 } },
        { source: { ...end, labels: { x: '2' } }, destination: { kind: 1, namespace: 'a', pod: 'p' } },
      ],
      1,
    )
    expect(rows.source[0]).toBe(rows.destination[0])
    expect(new Set([...rows.source, ...rows.destination]).size).toBe(3)
    expect(rows.source[1]!.labels).toEqual({ x: '2' })
  })

  it('filters drops by their reason', () => {
    const { rows } = new FlowImporter().encode([{ drop: { reason: 'NO_SOCKET' } }, { drop: {} }, {}], 1)
    const filter = FlowFilter.compile({
      filters: [{ name: 'drop-reason', values: ['no_socket'], negate: false }],
    })
    expect(filter.select(columnsOf(rows))).toEqual(Uint32Array.of(0))
  })

  it('takes whatever decodes, however damaged', () => {
    const importer = new FlowImporter()
    const history = new History(8 * 1024 * 1024)
    const everything = FlowFilter.compile({ filters: [], own: true })
    const random = new Random(99)
    const filter = FlowFilter.compile({
      filters: [
        { name: 'ip', values: ['10.0.0.0/8', '::/0'], negate: true },
        { name: 'label', values: ['a=b'], negate: true },
        { name: 'interface', values: ['veth*'], negate: true },
      ],
    })
    let damaged = 0
    for (let round = 0; round < 400; round++) {
      const bytes = encoder.encode(randomBatch(random, 5), 1).batch.bytes
      bytes[random.below(bytes.length)] = random.below(256)
      let flows: FlowMessage[]
      try {
        flows = decode(bytes)
      } catch {
        continue
      }
      damaged++
      const { batch, rows } = importer.encode(flows, history.nextSequence)
      expect(batch.count).toBe(flows.length)
      expect(batch.offsets[batch.count]).toBe(batch.bytes.length)
      expect(decode(batch.bytes)).toHaveLength(flows.length)
      history.push(batch, rows)
      const next = history.nextSequence
      const { batch: back } = history.read(next - batch.count, next, everything, false, NO_LIMIT)
      // Whatever it is, history gives it back to the byte, and filters take it.
      expect(Buffer.compare(back!.bytes, batch.bytes)).toBe(0)
      filter.select(columnsOf(rows))
    }
    expect(damaged).toBeGreaterThan(50)
  })
})
