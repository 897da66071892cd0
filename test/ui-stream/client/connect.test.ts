import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'

import { ExitCode, VethflowError } from '../../../agent/errors.js'
import { backoffMs } from '../../../ui-stream/client/backoff.js'
import { connect as connectInBrowser } from '../../../ui-stream/client/browser.js'
import { type ConnectOptions, connect, type FeedMessage } from '../../../ui-stream/client/index.js'
import { closeAll, numbered, openServer, range } from '../server/harness.js'
import { TcpProxy } from './tcp-proxy.js'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
})

/** Reads a feed in the background and keeps what comes. */
class Reader {
  readonly messages: FeedMessage[] = []
  error: unknown
  ended = false
  readonly #stop = new AbortController()
  #wake: (() => void)[] = []

  constructor(options: ConnectOptions, open: typeof connect = connect) {
    void this.#run(open({ ...options, signal: this.#stop.signal }))
    ends.push(() => this.stop())
  }

  async #run(feed: AsyncGenerator<FeedMessage, void, void>): Promise<void> {
    try {
      for await (const message of feed) {
        this.messages.push(message)
        for (const wake of this.#wake.splice(0)) wake()
      }
    } catch (error) {
      this.error = error
    }
    this.ended = true
    for (const wake of this.#wake.splice(0)) wake()
  }

  get ids(): number[] {
    return this.messages.flatMap((message) =>
      message.type === 'flows' ? message.flows.map(({ id }) => id ?? 0) : [],
    )
  }

  get lost(): number {
    return this.messages.reduce(
      (sum, message) => sum + (message.type === 'lost' ? (message.lost.count ?? 0) : 0),
      0,
    )
  }

  count(type: FeedMessage['type']): number {
    return this.messages.filter((message) => message.type === type).length
  }

  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      if (this.ended) throw new Error('the feed ended before', { cause: this.error })
      await new Promise<void>((resolve) => this.#wake.push(resolve))
    }
  }

  async finished(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.finished()
  }
}

async function failure(options: ConnectOptions): Promise<VethflowError> {
  const reader = new Reader(options)
  await reader.finished()
  if (reader.error instanceof VethflowError) return reader.error
  throw new Error('no VethflowError', { cause: reader.error })
}

