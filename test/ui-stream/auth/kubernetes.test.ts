// Who sees what when the cluster is asked: row by row, over real TLS, with an API server that answers reviews by tables.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Name, NamedBatch } from '../../../agent/identity/names.js'
import type { FlowJson } from '../../../ui-stream/protocol/json-types.js'
import type { FlowMessage } from '../../../ui-stream/protocol/messages.js'
import { KubernetesReviewer, type ReviewTimes } from '../../../ui-stream/server/auth/kubernetes.js'
import { maskFlow } from '../../../ui-stream/server/auth/mask-flow.js'
import type { StreamServer, StreamServerOptions } from '../../../ui-stream/server/server.js'
import { AccessReviews } from '../../fakes/access-reviews.js'
import { closeAll, numbered, openServer } from '../server/harness.js'
import { type Ask, ask, bearer, Stream } from './ask.js'
import { Authority } from './authority.js'

const TIMES: ReviewTimes = { accepted: 100, refused: 100, away: 1500 }
const CLUSTER = 'token-of-the-cluster-admin'
const SHOP = 'token-of-somebody-in-shop'
const BOTH = 'token-of-somebody-in-both'
const NOBODY = 'token-of-somebody-nowhere'

/** Everything that a name can say, all of it secret when the other end is looked at. */
const WEB: Name = {
  kind: 1,
  namespace: 'shop',
  pod: 'web-secret1',
  workload: { kind: 'Deployment', name: 'web' },
  nodeName: 'node-secret1',
  zone: 'zone-secret1',
  group: 'group-secret1',
  labels: { app: 'label-secret1' },
  names: ['dns-secret1'],
}
const BANK: Name = {
  kind: 1,
  namespace: 'bank',
  pod: 'ledger-secret2',
  workload: { kind: 'StatefulSet', name: 'ledger' },
  nodeName: 'node-secret2',
  zone: 'zone-secret2',
  group: 'group-secret2',
  labels: { app: 'label-secret2' },
  names: ['dns-secret2'],
}
const WORLD: Name = { kind: 3, names: ['dns-secret3'] }

/** Rows: web -> web, web -> ledger, ledger -> web, ledger -> ledger, web -> world, ledger -> world; again and again. */
const ROADS: readonly (readonly [Name, Name])[] = [
  [WEB, WEB],
  [WEB, BANK],
  [BANK, WEB],
  [BANK, BANK],
  [WEB, WORLD],
  [BANK, WORLD],
]
function flows(first: number, count: number): NamedBatch {
  const batch = numbered(first, count)
  for (let row = 0; row < count; row++) {
    const [source, destination] = ROADS[(first + row - 1) % ROADS.length]!
    batch.source[row] = source
    batch.destination[row] = destination
    batch.service[row] =
      destination === WORLD
        ? undefined
        : {
            namespace: destination.namespace!,
            name: `service-of-${destination.namespace}`,
            type: 'ClusterIP',
          }
  }
  return batch
}

let authority: Authority
let reviews: AccessReviews
let warned: string[]
const ends: (() => unknown)[] = []
beforeAll(() => {
  authority = new Authority()
})
afterAll(() => authority.remove())
beforeEach(async () => {
  reviews = await AccessReviews.open()
  warned = []
  for (const [token, user] of [
    [CLUSTER, 'admin'],
    [SHOP, 'shopper'],
    [BOTH, 'both'],
    [NOBODY, 'nobody'],
  ] as const)
    reviews.users.set(token, user)
  for (const right of ['admin *', 'shopper shop', 'both shop', 'both bank']) reviews.rights.add(right)
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await closeAll()
  await reviews.close()
})

async function open(
  options: Partial<StreamServerOptions> = {},
): Promise<{ server: StreamServer; address: string }> {
  const { certFile, keyFile } = authority.issue('server')
  const reviewer = new KubernetesReviewer({
    connection: reviews.connection(),
    warn: (message) => warned.push(message),
    times: TIMES,
  })
  const server = await openServer({
    listen: '0.0.0.0:0',
    nodeName: 'node-secret2',
    reviewIntervalMs: 30,
    status: () => ({
      nodeName: 'node-secret2',
      agentId: 'run1',
      version: '1.2.3',
      capturing: true,
      connected: true,
      flowsPerSecond: 4242,
      connections: 4343,
      interfaces: [{ name: 'veth-secret', index: 1 }],
      lost: [{ nodeName: 'node-secret2', stage: 1, unit: 1, count: 4444 }],
    }),
    ...options,
    security: { tls: { cert: certFile, key: keyFile }, reviewer, ...options.security },
  })
  return { server, address: `127.0.0.1:${server.address.split(':').at(-1)}` }
}

