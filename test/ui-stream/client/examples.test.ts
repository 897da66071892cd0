// The clients of docs/examples against a real server: they show what comes, go on where they were after the connection
// broke, and end when they have what they asked for.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createContext, runInContext } from 'node:vm'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { closeAll, numbered, openServer, range } from '../server/harness.js'
import { TcpProxy } from './tcp-proxy.js'

const EXAMPLES = fileURLToPath(new URL('../../../docs/examples/', import.meta.url))

/** Debian's, which has Debian's websockets. */
const PYTHON = '/usr/bin/python3'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
})

/** A running example, whose lines can be waited for. */
class Example {
  readonly lines: string[] = []
  stderr = ''
  readonly ended: Promise<number | null>
  #wake: (() => void)[] = []

  constructor(command: string, argv: readonly string[]) {
    const child = spawn(command, argv, { stdio: ['pipe', 'pipe', 'pipe'] })
    ends.push(() => child.kill('SIGKILL'))
    createInterface(child.stdout).on('line', (line) => {
      this.lines.push(line)
      for (const wake of this.#wake.splice(0)) wake()
    })
    child.stderr.on('data', (text: Buffer) => {
      this.stderr += text.toString()
      for (const wake of this.#wake.splice(0)) wake()
    })
    this.ended = new Promise((resolve) => child.on('close', (code) => resolve(code)))
  }

  async until(done: () => boolean): Promise<void> {
    while (!done()) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }
}

describe.each([
  [PYTHON, 'follow.py', (line: string) => line.split(' ')[0]!],
  ['node', 'follow.mjs', (line: string) => (JSON.parse(line) as { time: string }).time],
])('%s %s', (command, file, timeOf) => {
  const time = (id: number): string => `2026-09-21T14:13:20.${String(id).padStart(6, '0')}Z`

  test('shows history and ends', async () => {
    const server = await openServer()
    const named = numbered(1, 200)
    server.publish(named)
    const tcp = range(1, 200).filter((id) => named.flows.protocol[id - 1] === 6)
    const url = `ws://${server.address}/v1/flows`
    const example = new Example(command, [EXAMPLES + file, url, 'last=10', 'protocol=tcp'])
    expect(await example.ended).toBe(0)
    expect(example.stderr).toBe('')
    expect(example.lines.map(timeOf)).toEqual(tcp.slice(-10).map(time))
  })

  test('follows, and goes on behind the last flow when the connection breaks', async () => {
    const server = await openServer()
    const proxy = await TcpProxy.open(server.address)
    ends.push(() => proxy.close())
    server.publish(numbered(1, 5))
    const url = `${proxy.address.replace(/^(?!ws:)/, 'ws://')}/v1/flows`
    const example = new Example(command, [EXAMPLES + file, url, 'last=3', 'follow=true'])
    await example.until(() => example.lines.length === 3)
    proxy.cut()
    server.publish(numbered(6, 5))
    proxy.mend()
    await example.until(() => example.lines.length >= 8)
    expect(example.lines.map(timeOf)).toEqual(range(3, 8).map(time))
  })

  test('says what is wrong with a filter, and does not ask again', async () => {
    const server = await openServer()
    const example = new Example(command, [EXAMPLES + file, `ws://${server.address}/v1/flows`, 'port=http'])
    expect(await example.ended).toBe(1)
    expect(example.stderr).toContain('BAD_FILTER: port="http" is not valid')
  })
})

test('the one line of Python shows flows', async () => {
  const server = await openServer()
  server.publish(numbered(1, 20))
  const example = new Example(PYTHON, ['-m', 'websockets', `ws://${server.address}/v1/flows?last=5`])
  await example.ended
  const text = example.lines.join('\n')
  expect(text.match(/"flow":\{"id":\d+/g)).toEqual(range(16, 5).map((id) => `"flow":{"id":${id}`))
})

test('the page shows flows and changes its filter without a new connection', async () => {
  const server = await openServer()
  const named = numbered(1, 40)
  server.publish(named)
  const html = readFileSync(`${EXAMPLES}page.html`, 'utf8')
  const script = /<script type="module">(.*?)<\/script>/s.exec(html)![1]!
  let opened = 0
  class PageSocket extends WebSocket {
    constructor(url: string, subprotocol: string) {
      super(url, subprotocol, { origin: `http://${server.address}` })
      opened++
      ends.push(() => this.terminate())
    }
  }
  let changed = (): void => {}
  const pre = {
    text: '',
    set textContent(text: string) {
      this.text = text
      changed()
    },
  }
  const state = { textContent: '' }
  const form: { onsubmit?: (event: object) => void } = {}
  const page = createContext({
    document: { getElementById: (id: string) => (id === 'flows' ? pre : state), querySelector: () => form },
    location: { protocol: 'http:', host: server.address },
    WebSocket: PageSocket,
    setTimeout,
    Math,
    JSON,
    Set,
  })
  runInContext(script, page)
  const shown = (): string[] => pre.text.split('\n').filter((line) => line !== '')
  const until = async (done: () => boolean): Promise<void> => {
    while (!done()) {
      await new Promise<void>((resolve) => {
        changed = resolve
      })
    }
  }
  await until(() => shown().length === 20)
  expect(state.textContent).toBe('connected')
  form.onsubmit!({ preventDefault() {}, target: { filter: { value: 'protocol=tcp not.event=closed' } } })
  const wanted = range(0, 40).filter(
    (row) => named.flows.protocol[row] === 6 && named.flows.event[row] !== 3,
  ).length
  expect(wanted).toBeGreaterThan(5)
  // The page's Subscribe has been taken in once a later status of the server says so: it answers in order.
  await new Promise((resolve) => setTimeout(resolve, 200))
  server.publish(named)
  await until(() => shown().length >= 20 + wanted)
  expect(
    shown()
      .slice(20)
      .every((line) => line.includes(' TCP ') && !line.includes(' CLOSED ')),
  ).toBe(true)
  expect(opened).toBe(1)
})