describe.each([
  ['Node', connect],
  ['a browser', connectInBrowser],
] as const)('in %s', (_name, open) => {
  // ws implements the web's interface; Node 20 has no WebSocket of its own.
  Object.assign(globalThis, { WebSocket })

  test('live flows come in order, each once', async () => {
    const server = await openServer()
    const reader = new Reader({ server: server.address }, open)
    await reader.until(() => reader.count('connected') === 1)
    server.publish(numbered(1, 100))
    server.publish(numbered(101, 50))
    await reader.until(() => reader.ids.length >= 150)
    expect(reader.ids).toEqual(range(1, 150))
    expect(reader.messages.findLast((message) => message.type === 'flows')?.cursor).toBe('run1:150')
  })

  test('history ends by itself', async () => {
    const server = await openServer()
    server.publish(numbered(1, 100))
    const reader = new Reader({ server: `ws://${server.address}/`, last: 10 }, open)
    await reader.finished()
    expect(reader.error).toBeUndefined()
    expect(reader.ids).toEqual(range(91, 10))
  })

  test('a token is shown, in the browser by a new ticket for each connection, and stands in no URL', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vethflow-connect-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    const tokenFile = join(folder, 'tokens')
    writeFileSync(tokenFile, 'the-right-token-of-all\n')
    const server = await openServer({ security: { tokenFile } })
    const proxy = await TcpProxy.open(server.address)
    ends.push(() => proxy.close())
    const reader = new Reader({ server: proxy.address, token: 'the-right-token-of-all' }, open)
    await reader.until(() => reader.count('connected') === 1)
    server.publish(numbered(1, 5))
    await reader.until(() => reader.ids.length === 5)
    proxy.cut()
    await reader.until(() => reader.count('disconnected') === 1)
    proxy.mend()
    await reader.until(() => reader.count('connected') === 2)
    server.publish(numbered(6, 5))
    await reader.until(() => reader.ids.length === 10)
    expect(reader.ids).toEqual(range(1, 10))
    const wrong = new Reader({ server: server.address, token: 'the-wrong-token-of-all' }, open)
    await wrong.finished()
    expect(wrong.error).toMatchObject({ code: 'UNAUTHORIZED' })
  })

  test('filters, own and follow travel', async () => {
    const server = await openServer()
    const batch = numbered(1, 100)
    for (let row = 0; row < 100; row++) batch.flows.protocol[row] = row % 2 === 0 ? 6 : 17
    server.publish(batch)
    const filters = [{ name: 'protocol', values: ['udp'], negate: true }]
    const reader = new Reader({ server: server.address, filters, since: '100000d' }, open)
    await reader.finished()
    expect(reader.ids).toEqual(range(1, 100).filter((id) => id % 2 === 1))
  })

  test('compressed frames say the same, and history where it begins', async () => {
    const server = await openServer()
    server.publish(numbered(1, 3000))
    const plain = new Reader({ server: server.address, last: 3000 }, open)
    const compressed = new Reader({ server: server.address, last: 3000, compress: true, history: true }, open)
    await Promise.all([plain.finished(), compressed.finished()])
    expect(compressed.error).toBeUndefined()
    expect(compressed.ids).toEqual(range(1, 3000))
    const flows = (reader: Reader): FeedMessage[] =>
      reader.messages.filter((message) => message.type === 'flows')
    expect(flows(compressed)).toEqual(flows(plain))
    expect(plain.count('history')).toBe(0)
    expect(compressed.messages[1]).toMatchObject({
      type: 'history',
      history: { beginsUs: 1_790_000_000_000_001, records: 3000, resumed: false },
    })
  })

  test('a broken connection is resumed without gap or double', async () => {
    const server = await openServer()
    const proxy = await TcpProxy.open(server.address)
    ends.push(() => proxy.close())
    const reader = new Reader({ server: proxy.address, last: 0, follow: true, maxRetryMs: 50 }, open)
    await reader.until(() => reader.count('connected') === 1)
    server.publish(numbered(1, 10))
    await reader.until(() => reader.ids.length === 10)
    for (let round = 1; round <= 3; round++) {
      proxy.cut()
      await reader.until(() => reader.count('disconnected') >= round)
      server.publish(numbered(round * 10 + 1, 10))
      proxy.mend()
      await reader.until(() => reader.ids.length >= (round + 1) * 10)
    }
    expect(reader.ids).toEqual(range(1, 40))
    expect(reader.count('gap')).toBe(0)
    expect(reader.lost).toBe(0)
    expect(
      reader.messages.filter((message) => message.type === 'connected').map(({ resumed }) => resumed),
    ).toEqual([false, true, true, true])
  })
})

describe('a server that is started anew', () => {
  test('is told as a gap, and all that it has comes', async () => {
    const first = await openServer({ agentId: 'run1' })
    const { address } = first
    const reader = new Reader({ server: address, maxRetryMs: 50 })
    await reader.until(() => reader.count('connected') === 1)
    first.publish(numbered(1, 5))
    await reader.until(() => reader.ids.length === 5)
    await first.close()
    await reader.until(() => reader.count('disconnected') > 0)
    expect(reader.messages.at(-1)).toMatchObject({ type: 'disconnected' })
    const second = await openServer({ agentId: 'run2', listen: address })
    second.publish(numbered(100, 5))
    await reader.until(() => reader.ids.length === 10)
    expect(reader.ids).toEqual([...range(1, 5), ...range(100, 5)])
    expect(reader.messages.filter((message) => message.type === 'gap')).toEqual([
      expect.objectContaining({
        reason: 'the server was started anew',
        // From the last flow that came to when the new run began.
        sinceUs: 1_790_000_000_000_005,
        untilUs: expect.closeTo(Date.now() * 1000, -8),
      }),
    ])
    expect(reader.count('lost')).toBe(0)
  })

  test('says why the connection ended', async () => {
    const server = await openServer()
    const reader = new Reader({ server: server.address, reconnect: false })
    await reader.until(() => reader.count('connected') === 1)
    await server.close()
    await reader.finished()
    expect(reader.error).toMatchObject({ code: 'UNREACHABLE', exitCode: ExitCode.UNAVAILABLE })
    expect(String(reader.error)).toContain('the server stops')
  })
})

