// The whole stage: no source, a kubeconfig, a pod's service account; what is said when they are wrong or away.

import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import type { ClusterIdentity } from '../../../agent/identity/identity.js'
import { FIELD_TIMES, type ReflectorTimes } from '../../../agent/identity/kubernetes/reflector-times.js'
import { type IdentityOptions, openIdentity } from '../../../agent/identity/open.js'
import { ApiServer, answer, body, recorded, recordedLines, Stream } from '../../fakes/api-server.js'
import { nameOf, nameRows, quietLog } from './batch.js'

const times: ReflectorTimes = { ...FIELD_TIMES, backoffFirst: 10, backoffMost: 50 }

let directory: string
let identity: ClusterIdentity | undefined
let server: ApiServer | undefined
let log: ReturnType<typeof quietLog>

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vethflow-identity-'))
  log = quietLog()
})
afterEach(async () => {
  await identity?.close()
  await server?.close()
  identity = undefined
  server = undefined
  await rm(directory, { recursive: true })
})

async function open(options: Partial<IdentityOptions>): Promise<ClusterIdentity> {
  identity = await openIdentity({ kubernetes: true, nodeName: 'n1', log, times, ...options })
  return identity
}

async function kubeconfig(text: string): Promise<string> {
  const file = join(directory, 'kubeconfig')
  await writeFile(file, text)
  return file
}

describe('without any source', () => {
  test('this node and the world', async () => {
    const names = await open({ kubernetes: false })
    names.setLocalAddresses(['192.168.7.2', 'fd00::2'])
    expect(names).toMatchObject({ source: 'none', synced: true })
    expect(names.resources()).toEqual([])
    const addresses = ['192.168.7.2', 'fd00::2', '127.0.0.1', '192.168.7.3', '8.8.8.8']
    expect(addresses.map((address) => nameOf(names, address))).toEqual([
      'node n1',
      'node n1',
      'node n1',
      'world',
      'world',
    ])
    const [said] = nameRows(names, [
      { source: '192.168.7.2', destination: '8.8.8.8', port: 53, protocol: 17 },
    ])
    expect(said).toMatchObject({ service: 'absent', direction: 'EGRESS' })
  })

  test('an address that this host gives up is its own no longer', async () => {
    const names = await open({ kubernetes: false })
    names.setLocalAddresses(['192.168.7.2', '192.168.8.2'])
    names.setLocalAddresses(['192.168.8.2'])
    expect(nameOf(names, '192.168.7.2', Date.now() - 60_000)).toBe('node n1')
    expect(nameOf(names, '192.168.7.2', Date.now() + 60_000)).toBe('unknown')
    expect(nameOf(names, '192.168.8.2', Date.now() + 60_000)).toBe('node n1')
  })
})

