// What docs/protocol.md shows byte by byte is what the code says and reads.

import { readFileSync } from 'node:fs'
import { inflateSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { frameToJson } from '../../../ui-stream/protocol/frame-json.js'
import { ClientMessage, StreamMessage } from '../../../ui-stream/protocol/messages.js'
import {
  fromSubscribeJson,
  fromSubscribeMessage,
  toSubscribeMessage,
} from '../../../ui-stream/protocol/subscription.js'

const page = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8')

function block(kind: string): string {
  const found = new RegExp(`^\`\`\`${kind}\n(.*?)^\`\`\``, 'ms').exec(page)
  if (found === null) throw new Error(`docs/protocol.md has no block ${kind}`)
  return found[1]!.trim()
}

function bytes(kind: string): Buffer {
  return Buffer.from(block(`hex ${kind}`).replace(/\s/g, ''), 'hex')
}

function lines(kind: string): unknown[] {
  return block(`json ${kind}`)
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
}

it('shows the Subscribe message in both forms', () => {
  const subscription = fromSubscribeMessage(ClientMessage.decode(bytes('subscribe')).subscribe!)
  const [{ subscribe }] = lines('subscribe') as [{ subscribe: unknown }]
  expect(subscription).toEqual(fromSubscribeJson(subscribe, 0))
  const again = ClientMessage.encode({ subscribe: toSubscribeMessage(subscription) }).finish()
  expect(Buffer.compare(again, bytes('subscribe'))).toBe(0)
})

it('shows a frame in both forms', () => {
  const message = StreamMessage.decode(bytes('frame'))
  expect(frameToJson(message)).toEqual(lines('frame'))
  expect(message.flows[0]!.sequence).toBe(17)
  expect(Buffer.compare(StreamMessage.encode(message).finish(), bytes('frame'))).toBe(0)
})

it('shows a compressed frame', () => {
  const message = StreamMessage.decode(inflateSync(bytes('deflated')))
  expect(frameToJson(message)).toEqual(lines('deflated'))
})
