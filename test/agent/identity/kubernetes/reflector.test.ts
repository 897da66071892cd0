// One resource against a scripted API server that replays recordings, and then breaks in every way that is known.

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { Cluster } from '../../../../agent/identity/cluster.js'
import { ClusterIdentity } from '../../../../agent/identity/identity.js'
import type { Connection } from '../../../../agent/identity/kubernetes/connection.js'
import { Reflector } from '../../../../agent/identity/kubernetes/reflector.js'
import { FIELD_TIMES, type ReflectorTimes } from '../../../../agent/identity/kubernetes/reflector-times.js'
import { RESOURCES } from '../../../../agent/identity/kubernetes/resources.js'
import {
  ApiServer,
  answer,
  body,
  cutShort,
  failure,
  recorded,
  recordedLines,
  type Step,
  Stream,
  silence,
} from '../../../fakes/api-server.js'
import { nameOf, quietLog } from '../batch.js'
import { ObservedSink } from './observed-sink.js'

const PODS = '/api/v1/pods'
const NEW_POD = 'shop/web-859494c7d5-mjfvt Deployment/web'
const times: ReflectorTimes = {
  ...FIELD_TIMES,
  answer: 800,
  initial: 300,
  silenceWithBookmarks: 300,
  silence: 600,
  backoffFirst: 10,
  backoffMost: 80,
  healthy: 200,
}

const lines = recordedLines('watchlist-pods.ndjson')
const endOfInitial = lines.findIndex((line) => line.includes('initial-events-end')) + 1
const initial = lines.slice(0, endOfInitial).join('')
const changes = lines.slice(endOfInitial)

let server: ApiServer
let cluster: Cluster
let sink: ObservedSink
let identity: ClusterIdentity
let log: ReturnType<typeof quietLog>
let reflector: Reflector | undefined

beforeEach(async () => {
  server = await ApiServer.start()
  cluster = new Cluster('n1', () => Date.now() * 1000)
  sink = new ObservedSink(cluster)
  identity = new ClusterIdentity('kubernetes', cluster, undefined)
  log = quietLog()
})
afterEach(async () => {
  await reflector?.close()
  reflector = undefined
  await server.close()
})

function connect(): Connection {
  return {
    server: new URL(server.url),
    options: () => Promise.resolve({}),
    refused: () => undefined,
    close: () => undefined,
  }
}

function start(kind = 'Pod', more: Partial<ReflectorTimes> = {}): Reflector {
  const resource = RESOURCES.find((entry) => entry.kind === kind)
  if (resource === undefined) throw new Error(`no resource ${kind}`)
  reflector = new Reflector(resource, { connection: connect(), sink, log, times: { ...times, ...more } })
  return reflector
}

