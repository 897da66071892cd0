import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'

import type { FrameJson } from '../../../ui-stream/protocol/json-types.js'
import { Stage, Unit } from '../../../ui-stream/protocol/messages.js'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { build, type Running, run, shell, start } from '../cli/built.js'
import { TcpProxy } from '../client/tcp-proxy.js'
import { Client, closeAll, numbered, openServer } from '../server/harness.js'

beforeAll(build)
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
})

const LOSS = {
  nodeName: 'n1',
  stage: Stage.STAGE_KERNEL_RING,
  unit: Unit.UNIT_RECORDS,
  count: 3,
  sinceUs: 1,
  untilUs: 2,
}

/** Starts a tail and waits until the server has it as a client. */
async function follow(server: { clients: number; address: string }, ...flags: string[]): Promise<Running> {
  const before = server.clients
  const tail = start(['tail', '--server', server.address, ...flags])
  ends.push(() => tail.kill('SIGKILL'))
  await expect.poll(() => server.clients, { timeout: 10_000, interval: 10 }).toBe(before + 1)
  return tail
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

test('json lines are the frames that the server sends', async () => {
  const server = await openServer()
  const json = await Client.open(server, '?labels=true', Subprotocol.JSON)
  const tail = await follow(server, '-o', 'json', '--labels')
  server.publish(numbered(1, 500))
  server.publishLost([LOSS])
  server.publish(numbered(501, 1))
  await tail.says('"cursor":"run1:501"')
  tail.kill('SIGINT')
  const { code, stdout, stderr } = await tail.done
  await json.until(() => json.flows.length === 501)
  const printed = lines(stdout).map((line) => JSON.parse(line) as FrameJson)
  expect(printed).toEqual(json.frames)
  expect(stderr).toBe('501 flows shown, 3 lost\n')
  expect(code).toBe(0)
})

describe('compact', () => {
  test('a line a record, losses and the summary on stderr, no colour off a terminal', async () => {
    const server = await openServer()
    const tail = await follow(server)
    server.publish(numbered(1, 200))
    server.publishLost([LOSS])
    await tail.says('lost 3 records')
    tail.kill('SIGINT')
    const { code, stdout, stderr } = await tail.done
    expect(code).toBe(0)
    expect(lines(stdout)).toHaveLength(200)
    expect(stdout).not.toContain('\u001b')
    expect(stderr).toBe(
      '-- lost 3 records of n1, in the kernel, whose ring buffer was full\n200 flows shown, 3 lost\n',
    )
  })

  test('--last ends by itself, and a variable names the server unless the flag does', async () => {
    const server = await openServer()
    server.publish(numbered(1, 20))
    const { code, stdout } = await run(['tail', '--last', '5'], { VETHFLOW_SERVER: server.address })
    expect(code).toBe(0)
    expect(lines(stdout)).toHaveLength(5)
    const flagged = await run(['tail', '--last', '7', '--server', server.address], {
      VETHFLOW_SERVER: '127.0.0.1:1',
    })
    expect(lines(flagged.stdout)).toHaveLength(7)
  })

  test('--not turns round the next filter only', async () => {
    const server = await openServer()
    const batch = numbered(1, 90)
    for (let row = 0; row < 90; row++) {
      batch.flows.protocol[row] = row % 3 === 0 ? 6 : 17
      batch.flows.destinationPort[row] = row % 2 === 0 ? 53 : 80
      batch.flows.sourcePort[row] = 40_000
      batch.flows.servicePort[row] = row % 2 === 0 ? 53 : 80
    }
    server.publish(batch)
    const argv = [
      'tail',
      '--server',
      server.address,
      '--last',
      '1000',
      '-o',
      'json',
      '--not',
      '--port',
      '53',
      '--protocol',
      'tcp',
    ]
    const { stdout } = await run(argv)
    const ids = lines(stdout).map((line) => (JSON.parse(line) as FrameJson).flow?.id)
    const wanted = Array.from({ length: 90 }, (_, row) => row).filter((row) => row % 2 === 1 && row % 3 === 0)
    expect(ids).toEqual(wanted.map((row) => row + 1))
  })

  test('a token comes from its file or from VETHFLOW_TOKEN, the flag first', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vethflow-tail-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'token')
    writeFileSync(file, 'the-right-token-of-all\n')
    const server = await openServer({ security: { tokenFile: file } })
    const argv = ['tail', '--server', server.address, '--last', '1']
    expect((await run(argv, { VETHFLOW_TOKEN: 'the-right-token-of-all' })).code).toBe(0)
    expect((await run([...argv, '--token-file', file], { VETHFLOW_TOKEN: 'wrong' })).code).toBe(0)
    const refused = await run(argv, { VETHFLOW_TOKEN: 'wrong' })
    expect(refused.code).toBe(77)
    expect(refused.stderr).toMatch(
      /^vethflow tail: UNAUTHORIZED: .*The token is not accepted.*--token-file.*\n$/,
    )
    expect(refused.stderr).not.toContain('wrong')
  })
})

