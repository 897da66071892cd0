// A large cluster: this node's pods are watched, others are looked up when an address of theirs turns up. The server
// speaks real HTTP, and counts what it is asked.

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { Cluster } from '../../../agent/identity/cluster.js'
import { ClusterIdentity } from '../../../agent/identity/identity.js'
import { ApiServerSource } from '../../../agent/identity/kubernetes/api-server.js'
import type { IdentityMode } from '../../../agent/identity/kubernetes/cluster-size.js'
import { BURST, tokensPerSecond } from '../../../agent/identity/kubernetes/pod-lookup.js'
import { FIELD_TIMES } from '../../../agent/identity/kubernetes/reflector-times.js'
import {
  ApiServer,
  body,
  failure,
  recorded,
  recordedLines,
  type Step,
  Stream,
} from '../../fakes/api-server.js'
import { nameOf, quietLog } from './batch.js'

const PODS = '/api/v1/pods'
const SLICES = '/apis/discovery.k8s.io/v1/endpointslices'
const WEB = '/api/v1/namespaces/shop/pods/web-859494c7d5-crjtt'

interface RecordedPod {
  metadata: { name: string; namespace: string; uid: string }
  spec: { nodeName: string; hostNetwork?: boolean }
  status: { podIP: string; phase: string }
}
const pods = (JSON.parse(recorded('list-pods.json').toString()) as { items: RecordedPod[] }).items

let server: ApiServer
let cluster: Cluster
let identity: ClusterIdentity
let source: ApiServerSource | undefined
let log: ReturnType<typeof quietLog> & { infos: string[] }

/** The list of those that a request selects. */
const select: Step = (response, asked) => {
  const [key, value] = (asked.query.get('fieldSelector') ?? '').split('=')
  const items = pods.filter(
    ({ spec, status }) =>
      key === '' || (key === 'spec.nodeName' ? spec.nodeName === value : status.podIP === value),
  )
  body(Buffer.from(JSON.stringify({ metadata: { resourceVersion: '447' }, items })))(response, asked)
}

function counted(total: number): Step {
  const metadata = { resourceVersion: '447', continue: 'x', remainingItemCount: total - 1 }
  return body(Buffer.from(JSON.stringify({ metadata, items: [{}] })))
}

beforeEach(async () => {
  server = await ApiServer.start()
  server.script(PODS, { count: [counted(50_000)], list: [select] })
  server.script('/api/v1/nodes', { count: [counted(500)] })
  const web = pods.find(({ metadata }) => metadata.name === 'web-859494c7d5-crjtt')
  server.script(WEB, { list: [body(Buffer.from(JSON.stringify(web)))] })
  cluster = new Cluster('n1', () => Date.now() * 1000)
  const infos: string[] = []
  log = { ...quietLog(), infos, info: (message) => void infos.push(message) }
})
afterEach(async () => {
  await source?.close()
  source = undefined
  await server.close()
})

async function start(mode: IdentityMode = 'auto'): Promise<void> {
  source = new ApiServerSource({
    connection: {
      server: new URL(server.url),
      options: () => Promise.resolve({}),
      refused: () => undefined,
      close: () => undefined,
    },
    cluster,
    log,
    nodeName: 'n1',
    mode,
    times: { ...FIELD_TIMES, backoffFirst: 10, backoffMost: 50 },
    onStrangers: (strangers) => identity.lookUp(strangers),
  })
  identity = new ClusterIdentity('kubernetes', cluster, source)
  const of = source
  await expect.poll(() => of.synced).toBe(true)
}

const lookedUp = () => source?.resources().find(({ name }) => name.startsWith('pods by address'))