describe('list', () => {
  test('watch-list: synced with its closing bookmark and not before', async () => {
    const stream = new Stream()
    server.script(PODS, { watchList: [stream.begin(lines.slice(0, endOfInitial - 1).join(''))] })
    const pods = start()
    await sink.until(() => cluster.pods.count() === 10)
    expect(pods.synced).toBe(false)
    stream.send(lines[endOfInitial - 1] ?? '')
    await sink.until(() => sink.commits === 1)
    expect(pods.state()).toMatchObject({ name: 'pods', objects: 10, restarts: 0 })
    expect(server.asked[0]?.query.get('resourceVersionMatch')).toBe('NotOlderThan')
    expect(server.asked[0]?.query.get('allowWatchBookmarks')).toBe('true')
    expect(server.count(PODS)).toBe(1)
    expect(nameOf(identity, '10.244.1.2')).toBe('shop/db-0 StatefulSet/db')
  })

  test('the recorded changes, each name changed when its event has been taken', async () => {
    const stream = new Stream()
    server.script(PODS, { watchList: [stream.begin(initial)] })
    start()
    await sink.until(() => sink.commits === 1)
    expect(nameOf(identity, '10.244.2.6')).toBe('world')
    const lived: string[] = []
    for (const line of changes.filter((text) => text.includes('mjfvt'))) {
      const { type, object } = JSON.parse(line) as { type: string; object: { metadata: object } }
      let taken = false
      // Synchronously inside the call that takes the event: no tick lies between event and name.
      const told = sink.until(() => {
        if (taken) lived.push(nameOf(identity, '10.244.2.6'))
        return taken
      })
      taken = true
      stream.send(line)
      await told
      expect(object.metadata).toMatchObject({ name: 'web-859494c7d5-mjfvt' })
      expect(['ADDED', 'MODIFIED', 'DELETED']).toContain(type)
    }
    expect(lived).toEqual(['world', 'world', NEW_POD, NEW_POD, NEW_POD, 'unknown'])
    expect(cluster.pods.count()).toBe(10)
  })

  test('a stream that comes byte by byte', async () => {
    const stream = new Stream()
    server.script(PODS, { watchList: [stream.begin()] })
    start()
    await stream.opened
    const bytes = recorded('watchlist-pods.ndjson')
    for (let at = 0; at < bytes.length; at += 777) {
      stream.send(bytes.subarray(at, at + 777))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await sink.until(() => sink.commits === 1 && cluster.addresses.has(0, 0, 0xffff, 0x0af40206, 0))
    await sink.until(() => cluster.pods.count() === 10)
    expect(log.warnings).toEqual([])
  })

  test('pages where watch-list is refused, with the continue token', async () => {
    const third = JSON.parse(recorded('list-pods.json').toString()) as { items: unknown[] }
    const last = Buffer.from(JSON.stringify({ ...third, items: third.items.slice(8) }))
    server.script(PODS, { list: [answer('page-1.http'), answer('page-2.http'), body(last)] })
    const pods = start()
    await sink.until(() => sink.commits === 1)
    expect(pods.state()).toMatchObject({ synced: true, objects: 10 })
    const asked = server.asked.filter(({ mode }) => mode === 'list')
    expect(asked.map(({ query }) => query.get('limit'))).toEqual(['500', '500', '500'])
    const token = (name: string) =>
      (JSON.parse(recorded(name).toString().split('\n\n')[1] ?? '') as { metadata: { continue: string } })
        .metadata.continue
    expect(asked.map(({ query }) => query.get('continue'))).toEqual([
      null,
      token('page-1.http'),
      token('page-2.http'),
    ])
    await server.until(() => server.count(PODS, 'watch') === 1)
    expect(server.asked.at(-1)?.query.get('resourceVersion')).toBe('447')
    expect(log.warnings).toEqual([])
  })

  test('a server that takes no notice of watch-list is read in pages', async () => {
    server.script(PODS, {
      watchList: [new Stream().begin(lines.slice(0, endOfInitial - 1).join(''))],
    })
    start()
    await sink.until(() => sink.commits === 1)
    expect(server.count(PODS, 'list')).toBe(1)
  })

  test('ReplicaSets as metadata alone', async () => {
    server.script('/apis/apps/v1/replicasets', { list: [answer('partial-replicasets.http')] })
    start('ReplicaSet')
    await sink.until(() => sink.commits === 1)
    expect(cluster.count('ReplicaSet')).toBe(2)
    expect(server.asked.at(-1)?.accept).toMatch(/as=PartialObjectMetadata(List)?;g=meta.k8s.io;v=v1/)
  })

  test('endpoint slices with all that happened to them', async () => {
    const all = recordedLines('watchlist-endpointslices.ndjson')
    const path = '/apis/discovery.k8s.io/v1/endpointslices'
    const stream = new Stream()
    const next = new Stream()
    server.script(path, { watchList: [stream.begin(all.slice(0, 11).join(''))], watch: [next.begin()] })
    start('EndpointSlice')
    await sink.until(() => sink.commits === 1)
    // coredns 2 x 3 ports, sticky 2 x 2, manual 1; db, dual, web, web-lb, web-local and web-np 2 each.
    expect(cluster.endpointSlices.current).toBe(23)
    const most: number[] = []
    const watched = sink.until(() => {
      most.push(cluster.endpointSlices.current)
      return false
    })
    stream.send(all.slice(11).join(''))
    stream.end()
    expect((await next.opened).query.get('resourceVersion')).toBe('506')
    // The third pod of web came to six services with seven ports, and went again.
    expect(Math.max(...most)).toBe(30)
    expect(cluster.endpointSlices.current).toBe(23)
    expect(cluster.endpointSlices.count()).toBe(10)
    void watched
  })
})

describe('watch', () => {
  test('goes on from the last version when the server ends it', async () => {
    const first = new Stream()
    const second = new Stream()
    server.script(PODS, { watchList: [first.begin(initial)], watch: [second.begin()] })
    start()
    await first.opened
    for (const line of changes.slice(0, 3)) first.send(line)
    first.end()
    expect((await second.opened).query.get('resourceVersion')).toBe('455')
    second.send(changes[3] ?? '')
    await sink.until(() => nameOf(identity, '10.244.2.6') === NEW_POD)
    expect(sink.commits).toBe(1)
    expect(log.warnings).toEqual([])
  })

  test('bookmarks move the version on', async () => {
    const first = new Stream()
    const second = new Stream()
    server.script(PODS, { watchList: [first.begin(initial + changes.join(''))], watch: [second.begin()] })
    start()
    await first.opened
    first.end()
    expect((await second.opened).query.get('resourceVersion')).toBe('514')
  })

  test('410 in the stream: listed anew, what is gone by then is gone', async () => {
    const list = JSON.parse(recorded('list-pods.json').toString()) as { items: unknown[] }
    const fewer = Buffer.from(JSON.stringify({ ...list, items: list.items.slice(0, 9) }))
    server.script(PODS, {
      list: [body('list-pods.json'), body(fewer)],
      watch: [answer('watch-expired.http'), silence],
    })
    start()
    await sink.until(() => sink.commits === 2)
    expect(cluster.pods.count()).toBe(9)
    expect(nameOf(identity, '10.244.1.3')).toBe('unknown')
    expect(log.warnings).toEqual([])
  })

  test('410 as an answer', async () => {
    server.script(PODS, {
      list: [answer('list-expired.http'), body('list-pods.json')],
      watch: [answer('list-expired.http'), new Stream().begin()],
    })
    start()
    await sink.until(() => sink.commits === 2)
    expect(cluster.pods.count()).toBe(10)
    expect(server.count(PODS, 'list')).toBe(3)
  })
})

describe('faults', () => {
  /** A fault, then a server in order: right again, one line said, few requests. */
  async function recovers(fault: Step, where: 'list' | 'watch'): Promise<void> {
    const stream = new Stream()
    const usual: Step = stream.begin()
    server.script(
      PODS,
      where === 'list'
        ? { list: [fault, fault, fault, body('list-pods.json')], watch: [usual] }
        : { watch: [fault, fault, usual] },
    )
    const pods = start()
    await stream.opened
    stream.send(changes[3] ?? '')
    await sink.until(() => nameOf(identity, '10.244.2.6') === NEW_POD)
    expect(pods.synced).toBe(true)
    expect(new Set(log.warnings).size).toBeLessThanOrEqual(1)
    expect(server.count(PODS)).toBeLessThanOrEqual(9)
  }

  const page = recorded('list-pods.json')
  const event = Buffer.from(changes[1] ?? '')
  const ndjson = (bytes: Buffer): Step => body(bytes)

  test.each<[string, Step]>([
    ['401', answer('unauthorized.http')],
    ['403', answer('anonymous.http')],
    ['429', failure(429)],
    ['500', failure(500)],
    ['503', failure(503)],
    ['a page that breaks off', cutShort(page, 20_000)],
    ['a page that ends early but well-formed HTTP', body(page.subarray(0, 20_000))],
    ['a page that is not a list', body(Buffer.from('{"kind":"PodList"}'))],
    ['a page that is not JSON', body(Buffer.from('<html>proxy</html>'))],
    ['no answer at all', silence],
    ['a connection that closes', (response) => response.destroy()],
  ])('list: %s', async (_, fault) => {
    await recovers(fault, 'list')
    expect(log.warnings).toHaveLength(1)
  })

  test.each<[string, Step]>([
    ['401', answer('unauthorized.http')],
    ['500', failure(500)],
    ['a line of garbage', ndjson(Buffer.from('{"type":"ADDED","object":\n'))],
    ['a line that is no event', ndjson(Buffer.from('[1,2]\n'))],
    ['an end in mid-line', ndjson(event.subarray(0, 500))],
    ['a connection cut in mid-line', cutShort(event, 500)],
    ['silence in mid-line', new Stream().begin(event.subarray(0, 500))],
    ['silence', new Stream().begin()],
    ['an ERROR event', ndjson(Buffer.from('{"type":"ERROR","object":{"code":500,"message":"etcd"}}\n'))],
  ])('watch: %s', async (_, fault) => {
    await recovers(fault, 'watch')
  })

  test('a missing right names the rule, and is asked for again', async () => {
    const usual = body('list-pods.json')
    let between: { barred: boolean; lastError: string | undefined } | undefined
    server.script(PODS, {
      list: [
        answer('anonymous.http'),
        (response, asked) => {
          between = { barred: pods.barred, lastError: pods.state().lastError }
          usual(response, asked)
        },
      ],
    })
    const pods = start()
    await sink.until(() => sink.commits === 1)
    expect(between?.barred).toBe(true)
    expect(between?.lastError).toMatch(/list and watch on pods in API group "".*cannot list resource "pods"/)
    expect(pods.barred).toBe(false)
    expect(log.warnings).toHaveLength(1)
  })

  test('a resource that the server does not have is said, and no obstacle', async () => {
    server.script(PODS, { watchList: [failure(404)] })
    const pods = start()
    await server.until(() => server.count(PODS) === 2)
    expect(pods.barred).toBe(true)
    expect(log.warnings).toEqual(['pods: the API server has no /api/v1/pods'])
  })

  test('silently dead after a bookmark: noticed, and right again', async () => {
    const dead = new Stream()
    const next = new Stream()
    server.script(PODS, { watchList: [dead.begin(initial)], watch: [next.begin()] })
    const began = performance.now()
    start()
    await dead.closed
    expect(performance.now() - began).toBeGreaterThan(times.silenceWithBookmarks)
    expect((await next.opened).query.get('resourceVersion')).toBe('447')
    expect(log.warnings[0]).toMatch(/no byte from the watch/)
  })

  test('back with another history: listed anew', async () => {
    const list = JSON.parse(recorded('list-pods.json').toString()) as { items: unknown[] }
    const restored = Buffer.from(
      JSON.stringify({ ...list, metadata: { resourceVersion: '12' }, items: list.items.slice(0, 4) }),
    )
    server.script(PODS, { list: [body('list-pods.json'), body(restored)], watch: [failure(410), silence] })
    start()
    await sink.until(() => sink.commits === 2)
    expect(cluster.pods.count()).toBe(4)
    await server.until(() => server.count(PODS, 'watch') === 2)
    expect(server.asked.at(-1)?.query.get('resourceVersion')).toBe('12')
  })

  const older = { ...(JSON.parse(page.toString()) as object), metadata: { resourceVersion: '12' } }
  test.each<[string, Step]>([
    [
      'a bookmark of an earlier version',
      body(Buffer.from('{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12"}}}\n')),
    ],
    ['an event of an earlier version', body(Buffer.from(lines[0] ?? ''))],
    [
      '504, as for a version that the server has not come to',
      (response) => {
        const message = 'Timeout: Too large resource version: 447, current: 12'
        response.writeHead(504, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ kind: 'Status', code: 504, reason: 'Timeout', message }))
      },
    ],
  ])('restored from a backup: %s makes it list anew', async (_, sign) => {
    const next = new Stream()
    server.script(PODS, {
      list: [body('list-pods.json'), body(Buffer.from(JSON.stringify(older)))],
      watch: [sign, next.begin()],
    })
    start()
    expect((await next.opened).query.get('resourceVersion')).toBe('12')
    expect(sink.commits).toBe(2)
    // The first list may come from the server's cache, the second must not.
    const lists = server.asked.filter(({ mode }) => mode === 'list')
    expect(lists.map(({ query }) => query.get('resourceVersion'))).toEqual(['0', null])
    expect(log.warnings).toEqual([])
  })

  test('an object without metadata is left out, and said once', async () => {
    const list = JSON.parse(recorded('list-pods.json').toString()) as { items: unknown[] }
    const odd = Buffer.from(
      JSON.stringify({ ...list, items: [null, {}, 7, { metadata: 'x' }, ...list.items] }),
    )
    server.script(PODS, { list: [body(odd)] })
    start()
    await sink.until(() => sink.commits === 1)
    expect(cluster.pods.count()).toBe(10)
    expect(cluster.malformed).toBe(4)
    expect(log.warnings).toHaveLength(1)
  })

  test('never storms: a server that ends each watch at once', async () => {
    server.script(PODS, { watch: [body(Buffer.alloc(0))] })
    start('Pod', { backoffMost: 400 })
    await sink.until(() => sink.commits === 1)
    await server.until(() => server.count(PODS, 'watch') === 8)
    const asked = server.asked.filter(({ mode }) => mode === 'watch')
    // 10 ms doubled: the eighth comes after at least half of 10 + 20 + ... + 400.
    expect((asked[7]?.at ?? 0) - (asked[0]?.at ?? 0)).toBeGreaterThan(
      (10 + 20 + 40 + 80 + 160 + 320 + 400) / 2,
    )
    expect(server.count(PODS, 'list')).toBe(1)
  })

  test('closing ends a watch that is open', async () => {
    const stream = new Stream()
    server.script(PODS, { watchList: [stream.begin(initial)] })
    const pods = start()
    await sink.until(() => sink.commits === 1)
    await pods.close()
    await stream.closed
  })
})