describe('with a kubeconfig', () => {
  test('synced from a server, by token, and then changed by it', async () => {
    server = await ApiServer.start()
    const lines = recordedLines('watchlist-pods.ndjson')
    const stream = new Stream()
    server.script('/api/v1/pods', { watchList: [stream.begin(lines.slice(0, 11).join(''))] })
    const names = await open({ kubeconfig: await kubeconfig(server.kubeconfig('secret')) })
    await expect.poll(() => names.synced).toBe(true)
    expect(new Set(server.asked.map(({ authorization }) => authorization))).toEqual(
      new Set(['Bearer secret']),
    )
    const [said] = nameRows(names, [
      {
        source: '10.244.1.2',
        service: '10.96.136.227',
        destination: '10.244.2.3',
        port: 8080,
        servicePort: 80,
      },
    ])
    expect(said).toEqual({
      source: 'shop/db-0 StatefulSet/db',
      destination: 'shop/web-859494c7d5-crjtt Deployment/web',
      service: 'shop/web ClusterIP http',
      direction: 'EGRESS',
    })
    stream.send(lines.slice(11, 15).join(''))
    await expect.poll(() => nameOf(names, '10.244.2.6')).toBe('shop/web-859494c7d5-mjfvt Deployment/web')
    // The hash label names the Deployment, so no ReplicaSet was read; the Job's owner is its own word.
    expect(names.resources().map(({ name, synced, objects }) => `${name} ${synced} ${objects}`)).toEqual([
      'pods true 11',
      'services true 11',
      'endpointslices true 10',
      'ingresses true 1',
      'nodes true 2',
      'namespaces true 6',
      'jobs true 1',
    ])
    expect(log.warnings).toEqual([])
  })

  test('ReplicaSets are read once a pod needs one', async () => {
    server = await ApiServer.start()
    const list = JSON.parse(recorded('list-pods.json').toString()) as {
      items: { metadata: { labels: object } }[]
    }
    for (const pod of list.items) pod.metadata.labels = {}
    server.script('/api/v1/pods', { list: [body(Buffer.from(JSON.stringify(list)))] })
    server.script('/apis/apps/v1/replicasets', { list: [answer('partial-replicasets.http')] })
    const names = await open({ kubeconfig: await kubeconfig(server.kubeconfig()) })
    await expect.poll(() => nameOf(names, '10.244.2.3')).toBe('shop/web-859494c7d5-crjtt Deployment/web')
    expect(server.count('/apis/apps/v1/replicasets', 'list')).toBe(1)
  })

  test('a node name that the cluster does not know is said once', async () => {
    server = await ApiServer.start()
    const names = await open({ kubeconfig: await kubeconfig(server.kubeconfig()), nodeName: 'laptop' })
    await expect.poll(() => names.synced).toBe(true)
    expect(log.warnings).toEqual([
      'no node of the cluster is called laptop: pods of this node are not known as such; give --node-name',
    ])
  })

  test('a right that is missing switches off what hangs on it and nothing else', async () => {
    server = await ApiServer.start()
    server.script('/api/v1/services', {
      list: [answer('anonymous.http')],
      watchList: [answer('anonymous.http')],
    })
    const names = await open({ kubeconfig: await kubeconfig(server.kubeconfig()) })
    await expect.poll(() => names.synced).toBe(true)
    const [said] = nameRows(names, [
      {
        source: '10.244.1.2',
        service: '10.96.136.227',
        destination: '10.244.2.3',
        port: 8080,
        servicePort: 80,
      },
    ])
    expect(said).toMatchObject({ destination: 'shop/web-859494c7d5-crjtt Deployment/web', service: 'absent' })
    const services = names.resources().find(({ name }) => name === 'services')
    expect(services).toMatchObject({ synced: false, objects: 0 })
    expect(services?.lastError).toMatch(/the right to list and watch on services in API group ""/)
    expect(new Set(log.warnings).size).toBe(1)
  })

  test('a server that is away is no error; private addresses are unknown until it is back', async () => {
    const away = await ApiServer.start()
    const config = await kubeconfig(away.kubeconfig())
    const port = away.port
    await away.close()
    const names = await open({ kubeconfig: config })
    names.setLocalAddresses(['172.18.0.2'])
    await expect
      .poll(() => names.resources().filter(({ lastError }) => lastError !== undefined).length)
      .toBe(6)
    expect(names.synced).toBe(false)
    expect(names.resources()[0]?.lastError).toMatch(
      /cannot reach the API server at 127\.0\.0\.1:\d+.*ECONNREFUSED/,
    )
    expect(['10.244.2.3', '8.8.8.8', '172.18.0.2'].map((address) => nameOf(names, address))).toEqual([
      'unknown',
      'world',
      'node n1',
    ])
    server = await ApiServer.start({ port })
    await expect.poll(() => names.synced, { timeout: 5000 }).toBe(true)
    expect(nameOf(names, '10.244.2.3')).toBe('shop/web-859494c7d5-crjtt Deployment/web')
    // One line for the outage, however many resources tried however often.
    expect(log.warnings).toHaveLength(1)
  })

  test.each([
    ['not YAML', 'a: [', /is not a kubeconfig/],
    ['empty', '', /is not a kubeconfig/],
    ['no context', '{"clusters":[],"contexts":[],"users":[]}', /has no current-context/],
    [
      'a context of nothing',
      '{"current-context":"x","clusters":[],"contexts":[],"users":[]}',
      /context "x" names no cluster/,
    ],
    [
      'a server that is no URL',
      '{"current-context":"x","clusters":[{"name":"c","cluster":{"server":"nowhere"}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"users":[]}',
      /server "nowhere" is not an http\(s\) URL/,
    ],
    [
      'a CA file that is not there',
      '{"current-context":"x","clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1","certificate-authority":"ca/none.crt"}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"users":[]}',
      /names a file that cannot be read: .*\/ca\/none\.crt/,
    ],
  ])('refused: %s', async (_, text, message) => {
    await expect(open({ kubeconfig: await kubeconfig(text) })).rejects.toMatchObject({
      code: 'KUBECONFIG_INVALID',
      message: expect.stringMatching(message),
    })
  })

  test('refused: a file that is not there, and two sources at once', async () => {
    await expect(open({ kubeconfig: join(directory, 'none') })).rejects.toMatchObject({
      code: 'KUBECONFIG_INVALID',
      message: expect.stringMatching(/cannot read kubeconfig .*none/),
    })
    await expect(open({ kubeconfig: 'a', manifests: 'b' })).rejects.toMatchObject({
      code: 'USAGE',
      exitCode: 2,
    })
  })
})

describe('in a pod', () => {
  test('by the service account: TLS checked against its CA, the token read again when it is refused', async () => {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'ca.crt')]
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'].concat(
        ['-subj', '/CN=kubernetes', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
      ),
      { stdio: 'ignore' },
    )
    const { readFile } = await import('node:fs/promises')
    server = await ApiServer.start({
      tls: { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') },
    })
    await writeFile(join(directory, 'token'), 'first\n')
    server.script('/api/v1/pods', {
      watchList: [answer('unauthorized.http'), answer('watchlist-bad-request.http')],
    })
    const names = await open({
      inCluster: { host: '127.0.0.1', port: String(server.port), account: directory },
    })
    await writeFile(join(directory, 'token'), 'second\n')
    await expect.poll(() => names.synced).toBe(true)
    const said = server.asked
      .filter(({ path }) => path === '/api/v1/pods')
      .map(({ authorization }) => authorization)
    expect(said[0]).toMatch(/^Bearer (first|second)$/)
    expect(said.at(-1)).toBe('Bearer second')
    expect(nameOf(names, '10.244.1.2')).toBe('shop/db-0 StatefulSet/db')
  })

  test('no service account, no kubeconfig: names of this node and the world, and a hint', async () => {
    const names = await open({ inCluster: { host: '127.0.0.1', port: '1', account: directory } })
    expect(names.source).toBe('none')
  })
})
