// What an API server can do to an agent, each on real sockets and with the patience of the field: a server in order, the
// fault for a while, a server in order again where something has changed meanwhile. For a short form and a long one.

import { expect } from 'vitest'

import { Cluster } from '../../../../agent/identity/cluster.js'
import { ClusterIdentity } from '../../../../agent/identity/identity.js'
import { ApiServerSource } from '../../../../agent/identity/kubernetes/api-server.js'
import type { Connection } from '../../../../agent/identity/kubernetes/connection.js'
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

const NEW_POD = 'shop/web-859494c7d5-mjfvt Deployment/web'
const NEW_ADDRESS = '10.244.2.6'
/** The agent is right again so long after the end of a fault at the latest, ms. */
const RIGHT_AGAIN_MS = 30_000
/** Requests of all resources in the first ten seconds of a fault, and in each ten seconds after them. */
const MOST_AT_FIRST = 8 * RESOURCES.length
const MOST_LATER = 3 * RESOURCES.length

const lines = recordedLines('watchlist-pods.ndjson')
const added = lines.filter((line) => line.includes('mjfvt') && !line.includes('"DELETED"')).slice(0, 4)
const page = recorded('list-pods.json')
const expired = answer('list-expired.http')

export interface Fault {
  readonly name: string
  /** What requests are answered while it lasts; undefined: the server is not there at all. */
  readonly step: Step | undefined
  /** What becomes of the watches that are open when it begins. */
  readonly streams: 'cut' | 'stay' | { readonly last: string | Buffer }
  /** The line that is logged; undefined: none, since this is how things go. */
  readonly says: RegExp | undefined
  /** Most lines; a right that is missing is named for each resource. */
  readonly lines?: number
  readonly times?: Partial<ReflectorTimes>
  /** The history of the server is another one afterwards: versions of before are gone. */
  readonly restored?: boolean
}

const half = Buffer.from(added[1] ?? '').subarray(0, 700)

export const FAULTS: readonly Fault[] = [
  {
    name: 'refuses connections',
    step: undefined,
    streams: 'cut',
    says: /cannot reach.*ECONNREFUSED|broke off/,
  },
  { name: 'takes requests and never answers', step: silence, streams: 'cut', says: /no byte|broke off/ },
  {
    name: 'closes each connection without a word',
    step: (response) => response.destroy(),
    streams: 'cut',
    says: /cannot reach|broke off/,
  },
  { name: 'hangs in the middle of a line', step: silence, streams: { last: half }, says: /no byte/ },
  { name: 'half a chunk, then gone', step: cutShort(page, 9000), streams: 'cut', says: /broke off/ },
  {
    name: 'a page cut short',
    step: body(page.subarray(0, 20_000)),
    streams: 'cut',
    says: /not JSON|broke off/,
  },
  { name: '401', step: answer('unauthorized.http'), streams: 'cut', says: /401|broke off/ },
  {
    name: '403',
    step: answer('anonymous.http'),
    streams: 'cut',
    says: /the right to/,
    lines: 1 + RESOURCES.length,
  },
  { name: '410 as an answer', step: expired, streams: 'cut', says: /broke off/ },
  {
    name: '410 in the stream',
    step: answer('watch-expired.http'),
    streams: 'cut',
    says: /page|broke off|ends/,
  },
  { name: '429', step: failure(429, { 'retry-after': '2' }), streams: 'cut', says: /429|broke off/ },
  { name: '500', step: failure(500), streams: 'cut', says: /500|broke off/ },
  { name: '503', step: failure(503), streams: 'cut', says: /503|broke off/ },
  { name: 'a proxy that says something else', step: body(Buffer.from('<html>')), streams: 'cut', says: /./ },
  {
    name: 'silently dead, and no bookmark',
    step: silence,
    streams: 'stay',
    says: /no byte from the watch/,
    // The server says something every minute; a test cannot wait for that.
    times: { silence: 6000, silenceWithBookmarks: 6000 },
  },
  { name: 'back with another history', step: undefined, streams: 'cut', says: /./, restored: true },
]