const tls = () => ({ ca: authority.ca })
async function stream(address: string, query: string, token?: string, more: Ask = {}): Promise<Stream> {
  const opened = await Stream.open(address, query, {
    tls: tls(),
    ...(token !== undefined && { headers: bearer(token) }),
    ...more,
  })
  ends.push(() => opened.close())
  return opened
}
/** What a query of the past gives. */
async function past(address: string, query: string, token: string): Promise<FlowJson[]> {
  const opened = await stream(address, query, token)
  expect(await opened.ended(), opened.error).toBe(1000)
  return opened.flows
}
const road = ({ source, destination }: FlowJson): string =>
  `${source?.namespace ?? '-'} ${destination?.namespace ?? '-'}`

describe('who may see what', () => {
  test.each([
    ['no token', undefined, 401, []],
    ['a wrong one', 'token-that-is-not-known', 401, []],
    [
      'get pods in all namespaces',
      CLUSTER,
      200,
      ['shop shop', 'shop bank', 'bank shop', 'bank bank', 'shop -', 'bank -'],
    ],
    ['in one', SHOP, 200, ['shop shop', 'shop bank', 'bank shop', 'shop -']],
    ['in two', BOTH, 200, ['shop shop', 'shop bank', 'bank shop', 'bank bank', 'shop -', 'bank -']],
    ['in none', NOBODY, 200, []],
  ])('%s', async (_name, token, status, roads) => {
    const { server, address } = await open()
    server.publish(flows(1, 6))
    const given = token === undefined ? {} : { headers: bearer(token) }
    expect((await ask(address, '/v1/status', { tls: tls(), ...given })).status).toBe(status)
    const wide = token === CLUSTER
    expect((await ask(address, '/metrics', { tls: tls(), ...given })).status).toBe(
      status === 401 ? 401 : wide ? 200 : 403,
    )
    expect((await ask(address, '/healthz', { tls: tls(), ...given })).status).toBe(200)
    if (status === 401) {
      expect((await stream(address, '', token)).refused?.status).toBe(401)
      return
    }
    // The past, and what comes, alike.
    expect((await past(address, '?last=100', token!)).map(road)).toEqual(roads)
    const live = await stream(address, '', token)
    await live.sync()
    server.publish(flows(7, 6))
    await live.until(() => live.flows.length >= roads.length)
    await live.sync()
    expect(live.flows.map(road)).toEqual(roads)
  })

  test('of the other end there is namespace, workload, address and kind, and nothing else anywhere', async () => {
    const { server, address } = await open()
    server.publish(flows(1, 6))
    const [within, out, into, world] = await past(address, '?last=100&labels=true', SHOP)
    expect(within?.source).toMatchObject({
      pod: 'web-secret1',
      labels: { app: 'label-secret1' },
      zone: 'zone-secret1',
    })
    expect(out?.source).toMatchObject({
      pod: 'web-secret1',
      nodeName: 'node-secret1',
      names: ['dns-secret1'],
    })
    expect(out?.destination).toEqual({
      kind: 'POD',
      ip: expect.any(String),
      port: out?.destination?.port,
      namespace: 'bank',
      workload: { kind: 'StatefulSet', name: 'ledger' },
    })
    expect(into?.source).toEqual({
      kind: 'POD',
      ip: expect.any(String),
      port: into?.source?.port,
      namespace: 'bank',
      workload: { kind: 'StatefulSet', name: 'ledger' },
    })
    expect(Object.keys(world?.destination ?? {}).sort()).toEqual(
      ['ip', 'kind', ...(world?.destination?.port === undefined ? [] : ['port'])].sort(),
    )
    for (const flow of [out, into, world]) {
      expect(JSON.stringify(flow)).not.toMatch(/secret2|secret3|service-of-bank|run1|veth/)
      // Captured on the other end's node.
      expect(flow).not.toHaveProperty('nodeName')
      expect(flow).not.toHaveProperty('agentId')
      expect(flow).not.toHaveProperty('observations')
    }
    // The counters are those of the flow.
    const [all] = await past(address, '?last=5', CLUSTER).then((list) =>
      list.filter((flow) => road(flow) === 'shop bank'),
    )
    expect(out?.forward).toEqual(all?.forward)
    expect(out?.time).toBe(all?.time)
    expect(out?.id).not.toBe(all?.id)
  })

  test('filters find nothing by what is hidden, and everything by what is shown', async () => {
    const { server, address } = await open()
    server.publish(flows(1, 60))
    const count = async (query: string, token = SHOP) =>
      (await past(address, `?last=1000&${query}`, token)).length
    const all = await count('')
    expect(all).toBe(40)
    for (const hidden of [
      'pod=ledger',
      'pod=bank/',
      'label=app%3Dlabel-secret2',
      'node=node-secret2',
      'to-node=node-secret2',
      'dns=dns-secret*2',
      'dns=dns-secret3',
      'service=service-of-bank',
      'service=bank/service-of-bank',
      'interface=veth*',
      'from-namespace=bank&to-namespace=bank',
    ]) {
      expect(await count(hidden), hidden).toBe(0)
      // Excluding takes away as little, where the filter asks about an end that is hidden.
      if (!hidden.includes('&')) expect(await count(`not.${hidden}`), hidden).toBe(all)
    }
    expect(await count('to-namespace=bank')).toBe(10)
    expect(await count('workload=ledger')).toBe(20)
    expect(await count('pod=web')).toBe(40)
    expect(await count('label=app%3Dlabel-secret1')).toBe(40)
    expect(await count('pod=ledger', CLUSTER)).toBe(40)
  })

  test("sequences, cursors and ids count one's own flows, not others'", async () => {
    const { server, address } = await open()
    server.publish(flows(1, 6))
    const live = await stream(address, '', SHOP)
    await live.sync()
    for (let i = 0; i < 5; i++) server.publish(flows(1 + (i % 6) * 6, 6))
    await live.until(() => live.flows.length === 20)
    const cursors = live.frames.flatMap((frame) => frame.cursor ?? [])
    const places = cursors.map((cursor) => Number(cursor.split(':')[1]))
    expect(places.every((place, i) => i === 0 || place === places[i - 1]! + 1)).toBe(true)
    expect(places[0]).toBe(5)
    expect(cursors.join()).not.toContain('run1')
    // A cursor resumes, and is worth nothing to somebody else.
    const behind = await past(address, `?cursor=${cursors[17]}&follow=false&since=9999d`, SHOP)
    expect(behind.map(({ id }) => id)).toEqual(live.ids.slice(18))
    const ids = new Set(live.ids)
    for (const { id } of await past(address, '?last=1000', CLUSTER)) expect(ids.has(id)).toBe(false)
  })

  test('losses are told without node and count; status tells that it works, and nothing of nodes and rates', async () => {
    const { server, address } = await open()
    const live = await stream(address, '?status=true', SHOP)
    await live.until(() => live.frames.some(({ status }) => status !== undefined))
    server.publishLost([
      { nodeName: 'node-secret2', stage: 1, unit: 2, count: 4545, sinceUs: 1e6, untilUs: 2e6 },
    ])
    await live.until(() => live.frames.some(({ lost }) => lost !== undefined))
    const lost = live.frames.find((frame) => frame.lost)?.lost
    expect(lost).toMatchObject({ stage: 'KERNEL_MAP', unit: 'PACKETS', count: 0 })
    const page = await ask(address, '/v1/status', { tls: tls(), headers: bearer(SHOP) })
    expect(JSON.parse(page.body)).toMatchObject({
      version: '1.2.3',
      capturing: true,
      connected: true,
      interfaces: [],
    })
    expect(page.body + JSON.stringify(live.frames)).not.toMatch(/secret|run1|\b(4242|4343|4444|4545)\b/)
    const denied = await ask(address, '/v1/why?from=a&to=b', { tls: tls(), headers: bearer(SHOP) })
    expect(denied.status).toBe(403)
    expect(denied.body).not.toMatch(/secret|bank/)
  })

  test('a ticket is worth what its token is', async () => {
    const { server, address } = await open()
    server.publish(flows(1, 6))
    const answer = await ask(address, '/v1/ticket', { tls: tls(), method: 'POST', headers: bearer(SHOP) })
    const { ticket } = JSON.parse(answer.body) as { ticket: string }
    const opened = await stream(address, `?last=100&ticket=${ticket}`)
    expect(await opened.ended()).toBe(1000)
    expect(opened.flows.map(road)).toEqual(['shop shop', 'shop bank', 'bank shop', 'shop -'])
  })

  test('tokens of a file stand beside those of the cluster', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vethflow-access-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    const tokenFile = join(folder, 'tokens')
    writeFileSync(tokenFile, 'a-shared-token-of-all\n')
    const { address } = await open({ security: { tokenFile } })
    for (const token of ['a-shared-token-of-all', CLUSTER]) {
      expect((await ask(address, '/metrics', { tls: tls(), headers: bearer(token) })).status).toBe(200)
    }
    expect(reviews.asked.some(({ about }) => about === 'a-shared-token-of-all')).toBe(false)
  })
})

