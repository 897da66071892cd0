// The demo's cluster is real: names resolve, services translate, and each way to fail fails as it says.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endpoint, type Namespace, repository, Task, Testbed, tcpConnect } from '../testbed/index.js'
import { buildCluster, type Cluster, SERVICE_IPS } from './cluster.js'
import { answer } from './dns-server.js'
import { startTalking } from './talk.js'

describe('the cluster', () => {
  let bed: Testbed
  let cluster: Cluster
  beforeAll(async () => {
    bed = await Testbed.create('demo-test')
    cluster = await buildCluster(bed)
  })
  afterAll(() => bed.close())

  async function lookup(from: Namespace, name: string): Promise<string> {
    const { stdout } = await from.exec(['getent', 'ahostsv4', name], { accept: [0, 2] })
    return stdout.split(/\s/)[0] ?? ''
  }

  it('resolves service names, with and without the search list, and the world', async () => {
    const { pods, website } = cluster
    expect(await lookup(pods.frontend1, 'api')).toBe(SERVICE_IPS.api)
    expect(await lookup(pods.api2, 'kube-dns.kube-system.svc.cluster.local')).toBe(SERVICE_IPS.dns)
    expect(await lookup(pods.report, 'updates.example.com')).toBe(website.ip)
    expect(await lookup(pods.report, 'no-such-service')).toBe('')
  })

  it('connects, refuses, drops and keeps silent', async () => {
    const { pods, nodes, website, visitor, silent } = cluster
    const [n1] = nodes
    const short = { connectTimeout: 300 }
    expect((await tcpConnect(visitor, endpoint(n1?.ip ?? '', 30080))).ok).toBe(1)
    expect((await tcpConnect(pods.frontend1, `${SERVICE_IPS.api}:80`, { count: 4 })).ok).toBe(4)
    expect((await tcpConnect(pods.report, endpoint(website.ip, 443))).ok).toBe(1)
    expect((await tcpConnect(pods.report, endpoint(pods.api2.ip, 81))).refused).toBe(1)
    expect((await tcpConnect(pods.frontend1, `${SERVICE_IPS.legacy}:80`)).refused).toBe(1)
    expect((await tcpConnect(pods.frontend2, endpoint(pods.db.ip, 6379), short)).timedOut).toBe(1)
    expect((await tcpConnect(pods.api1, endpoint(silent.ip, 9999), short)).timedOut).toBe(1)
  })

  it('talks by itself, on both nodes, without an end', async () => {
    const stop = await startTalking(cluster)
    const expected = [
      new RegExp(`dst=${SERVICE_IPS.api} .*dport=80 .*src=${cluster.pods.api2.ip.replaceAll('.', '\\.')} `),
      /udp .*dport=9125/,
      new RegExp(`udp .*dst=${SERVICE_IPS.dns} .*dport=53`),
      /dport=30080/,
    ]
    for (const pattern of expected) {
      await expect
        .poll(async () => (await cluster.nodes[0]?.conntrack())?.join('\n'), { timeout: 15_000 })
        .toMatch(pattern)
    }
    for (const pod of Object.values(cluster.pods)) {
      for (const task of pod.tasks) expect(task.end, task.argv.join(' ')).toBeUndefined()
    }
    stop()
  })
})

describe('the DNS server', () => {
  const table = new Map([['a.example', '192.0.2.7']])
  const query = (name: string, type = 1) =>
    Buffer.concat([
      Buffer.from('abcd01000001000000000000', 'hex'),
      ...name.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`)),
      Buffer.from([0, 0, type, 0, 1]),
    ])
  it('answers as RFC 1035 says', () => {
    const found = answer(query('A.Example'), table)
    expect(found?.subarray(0, 12).toString('hex')).toBe('abcd85000001000100000000')
    expect(found?.subarray(-16).toString('hex')).toBe('c00c000100010000001e0004c0000207')
    expect(answer(query('b.example'), table)?.[3]).toBe(3)
    // Another type of a name that exists: no error, no answer.
    expect(answer(query('a.example', 28), table)?.subarray(2, 8).toString('hex')).toBe('850000010000')
  })
  it('survives what is no question', () => {
    const whole = query('a.example')
    for (let length = 0; length < whole.length; length++) {
      const code = answer(whole.subarray(0, length), table)?.[3]
      expect(code === undefined || code === 1).toBe(true)
    }
    const compressed = Buffer.from(whole)
    compressed[12] = 0xc0
    expect(answer(compressed, table)?.[3]).toBe(1)
    expect(answer(answer(whole, table) ?? Buffer.alloc(0), table)).toBeUndefined()
  })
})

describe('the command', () => {
  const main = join(repository, 'dist/test/demo/main.js')
  it.each([
    [['--duration', 'soon'], /DURATION takes whole seconds.*not soon/],
    [['--output', 'xml'], /OUTPUT takes compact, wide, json, not xml/],
  ])('says what is wrong with %j', async (argv, message) => {
    const task = await Task.start([process.execPath, main, ...argv])
    expect(await task.ended).toEqual({ code: 2, signal: null })
    expect(task.stderr).toMatch(message)
    expect(task.stdout).toBe('')
  })

  it('leaves nothing when it is interrupted while it builds', async () => {
    const task = await Task.start([process.execPath, main])
    const prefix = `vf${task.pid}-`
    const namespaces = () => readdirSync('/run/netns').filter((name) => name.startsWith(prefix))
    await expect.poll(namespaces, { interval: 5, timeout: 10_000 }).not.toEqual([])
    task.signal('SIGINT')
    expect((await task.ended).code).toBe(0)
    expect(namespaces()).toEqual([])
    expect(task.stdout).toBe('')
  })
})