describe('which mode', () => {
  test('by size: more than 5,000 pods are not watched by every node', async () => {
    await start()
    expect(
      server.asked.find(({ path, mode }) => path === PODS && mode === 'list')?.query.get('fieldSelector'),
    ).toBe('spec.nodeName=n1')
    expect(cluster.pods.count()).toBe(5)
    expect(cluster.nodes.count()).toBe(2)
    expect(log.infos).toEqual([
      'watching the pods of this node only, since there are 50000; others are looked up',
    ])
    // Counting took one object of each.
    expect(server.asked.filter(({ mode }) => mode === 'count').map(({ path }) => path)).toEqual([
      PODS,
      '/api/v1/nodes',
    ])
  })

  test.each([
    ['auto', 5000, null],
    ['auto', 5001, 'spec.nodeName=n1'],
    ['full', 50_000, null],
    ['local', 10, 'spec.nodeName=n1'],
  ] as const)('%s with %i pods', async (mode, count, selector) => {
    server.script(PODS, { count: [counted(count)] })
    await start(mode)
    const list = server.asked.find((asked) => asked.path === PODS && asked.mode === 'list')
    expect(list?.query.get('fieldSelector')).toBe(selector)
    expect(server.count(PODS, 'count')).toBe(mode === 'full' ? 0 : 1)
  })

  test('a server that does not say how many are left is asked for as many as matter', async () => {
    const some = (limit: number, total: number): Step => {
      const items = Array.from({ length: Math.min(limit, total) }, () => ({}))
      const metadata = { resourceVersion: '447', ...(total > limit ? { continue: 'x' } : {}) }
      return body(Buffer.from(JSON.stringify({ metadata, items })))
    }
    for (const [total, selector] of [
      [5000, null],
      [5001, 'spec.nodeName=n1'],
    ] as const) {
      const counting: Step = (response, asked) =>
        asked.query.get('limit') === '5001' ? some(5001, total)(response, asked) : select(response, asked)
      server.script(PODS, { count: [some(1, total)], list: [counting] })
      await start()
      const list = server.asked.findLast((asked) => asked.path === PODS && asked.mode === 'list')
      expect(list?.query.get('limit')).toBe('500')
      expect(list?.query.get('fieldSelector')).toBe(selector)
      await source?.close()
    }
  })

  test('with more than 1,000 nodes the others are not watched, either', async () => {
    server.script('/api/v1/nodes', { count: [counted(1001)] })
    await start()
    const list = server.asked.find(({ path, mode }) => path === '/api/v1/nodes' && mode === 'list')
    expect(list?.query.get('fieldSelector')).toBe('metadata.name=n1')
  })

  test('a server that cannot say yet is asked again, and one that forbids it is read as far as it lets', async () => {
    server.script(PODS, { count: [failure(503), failure(500), counted(50_000)] })
    await start()
    expect(cluster.pods.count()).toBe(5)
    expect(log.warnings).toHaveLength(2)
    await source?.close()
    server.script(PODS, { count: [failure(403)] })
    await start()
    expect(
      server.asked.findLast(({ path, mode }) => path === PODS && mode === 'list')?.query.get('fieldSelector'),
    ).toBe(null)
  })
})