test('a slow reader loses the oldest, and every record is either received or told as lost', async () => {
  const server = await openServer({ clientQueueBytes: 256 * 1024, historyBytes: 0 })
  const feed = connect({ server: server.address })
  const first = await feed.next()
  expect(first.value).toMatchObject({ type: 'connected' })
  const batch = numbered(1, 1000)
  const batches = 200
  for (let i = 0; i < batches; i++) {
    for (let row = 0; row < 1000; row++) batch.flows.id[row] = i * 1000 + row + 1
    server.publish(batch)
    await new Promise((resolve) => setImmediate(resolve))
  }
  let received = 0
  let lost = 0
  let last = 0
  for await (const message of feed) {
    if (message.type === 'flows') {
      for (const { id } of message.flows) {
        expect(id).toBeGreaterThan(last)
        last = id ?? 0
      }
      received += message.flows.length
    } else if (message.type === 'lost') lost += message.lost.count ?? 0
    if (last === batches * 1000) break
  }
  expect(received + lost).toBe(batches * 1000)
  // What is received lay in the kernel's buffers or in bounded queues while nobody read; the most of it did not.
  expect(received).toBeLessThan(batches * 500)
})

describe('what no new try can mend ends the feed at once', () => {
  test('a filter that the server does not take', async () => {
    const server = await openServer()
    const error = await failure({
      server: server.address,
      filters: [{ name: 'port', values: ['x'], negate: false }],
    })
    expect(error).toMatchObject({ code: 'BAD_FILTER', exitCode: ExitCode.USAGE })
    expect(error.message).toContain('port')
  })

  test('a token that the server does not take, and one that it does', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vethflow-connect-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    const tokenFile = join(folder, 'tokens')
    writeFileSync(tokenFile, 'the-right-token-of-all\n')
    const server = await openServer({ security: { tokenFile } })
    expect(await failure({ server: server.address, token: 'wrong' })).toMatchObject({
      code: 'UNAUTHORIZED',
      exitCode: ExitCode.NO_PERMISSION,
    })
    const tokens = ['the-right-token-of-all']
    const reader = new Reader({ server: server.address, token: () => tokens.pop() })
    await reader.until(() => reader.count('connected') === 1)
  })

  test('another kind of server', async () => {
    const http = createHttp((_request, response) => response.writeHead(404).end('<html>nothing here')).listen(
      0,
      '127.0.0.1',
    )
    ends.push(() => http.close())
    await once(http, 'listening')
    const error = await failure({ server: `127.0.0.1:${(http.address() as AddressInfo).port}` })
    expect(error).toMatchObject({ code: 'REFUSED' })
  })

  test.each([
    ['bytes that are no message', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]), 'PROTOCOL'],
    ['text', 'hello', 'REFUSED'],
    ['more than a server may send', Buffer.alloc(4 * 1024 * 1024 + 1), 'UNREACHABLE'],
  ])('%s', async (_name, frame, code) => {
    const hostile = new WebSocketServer({
      port: 0,
      host: '127.0.0.1',
      handleProtocols: (offered) => [...offered][0] ?? false,
    })
    ends.push(() => hostile.close())
    await once(hostile, 'listening')
    hostile.on('connection', (socket) => socket.send(frame))
    const server = `127.0.0.1:${(hostile.address() as AddressInfo).port}`
    expect(await failure({ server, reconnect: false })).toMatchObject({ code })
  })

  test('nobody there, when the first try has to do', async () => {
    const error = await failure({ server: '127.0.0.1:1', failFirst: true })
    expect(error).toMatchObject({ code: 'UNREACHABLE', exitCode: ExitCode.UNAVAILABLE })
    expect(error.message).toBe('Cannot read flows from ws://127.0.0.1:1: connection refused')
  })

  test('an address that is none', async () => {
    for (const server of ['', 'ws://', 'ftp://x', 'ws://u:p@x', 'ws://x y']) {
      expect(await failure({ server })).toMatchObject({ code: 'USAGE' })
    }
  })
})

test('a feed that waits for its next try ends when it is told to', async () => {
  const reader = new Reader({ server: '127.0.0.1:1' })
  await reader.until(() => reader.count('disconnected') === 3)
  const started = performance.now()
  await reader.stop()
  expect(performance.now() - started).toBeLessThan(200)
  expect(reader.error).toBeUndefined()
})

test('leaving the loop closes the connection', async () => {
  const server = await openServer()
  for await (const message of connect({ server: server.address })) {
    expect(message.type).toBe('connected')
    expect(server.clients).toBe(1)
    break
  }
  await expect.poll(() => server.clients).toBe(0)
})

test('waits grow from a quarter of a second to the bound, at least half and at most all of it', () => {
  expect([1, 2, 3, 6, 7, 100].map((attempt) => backoffMs(attempt, 15_000, () => 1))).toEqual([
    250, 500, 1000, 8000, 15_000, 15_000,
  ])
  expect([1, 2, 100].map((attempt) => backoffMs(attempt, 15_000, () => 0))).toEqual([125, 250, 7500])
})
