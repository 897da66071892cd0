// Lists that come in faster than they are worked on leave every turn of the event loop to others, too.

import { createServer, get, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { breathe } from '../../../../agent/identity/kubernetes/turn.js'

const CHUNK = 65_536
const WORK_MS = 4

let server: Server

beforeEach(async () => {
  server = createServer((_, response) => {
    const block = Buffer.alloc(CHUNK)
    let left = 48
    const more = () => {
      while (left-- > 0) if (!response.write(block)) return
      response.end()
    }
    response.on('drain', more)
    more()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

/** Reads three streams at once, 4 ms of work for each chunk; the most chunks in one turn, and all their bytes. */
async function read(worked: (stream: IncomingMessage) => void): Promise<{ most: number; bytes: number }> {
  const { port } = server.address() as AddressInfo
  const streams = await Promise.all(
    [1, 2, 3].map(() => new Promise<IncomingMessage>((resolve) => get({ host: '127.0.0.1', port }, resolve))),
  )
  // Until the sockets hold all that they can.
  await new Promise((resolve) => setTimeout(resolve, 200))
  const seen = { most: 0, bytes: 0 }
  let inTurn = 0
  await Promise.all(
    streams.map(
      (stream) =>
        new Promise((resolve) => {
          stream.on('data', (chunk: Buffer) => {
            if (inTurn++ === 0)
              setImmediate(() => {
                seen.most = Math.max(seen.most, inTurn)
                inTurn = 0
              })
            seen.bytes += chunk.length
            const until = performance.now() + WORK_MS
            while (performance.now() < until);
            worked(stream)
          })
          stream.on('end', resolve)
        }),
    ),
  )
  return seen
}

test('no turn is longer than the budget and a chunk or two of each stream', async () => {
  const { most, bytes } = await read(breathe)
  expect(bytes).toBe(3 * 48 * CHUNK)
  // 10 ms, and then one more chunk of each of three streams, which may come in two pieces.
  expect(most).toBeLessThanOrEqual(10)
  // The same without it, so that the bound means something.
  expect((await read(() => undefined)).most).toBeGreaterThan(10)
})