describe('strangers', () => {
  test('one that an EndpointSlice names is read once, and named with its workload', async () => {
    await start()
    expect(nameOf(identity, '10.244.2.3')).toBe('unknown')
    await expect.poll(() => nameOf(identity, '10.244.2.3')).toBe('shop/web-859494c7d5-crjtt Deployment/web')
    for (let i = 0; i < 1000; i++) nameOf(identity, '10.244.2.3')
    expect(server.count(WEB)).toBe(1)
    expect(server.asked.find(({ path }) => path === WEB)?.query.get('resourceVersion')).toBe('0')
    expect(
      server.asked.filter(({ query }) => query.get('fieldSelector')?.startsWith('status.podIP')),
    ).toEqual([])
    expect(lookedUp()).toMatchObject({ objects: 1 })
  })

  test('one that no EndpointSlice names is searched for by address, out of the cache', async () => {
    await start()
    expect(nameOf(identity, '10.244.2.5')).toBe('unknown')
    await expect.poll(() => nameOf(identity, '10.244.2.5')).toBe('shop/migrate-75dh8 Job/migrate')
    const asked = server.asked.filter(({ query }) => query.get('fieldSelector') === 'status.podIP=10.244.2.5')
    expect(asked.map(({ query }) => query.get('resourceVersion'))).toEqual(['0'])
  })

  test('another node by its pods on the host network, where nodes are not watched', async () => {
    server.script('/api/v1/nodes', {
      count: [counted(5000)],
      list: [
        (response, asked) => {
          const list = JSON.parse(recorded('list-nodes.json').toString()) as { items: unknown[] }
          body(Buffer.from(JSON.stringify({ ...list, items: list.items.slice(0, 1) })))(response, asked)
        },
      ],
    })
    await start()
    expect(cluster.nodes.count()).toBe(1)
    expect(nameOf(identity, '172.18.0.3')).toBe('unknown')
    await expect.poll(() => nameOf(identity, '172.18.0.3')).toBe('node n2')
  })

  test('nobody: unknown until the server has said so, then the world, and not asked again', async () => {
    await start()
    expect(nameOf(identity, '10.9.9.9')).toBe('unknown')
    await expect.poll(() => nameOf(identity, '10.9.9.9')).toBe('world')
    // Of a node's own pods' range it stays unknown, whoever it was.
    expect(nameOf(identity, '10.244.2.99')).toBe('unknown')
    await expect.poll(() => server.count(PODS, 'list')).toBe(3)
    for (let i = 0; i < 1000; i++) {
      nameOf(identity, '10.9.9.9')
      nameOf(identity, '10.244.2.99')
    }
    expect(nameOf(identity, '10.244.2.99')).toBe('unknown')
    expect(server.count(PODS, 'list')).toBe(3)
  })

  test('addresses of the world are not asked for', async () => {
    await start()
    for (let i = 0; i < 250; i++) expect(nameOf(identity, `8.8.4.${i}`)).toBe('world')
    expect(lookedUp()?.name).toContain('asked 0 times')
  })

  test('a scan of 250 addresses costs the server two searches, then one in a few seconds', async () => {
    await start()
    for (let i = 0; i < 250; i++) nameOf(identity, `10.7.7.${i}`)
    await server.until(() => server.count(PODS, 'list') === 3)
    const began = performance.now()
    await server.until(() => server.count(PODS, 'list') === 4)
    // 500 nodes share 5,000 tokens a second, a search takes 50.
    expect(performance.now() - began).toBeGreaterThan(4000)
    expect(tokensPerSecond(500)).toBe(10)
    expect(tokensPerSecond(5000)).toBe(1)
    expect(tokensPerSecond(10)).toBe(20)
    expect(BURST).toBe(100)
  })

  test('an EndpointSlice that loses the pod makes it looked at again', async () => {
    const stream = new Stream()
    const slice = recordedLines('watchlist-endpointslices.ndjson').find((line) =>
      line.includes('"web-95t6w"'),
    )
    server.script(SLICES, { watch: [stream.begin()] })
    await start()
    for (const address of ['10.244.2.3']) {
      nameOf(identity, address)
      await expect.poll(() => nameOf(identity, address)).toMatch(/crjtt/)
    }
    server.script(WEB, { list: [failure(404)] })
    const { object } = JSON.parse(slice ?? '') as { object: { endpoints: unknown[] } }
    stream.send(`${JSON.stringify({ type: 'MODIFIED', object: { ...object, endpoints: [] } })}\n`)
    // Other services still list it: it is read, found gone, and no longer anybody's.
    await expect.poll(() => nameOf(identity, '10.244.2.3', Date.now() + 1000)).toBe('unknown')
    expect(server.count(WEB)).toBe(2)
    expect(nameOf(identity, '10.244.2.3', Date.now() - 5000)).toMatch(/crjtt/)
  })

  test('a pod of this node that takes the address meanwhile is believed before the answer', async () => {
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const web = pods.find(({ metadata }) => metadata.name === 'web-859494c7d5-crjtt')
    server.script(WEB, {
      list: [
        (response, asked) => void held.then(() => body(Buffer.from(JSON.stringify(web)))(response, asked)),
      ],
    })
    await start()
    nameOf(identity, '10.244.2.3')
    await server.until(() => server.count(WEB) === 1)
    const metadata = { name: 'new', namespace: 'shop', uid: 'n' }
    cluster.upsert('Pod', {
      metadata,
      spec: { nodeName: 'n1' },
      status: { phase: 'Running', podIP: '10.244.2.3' },
    })
    release()
    await expect.poll(() => lookedUp()?.name).toContain('asked 1 times')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(nameOf(identity, '10.244.2.3')).toBe('shop/new')
  })

  test('a server that fails is told in the status, and the address stays unknown', async () => {
    server.script(WEB, { list: [failure(500)] })
    await start()
    nameOf(identity, '10.244.2.3')
    await expect.poll(() => lookedUp()?.lastError).toMatch(/answers 500/)
    expect(nameOf(identity, '10.244.2.3')).toBe('unknown')
    expect(server.count(WEB)).toBe(1)
  })
})

test('a missing right to read single pods names the rule, and costs only the strangers', async () => {
  server.script(WEB, { list: [failure(403)] })
  await start()
  nameOf(identity, '10.244.2.3')
  await expect
    .poll(() => lookedUp()?.lastError)
    .toMatch(
      /KUBERNETES_FORBIDDEN: the right to get, list and watch on pods in API group "" at cluster scope is missing/,
    )
  expect(nameOf(identity, '10.244.2.3')).toBe('unknown')
  expect(nameOf(identity, '10.244.1.2')).toBe('shop/db-0 StatefulSet/db')
})