describe('on a terminal', () => {
  test('colour, the whole width, and notices between the flows', async () => {
    const server = await openServer()
    server.publish(numbered(1, 30))
    const tail = `tail --server ${server.address} --last 30`
    const { stdout } = await shell(`script -qec "stty cols 180; vethflow ${tail}" /dev/null </dev/null`)
    const shown = lines(stdout.replaceAll('\r', '')).filter((line) => line.includes('->'))
    expect(shown).toHaveLength(30)
    expect(shown.every((line) => line.includes('\u001b[2m'))).toBe(true)
    const arrows = shown.map((line) => line.replaceAll(/\u001b\[\d+m/g, '').indexOf(' -> '))
    expect(new Set(arrows).size).toBe(1)
    expect(arrows[0]).toBeGreaterThan(60)
  })

  test('NO_COLOR and --color are honoured', async () => {
    const server = await openServer()
    server.publish(numbered(1, 3))
    const tail = `tail --server ${server.address} --last 3`
    const script = (flags: string, env: string) =>
      shell(`script -qec "${env} vethflow ${tail} ${flags}" /dev/null </dev/null`)
    expect((await script('', 'NO_COLOR=1')).stdout).not.toContain('\u001b')
    expect((await script('--color never', '')).stdout).not.toContain('\u001b')
    expect((await script('--color always', 'NO_COLOR=1')).stdout).toContain('\u001b[2m')
    expect((await shell(`vethflow ${tail} --color always`)).stdout).toContain('\u001b[2m')
  })
})

describe('connections that break', () => {
  test('are told on stderr and taken up again behind the last flow', async () => {
    const server = await openServer()
    const proxy = await TcpProxy.open(server.address)
    ends.push(() => proxy.close())
    const tail = start(['tail', '--server', proxy.address, '-f', '--last', '0'])
    ends.push(() => tail.kill('SIGKILL'))
    await expect.poll(() => server.clients, { timeout: 10_000 }).toBe(1)
    server.publish(numbered(1, 2))
    await tail.says('->')
    proxy.cut()
    await tail.says('not connected to')
    server.publish(numbered(3, 2))
    proxy.mend()
    await tail.says('again')
    server.publish(numbered(5, 1))
    await expect.poll(() => lines(tail.stdout()).length).toBe(5)
    tail.kill('SIGTERM')
    const { code, stderr } = await tail.done
    expect(code).toBe(0)
    expect(stderr).toContain('5 flows shown, 0 lost')
    expect(stderr).not.toContain('gap')
  })

  test('end it with --no-reconnect', async () => {
    const server = await openServer()
    const tail = await follow(server, '--no-reconnect')
    await server.close()
    const { code, stderr } = await tail.done
    expect(code).toBe(69)
    expect(lines(stderr)).toEqual([
      '0 flows shown, 0 lost',
      expect.stringMatching(/^vethflow tail: UNREACHABLE: .*the server stops/),
    ])
  })
})

test('a reader that goes away ends it without a word', async () => {
  const server = await openServer()
  server.publish(numbered(1, 5000))
  const { stdout, stderr, code } = await shell(
    `set -o pipefail; vethflow tail --server ${server.address} --last 5000 -f | head -n 3`,
  )
  expect(lines(stdout)).toHaveLength(3)
  expect(stderr).toBe('')
  expect(code).toBe(0)
})

test('a reader that is slow holds the stream back: the rest is told as lost, nothing piles up', async () => {
  const server = await openServer({ historyBytes: 0, clientQueueRecords: 2000 })
  const folder = mkdtempSync(join(tmpdir(), 'vethflow-tail-'))
  ends.push(() => rmSync(folder, { recursive: true }))
  // The reader takes nothing before the file `go` is there, then everything.
  const go = join(folder, 'go')
  const done = shell(
    `vethflow tail --server ${server.address} -o json --no-reconnect 2>/dev/null & echo $! >${folder}/pid; wait`,
    `until [ -e ${go} ]; do sleep 0.02; done; cat`,
  )
  await expect.poll(() => server.clients, { timeout: 10_000 }).toBe(1)
  const batch = numbered(1, 1000)
  for (let i = 0; i < 100; i++) {
    for (let row = 0; row < 1000; row++) batch.flows.id[row] = i * 1000 + row + 1
    server.publish(batch)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const pid = readFileSync(join(folder, 'pid'), 'utf8').trim()
  const most = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  expect(Number(most) / 1024).toBeLessThan(160)
  writeFileSync(go, '')
  // Closing waits for clients two seconds, which may be too short for all that was held back.
  const queued = server.registry.getSingleMetric('vethflow_stream_queued_bytes')!
  await expect.poll(async () => (await queued.get()).values[0]!.value, { timeout: 30_000 }).toBe(0)
  await server.close()
  const { stdout } = await done
  const frames = lines(stdout).map((line) => JSON.parse(line) as FrameJson)
  const flows = frames.filter(({ flow }) => flow !== undefined).length
  const lost = frames.reduce((sum, frame) => sum + (frame.lost?.stage === 'CLIENT' ? frame.lost.count : 0), 0)
  expect(lost).toBeGreaterThan(0)
  expect(flows + lost).toBe(100_000)
})