describe('what changes while somebody is connected', () => {
  test.each([
    ['the token expires', SHOP, () => reviews.users.delete(SHOP), 401],
    ['the right in the namespace is taken away', SHOP, () => reviews.rights.delete('shopper shop'), 101],
    ['one of two namespaces is taken away', BOTH, () => reviews.rights.delete('both bank'), 101],
    ['the right in all namespaces is taken away', CLUSTER, () => reviews.rights.delete('admin *'), 101],
    ['the token becomes that of another', CLUSTER, () => reviews.users.set(CLUSTER, 'shopper'), 101],
  ])('%s: the stream is cut with ACCESS_REVOKED', async (_name, token, change, again) => {
    const { server, address } = await open()
    server.publish(flows(1, 6))
    const live = await stream(address, '?last=100&follow=true', token)
    await live.until(() => live.flows.length >= 4)
    change()
    expect(await live.ended()).toBe(1008)
    expect(live.error).toBe('ACCESS_REVOKED')
    const next = await stream(address, '?last=100', token)
    expect(next.refused?.status ?? 101).toBe(again)
    if (again !== 101) return
    await next.ended()
    // What is left: nothing that was taken away.
    const roads = next.flows.map(road)
    if (token === SHOP || (token === CLUSTER && reviews.users.get(CLUSTER) === 'admin'))
      expect(roads).toEqual([])
    else expect(roads).toEqual(['shop shop', 'shop bank', 'bank shop', 'shop -'])
  })

  test('two streams of one user are both cut, and a view that lingered shows nothing of before', async () => {
    const { server, address } = await open()
    server.publish(flows(1, 6))
    const [one, two] = await Promise.all([stream(address, '', BOTH), stream(address, '', BOTH)])
    await Promise.all([one.sync(), two.sync()])
    server.publish(flows(7, 6))
    await Promise.all([one, two].map((each) => each.until(() => each.flows.length === 6)))
    reviews.rights.delete('both bank')
    expect(await Promise.all([one.ended(), two.ended()])).toEqual([1008, 1008])
    expect((await past(address, '?last=100', BOTH)).map(road)).not.toContain('bank bank')
    // Also when nobody was connected while it was taken away.
    reviews.rights.delete('both shop')
    await new Promise((resolve) => setTimeout(resolve, TIMES.accepted))
    expect(await past(address, '?last=100', BOTH)).toEqual([])
  })

  test('a namespace that comes into being is asked about before anything of it is shown, and nothing of it is missed', async () => {
    const { server, address } = await open()
    reviews.rights.add('shopper new')
    const live = await stream(address, '', SHOP)
    await live.sync()
    for (const namespace of ['new', 'strange']) {
      const batch = numbered(1, 10)
      for (let row = 0; row < 10; row++) {
        batch.source[row] = { kind: 1, namespace, pod: `${namespace}-${row}` }
        batch.destination[row] = { kind: 3 }
      }
      server.publish(batch)
    }
    server.publish(flows(1, 6))
    await live.until(() => live.flows.length === 14)
    await live.sync()
    expect(live.flows.map(({ source }) => source?.namespace).slice(0, 10)).toEqual(Array(10).fill('new'))
    expect(live.flows.slice(10).map(road)).toEqual(['shop shop', 'shop bank', 'bank shop', 'shop -'])
    expect(reviews.asked.map(({ about }) => about)).toContain('shopper get pods strange')
  })

  test('an API server that is away keeps nobody out at once, lets nobody new in, and ends streams in time', async () => {
    const { server, address } = await open()
    server.publish(flows(1, 6))
    const live = await stream(address, '?last=100&follow=true', SHOP)
    await live.until(() => live.flows.length === 4)
    const began = performance.now()
    reviews.failure = 500
    expect((await ask(address, '/v1/status', { tls: tls(), headers: bearer(BOTH) })).status).toBe(503)
    server.publish(flows(7, 6))
    await live.until(() => live.flows.length === 8)
    expect(await live.ended()).toBe(1008)
    expect(performance.now() - began).toBeGreaterThan(TIMES.away * 0.8)
    expect(warned.join('\n')).toContain('the cluster cannot be asked about tokens')
    reviews.failure = 0
    expect((await ask(address, '/v1/status', { tls: tls(), headers: bearer(SHOP) })).status).toBe(200)
  })
})

