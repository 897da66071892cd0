// Addresses that pass on, over real HTTP and while there is traffic: 50 pods after each other on each of 20 addresses.
// Objects carry timestamps of another year: the API server's clock plays no part.

import { afterEach, beforeEach, expect, test } from 'vitest'

import { Cluster } from '../../../agent/identity/cluster.js'
import { ClusterIdentity } from '../../../agent/identity/identity.js'
import { ApiServerSource } from '../../../agent/identity/kubernetes/api-server.js'
import { ApiServer, recordedLines, Stream } from '../../fakes/api-server.js'
import { nameRows, quietLog, type Row } from './batch.js'

const ADDRESSES = 20
const LIVES = 50
/** A life and the gap after it, in ticks of 5 ms. Traffic begins 2 ticks after the pod is told, ends 2 before it goes. */
const LIFE = 14
const GAP = 3
const TICK_MS = 5

let server: ApiServer
let source: ApiServerSource | undefined
const stream = new Stream()

beforeEach(async () => {
  server = await ApiServer.start()
  const lines = recordedLines('watchlist-pods.ndjson')
  const end = lines.findIndex((line) => line.includes('initial-events-end')) + 1
  server.script('/api/v1/pods', { watchList: [stream.begin(lines.slice(0, end).join(''))] })
})
afterEach(async () => {
  await source?.close()
  await server.close()
})

function event(type: string, name: string, podIP: string): string {
  const metadata = {
    name,
    namespace: 'shop',
    uid: `uid-${name}`,
    resourceVersion: '1000',
    creationTimestamp: '1999-01-01T00:00:00Z',
    labels: { app: 'a' },
  }
  const status = { phase: 'Running', podIP, podIPs: [{ ip: podIP }], startTime: '2099-01-01T00:00:00Z' }
  return `${JSON.stringify({ type, object: { metadata, spec: { nodeName: 'n2' }, status } })}\n`
}

test('1,000 reuses under traffic: at least 99.9 % of records named right, no other named at all', async () => {
  const cluster = new Cluster('n1', () => Date.now() * 1000)
  source = new ApiServerSource({
    connection: {
      server: new URL(server.url),
      options: () => Promise.resolve({}),
      refused: () => undefined,
      close: () => undefined,
    },
    cluster,
    log: quietLog(),
    nodeName: 'n1',
  })
  const identity = new ClusterIdentity('kubernetes', cluster, source)
  const of = source
  await expect.poll(() => of.synced).toBe(true)

  const counts = { right: 0, unknown: 0, wrong: 0 }
  let expected: string[] = []
  let rows: Row[] = []
  const record = (holder: string, source: string, start: number, end: number) => {
    rows.push({ source, destination: '192.0.2.1', start, end })
    expected.push(`shop/${holder}`)
  }
  const judge = () => {
    for (const [i, { source: said }] of nameRows(identity, rows).entries()) {
      if (said === expected[i]) counts.right++
      else if (said === 'unknown') counts.unknown++
      else counts.wrong++
    }
    rows = []
    expected = []
  }

  const began: number[] = []
  const last: ({ holder: string; start: number; end: number } | undefined)[] = []
  for (let tick = 0; tick < LIVES * (LIFE + GAP) + ADDRESSES; tick++) {
    for (let a = 0; a < ADDRESSES; a++) {
      // Addresses pass on at different ticks.
      const local = tick - a
      const life = Math.floor(local / (LIFE + GAP))
      const age = local % (LIFE + GAP)
      if (local < 0 || life >= LIVES) continue
      const address = `10.244.77.${a + 1}`
      const holder = `p${a}-${life}`
      const now = Date.now()
      if (age === 0) stream.send(event('ADDED', holder, address))
      if (age === 2) began[a] = now
      if (age >= 2 && age < LIFE - 2) {
        record(holder, address, began[a] ?? now, now)
        last[a] = { holder, start: began[a] ?? now, end: now }
      }
      if (age === LIFE) stream.send(event('DELETED', holder, address))
      // What the one before had open is closed, and told, when the next one is there already.
      const before = last[a]
      if (age === 4 && before !== undefined && before.holder !== holder) {
        record(before.holder, address, before.start, before.end)
      }
      if (age === 1 && life > 0 && before !== undefined)
        record(before.holder, address, before.start, before.end)
    }
    judge()
    await new Promise((resolve) => setTimeout(resolve, TICK_MS))
  }
  const all = counts.right + counts.unknown + counts.wrong
  expect(all).toBeGreaterThan(10_000)
  expect(counts.wrong).toBe(0)
  expect(counts.right / all).toBeGreaterThanOrEqual(0.999)
  expect(cluster.addresses.tombstones).toBeGreaterThanOrEqual(ADDRESSES * LIVES)
})
