import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeAll, expect, test } from 'vitest'

import { Stage, type StatusMessage, Unit } from '../../../ui-stream/protocol/messages.js'
import { build, run, shell } from '../cli/built.js'
import { closeAll, openServer } from '../server/harness.js'

beforeAll(build)
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
})

const AGENT: StatusMessage = {
  nodeName: 'n1',
  agentId: 'a1b2c3',
  version: '0.1.0',
  capturing: true,
  connected: true,
  interfaces: [
    { name: 'veth0a1b2c', index: 7, attach: 'tcx', role: 'veth' },
    { name: 'eth0', index: 2, attach: 'clsact', role: 'uplink' },
    { name: 'macvlan0', index: 9, role: '', problem: 'no host side: not covered' },
  ],
  features: [
    { name: 'tcx', enabled: true },
    { name: 'conntrack', enabled: false, reason: 'the kernel has no bpf_cast_to_kern_ctx' },
  ],
  lost: [
    {
      nodeName: 'n1',
      stage: Stage.STAGE_KERNEL_MAP,
      unit: Unit.UNIT_PACKETS,
      count: 12,
      sinceUs: 1,
      untilUs: 2,
    },
    { nodeName: 'n1', stage: Stage.STAGE_AGENT, unit: Unit.UNIT_RECORDS, count: 0, sinceUs: 1, untilUs: 2 },
  ],
  flowsPerSecond: 123.4,
  connections: 50,
  maxConnections: 131_072,
  identitySource: 'kubernetes',
  resources: [
    { name: 'pods', synced: true, objects: 40, ageMs: 100, restarts: 0 },
    {
      name: 'services',
      synced: false,
      objects: 0,
      ageMs: 100,
      restarts: 3,
      lastError: 'forbidden \u001b[31m',
    },
  ],
  uptimeMs: 185_000,
  timeUs: 1_790_000_000_000_000,
}

test('an agent in words', async () => {
  const server = await openServer({ status: () => AGENT })
  const { code, stdout, stderr } = await run(['status', '--server', server.address])
  expect(stderr).toBe('')
  expect(code).toBe(0)
  expect(stdout).toMatchInlineSnapshot(`
    "n1: capturing (vethflow 0.1.0, run a1b2c3, up 3 min 5 s)
      flows        123/s, 50 of 131072 connections open
      lost         12 packets at KERNEL_MAP
      identity     kubernetes, 1 of 2 not read yet
      clients      0, history of 0B
      resources    pods      40 objects  read          heard 0.1 s ago
                   services  0 objects   not read yet  heard 0.1 s ago  3 restarts  forbidden \\x1b[31m
      interfaces   veth0a1b2c  veth    tcx
                   eth0        uplink  clsact
                   macvlan0            not attached  no host side: not covered
      features     tcx        on
                   conntrack  off  the kernel has no bpf_cast_to_kern_ctx
    "
  `)
})

test('a gateway: each of its agents, the missing ones with their problem', async () => {
  const server = await openServer({
    status: () => [AGENT, { connected: false, problem: 'ws://10.0.0.9:4280: connection refused' }],
  })
  const { stdout } = await run(['status', '--server', `http://${server.address}`])
  expect(stdout).toMatch(/^n1: capturing/m)
  expect(stdout).toContain(
    '(unknown node): not connected\n  problem      ws://10.0.0.9:4280: connection refused\n',
  )
})

test('json is what the server says', async () => {
  const server = await openServer({ status: () => AGENT })
  const { code, stdout } = await run(['status', '-o', 'json'], { VETHFLOW_SERVER: server.address })
  expect(code).toBe(0)
  const answer: unknown = await (await fetch(`http://${server.address}/v1/status`)).json()
  expect(JSON.parse(stdout)).toEqual(answer)
  expect(stdout.trimEnd()).not.toContain('\n')
})

test('colour on a terminal only', async () => {
  const server = await openServer({ status: () => AGENT })
  const { stdout } = await shell(
    `script -qec "vethflow status --server ${server.address}" /dev/null </dev/null`,
  )
  expect(stdout).toContain('\u001b[32mcapturing')
  expect(stdout).toContain('forbidden \\x1b[31m')
})

test.each([
  ['no JSON', 200, '<html>', 1, 'PROTOCOL'],
  ['a list', 200, '[1]', 1, 'PROTOCOL'],
  ['a number', 200, '{"agents": [7]}', 1, 'PROTOCOL'],
  ['nothing there', 404, 'no', 69, 'HTTP 404'],
  ['a refusal', 403, 'no', 77, 'does not let you in'],
])('%s', async (_name, status, body, code, text) => {
  const http = createServer((_request, response) => response.writeHead(status).end(body)).listen(
    0,
    '127.0.0.1',
  )
  ends.push(() => http.close())
  await expect.poll(() => http.listening).toBe(true)
  const finished = await run(['status', '--server', `127.0.0.1:${(http.address() as AddressInfo).port}`])
  expect(finished.code).toBe(code)
  expect(finished.stderr).toContain(text)
  expect(finished.stderr.trimEnd().split('\n')).toHaveLength(1)
})

test('a status with odd types is shown as far as it makes sense', async () => {
  const body = JSON.stringify({
    nodeName: 7,
    version: 'x',
    interfaces: 'none',
    flowsPerSecond: 'many',
    lost: [null, 3],
    features: [{}],
    connected: true,
  })
  const http = createServer((_request, response) => response.end(body)).listen(0, '127.0.0.1')
  ends.push(() => http.close())
  await expect.poll(() => http.listening).toBe(true)
  const { code, stdout } = await run([
    'status',
    '--server',
    `127.0.0.1:${(http.address() as AddressInfo).port}`,
  ])
  expect(code).toBe(0)
  expect(stdout).toContain('(unknown node): not capturing (vethflow x)')
})