describe('the cluster is asked with measure', () => {
  test('a hundred who come at once with one token are one question, and a token without worth is remembered', async () => {
    const { address } = await open()
    await Promise.all(
      Array.from({ length: 100 }, () => ask(address, '/v1/status', { tls: tls(), headers: bearer(CLUSTER) })),
    )
    expect(reviews.count('TokenReview')).toBeLessThan(20)
    const before = reviews.count('TokenReview')
    const wrong = await Promise.all(
      Array.from({ length: 8 }, () =>
        ask(address, '/v1/status', { tls: tls(), headers: bearer('not-a-token-of-it') }),
      ),
    )
    expect(wrong.map(({ status }) => status)).toEqual(Array(8).fill(401))
    expect(reviews.count('TokenReview') - before).toBeLessThanOrEqual(3)
  })

  test('a right that the agent lacks is named', async () => {
    const { address } = await open()
    reviews.failure = 403
    expect((await ask(address, '/v1/status', { tls: tls(), headers: bearer(CLUSTER) })).status).toBe(503)
    expect(warned[0]).toContain('the right to create tokenreviews is missing')
    expect(warned.join()).not.toContain(CLUSTER)
  })

  test('somebody who is known is let in also while another behind the same address guesses', async () => {
    const { address } = await open()
    const status = async (token: string) =>
      (await ask(address, '/v1/status', { tls: tls(), headers: bearer(token) })).status
    for (let i = 0; i < 11; i++) await status(`guess-number-${i}-of-many`)
    expect(await status('guess-number-12-of-many')).toBe(429)
    expect(await status(SHOP)).toBe(429)
  })
})