/** Plays one fault for `holdMs`. Fails when the agent does not keep to what the table is there to hold. */
export async function play(
  fault: Fault,
  holdMs: number,
): Promise<{ askedWhile: number; rightAfterMs: number }> {
  let server = await ApiServer.start()
  const { port } = server
  let state: 'before' | 'fault' | 'after' = 'before'
  let open: Stream[] = []

  const prepare = () => {
    for (const { path, kind } of RESOURCES) {
      const usual: Step = (response, asked) => {
        if (state === 'fault' && fault.step !== undefined) return fault.step(response, asked)
        if (asked.mode === 'watchList') return answer('watchlist-bad-request.http')(response, asked)
        if (asked.mode === 'count') return answer('page-1.http')(response, asked)
        const changed = state === 'after' && kind === 'Pod'
        if (asked.mode === 'list') return list(path, changed, fault.restored === true)(response, asked)
        const version = Number(asked.query.get('resourceVersion'))
        if (state === 'after' && fault.restored === true && version > 100) return expired(response, asked)
        const stream = new Stream()
        open.push(stream)
        return stream.begin(changed && version === 447 ? added.join('') : '')(response, asked)
      }
      server.script(path, { count: [usual], list: [usual], watchList: [usual], watch: [usual] })
    }
  }
  prepare()

  const cluster = new Cluster('n1', () => Date.now() * 1000)
  const log = quietLog()
  const connection: Connection = {
    server: new URL(`http://127.0.0.1:${port}`),
    options: () => Promise.resolve({}),
    refused: () => undefined,
    close: () => undefined,
  }
  const source = new ApiServerSource({
    connection,
    cluster,
    log,
    nodeName: 'n1',
    times: { ...FIELD_TIMES, ...fault.times },
  })
  const identity = new ClusterIdentity('kubernetes', cluster, source)
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  try {
    await until(() => source.synced && open.length >= 6, 10_000)
    expect(nameOf(identity, NEW_ADDRESS)).toMatch(/world|unknown/)
    expect(log.warnings).toEqual([])

    state = 'fault'
    const before = server.asked.length
    if (fault.step === undefined) await server.close()
    else if (fault.streams === 'cut') for (const stream of open) stream.cut()
    else if (fault.streams !== 'stay') for (const stream of open) stream.send(fault.streams.last)
    open = []
    await pause(holdMs)
    // It goes on: what was known is known.
    expect(nameOf(identity, '10.244.1.2')).toBe('shop/db-0 StatefulSet/db')
    const askedWhile = fault.step === undefined ? 0 : server.asked.length - before

    state = 'after'
    if (fault.step === undefined) {
      server = await ApiServer.start({ port })
      prepare()
    }
    const ended = performance.now()
    await until(() => nameOf(identity, NEW_ADDRESS) === NEW_POD, RIGHT_AGAIN_MS)
    const rightAfterMs = performance.now() - ended
    expect(askedWhile, 'requests while it lasted').toBeLessThanOrEqual(
      MOST_AT_FIRST + (MOST_LATER * Math.max(0, holdMs - 10_000)) / 10_000,
    )
    if (fault.says === undefined) expect(log.warnings).toEqual([])
    else expect(log.warnings.join('\n')).toMatch(fault.says)
    // One line for each thing that is wrong, not one for each resource or try.
    expect(new Set(log.warnings).size).toBe(log.warnings.length)
    expect(log.warnings.length).toBeLessThanOrEqual(fault.lines ?? 4)
    return { askedWhile, rightAfterMs }
  } finally {
    await source.close()
    await server.close()
  }
}

/** Resolves when `condition` holds; looks 50 times a second. Faults are played at once, so there is no `expect.poll`. */
async function until(condition: () => boolean, limitMs: number): Promise<void> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The recorded list; with the pod that came while nobody could see it, or with another server's versions. */
function list(path: string, changed: boolean, restored: boolean): Step {
  const text = recorded(`list-${path.slice(path.lastIndexOf('/') + 1)}.json`).toString()
  if (!changed) return body(Buffer.from(text))
  const parsed = JSON.parse(text) as { metadata: { resourceVersion: string }; items: unknown[] }
  const last = JSON.parse(added.at(-1) ?? '') as { object: unknown }
  const metadata = restored ? { resourceVersion: '12' } : parsed.metadata
  return body(Buffer.from(JSON.stringify({ ...parsed, metadata, items: [...parsed.items, last.object] })))
}