test('masking leaves out what it does not know', () => {
  const flow = {
    id: 7,
    agentId: 'a',
    source: { kind: 1, namespace: 'mine', pod: 'p', nodeName: 'n1' },
    destination: { kind: 1, namespace: 'theirs', pod: 'q', nodeName: 'n2', somethingNew: 'secret' },
    nodeName: 'n1',
    direction: 2,
    tunnel: { type: 1, source: new Uint8Array(4) },
    translation: { sourceIp: Uint8Array.of(1), destinationIp: Uint8Array.of(2) },
    policies: [
      { namespace: 'mine', name: 'a' },
      { namespace: 'theirs', name: 'b' },
      { name: 'cluster-wide' },
    ],
    drop: {
      reason: 'X',
      packets: 1,
      function: 'f',
      interface: 'veth1',
      policies: [{ namespace: 'theirs', name: 'b' }],
    },
    views: [{ nodeName: 'n1' }, { nodeName: 'n2' }],
    somethingNew: 'secret',
  } as FlowMessage
  const mask = (namespace: string) =>
    maskFlow(flow, { sees: (name) => name === namespace, alias: (_, id) => id + 1000 })
  expect(mask('mine')).toEqual({
    id: 1007,
    agentId: 'a',
    nodeName: 'n1',
    direction: 2,
    source: flow.source,
    destination: { kind: 1, namespace: 'theirs' },
    translation: { sourceIp: Uint8Array.of(1), destinationIp: Uint8Array.of(2) },
    policies: [{ namespace: 'mine', name: 'a' }],
    drop: { reason: 'X', packets: 1, policies: [] },
    views: [{ nodeName: 'n1' }],
  })
  expect(mask('theirs')).toEqual({
    id: 1007,
    source: { kind: 1, namespace: 'mine' },
    destination: flow.destination,
    translation: { destinationIp: Uint8Array.of(2) },
    policies: [{ namespace: 'theirs', name: 'b' }],
    drop: { reason: 'X', packets: 1, policies: [{ namespace: 'theirs', name: 'b' }] },
    views: [{ nodeName: 'n2' }],
  })
  expect(mask('elsewhere')).toBeUndefined()
})
