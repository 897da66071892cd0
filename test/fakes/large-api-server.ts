// An API server with a cluster of any size, in a process of its own: lists in pages, watch-list, watches with bookmarks
// and changes at a rate, field selectors on node and address. Over HTTP, or HTTPS with the key and certificate of a
// folder. What it was asked is counted, by path and kind of request.
//
//   node large-api-server.js --pods N --services N --slices N --nodes N [--port N] [--tls FOLDER] [--no-watch-list]
//
// Prints READY and its port. GET /control/changes?rate=N sets the pod changes a second, /control/asked gives the counts,
// /control/pod?at=N a pod's name and address, /control/break?seconds=N cuts every connection and takes none for so long.

import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { LargeCluster, nodeName } from './large-cluster.js'

const CHUNK = 65_536
/** Changes that a watch can go on from. */
const REMEMBERED = 20_000
const BOOKMARK_MS = 10_000

const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '1000' },
    services: { type: 'string', default: '100' },
    slices: { type: 'string', default: '200' },
    nodes: { type: 'string', default: '10' },
    port: { type: 'string', default: '0' },
    tls: { type: 'string' },
    'no-watch-list': { type: 'boolean', default: false },
  },
})
const cluster = new LargeCluster({
  pods: Number(values.pods),
  services: Number(values.services),
  slices: Number(values.slices),
  nodes: Number(values.nodes),
})
const { size } = cluster

interface Resource {
  readonly kind: string
  readonly count: number
  text(i: number): string
  /** Rows of a field selector; undefined: all. */
  select(query: URLSearchParams): readonly number[] | undefined
}

const all = () => undefined
const resources: Readonly<Record<string, Resource>> = {
  '/api/v1/pods': { kind: 'Pod', count: size.pods, text: (i) => cluster.pod(i), select: selectPods },
  '/api/v1/services': {
    kind: 'Service',
    count: size.services,
    text: (i) => cluster.service(i),
    select: all,
  },
  '/apis/discovery.k8s.io/v1/endpointslices': {
    kind: 'EndpointSlice',
    count: size.slices,
    text: (i) => cluster.slice(i),
    select: all,
  },
  '/apis/networking.k8s.io/v1/ingresses': { kind: 'Ingress', count: 0, text: () => '', select: all },
  '/api/v1/nodes': { kind: 'Node', count: size.nodes, text: (i) => cluster.node(i), select: selectNodes },
  '/api/v1/namespaces': {
    kind: 'Namespace',
    count: cluster.namespaces,
    text: (i) => cluster.namespace(i),
    select: all,
  },
}

interface Watcher {
  readonly response: ServerResponse
  readonly kind: string
  readonly matches: (pod: number) => boolean
  /** What has changed while the initial events are still on their way. */
  waiting: string[] | undefined
}

const watchers = new Set<Watcher>()
const asked: Record<string, number> = {}
const remembered: { version: number; pod: number; line: string }[] = []
const sockets = new Set<Socket>()

function selector(query: URLSearchParams): Map<string, string> {
  const parts = (query.get('fieldSelector') ?? '').split(',').filter((part) => part !== '')
  return new Map(parts.map((part) => part.split('=', 2) as [string, string]))
}

function podMatcher(query: URLSearchParams): ((pod: number) => boolean) | undefined {
  const wanted = selector(query)
  const node = wanted.get('spec.nodeName')
  const address = wanted.get('status.podIP')
  if (node === undefined && address === undefined) return undefined
  return (pod) =>
    (node === undefined || cluster.podNode(pod) === node) &&
    (address === undefined || cluster.podAddress(pod) === address)
}

function selectPods(query: URLSearchParams): readonly number[] {
  const matches = podMatcher(query) ?? (() => true)
  const found: number[] = []
  for (let i = 0; i < size.pods; i++) if (matches(i) && !cluster.isGone(i)) found.push(i)
  return found
}

function selectNodes(query: URLSearchParams): readonly number[] | undefined {
  const name = selector(query).get('metadata.name')
  if (name === undefined) return undefined
  return Array.from({ length: size.nodes }, (_, i) => i).filter((i) => nodeName(i) === name)
}

function status(response: ServerResponse, code: number, message: string): void {
  response.writeHead(code, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message, code }))
}

/** Resolves when the other side has taken what was written, or is gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done)
      resolve()
    }
    response.on('drain', done).on('close', done)
  })
}

/** Writes texts a chunk at a time, no faster than they are taken. */
async function write(response: ServerResponse, texts: Iterable<string>): Promise<void> {
  let chunk = ''
  for (const text of texts) {
    chunk += text
    if (chunk.length < CHUNK) continue
    const more = response.write(chunk, 'latin1')
    chunk = ''
    if (!more) await drained(response)
    if (response.destroyed) return
  }
  if (chunk !== '') response.write(chunk, 'latin1')
}

async function list(resource: Resource, query: URLSearchParams, response: ServerResponse): Promise<void> {
  const rows = resource.select(query)
  const total = rows?.length ?? resource.count
  const limit = Number(query.get('limit') ?? total) || total
  const from = Number(query.get('continue') ?? 0)
  const until = Math.min(total, from + limit)
  const left = total - until
  const more = left > 0 ? `,"continue":"${until}","remainingItemCount":${left}` : ''
  response.writeHead(200, { 'content-type': 'application/json' })
  const version = `"resourceVersion":"${cluster.version}"`
  await write(
    response,
    (function* () {
      yield `{"kind":"${resource.kind}List","apiVersion":"v1","metadata":{${version}${more}},"items":[`
      for (let i = from; i < until; i++)
        yield (i === from ? '' : ',') + resource.text(rows === undefined ? i : (rows[i] ?? 0))
      yield ']}\n'
    })(),
  )
  response.end()
}

async function watchList(
  resource: Resource,
  query: URLSearchParams,
  response: ServerResponse,
): Promise<void> {
  const rows = resource.select(query)
  const count = rows?.length ?? resource.count
  const watcher = watch(resource, query, response)
  watcher.waiting = []
  await write(
    response,
    (function* () {
      for (let i = 0; i < count; i++)
        yield `{"type":"ADDED","object":${resource.text(rows === undefined ? i : (rows[i] ?? 0))}}\n`
      yield bookmark(resource.kind, ',"annotations":{"k8s.io/initial-events-end":"true"}')
    })(),
  )
  for (const line of watcher.waiting) response.write(line, 'latin1')
  watcher.waiting = undefined
}

function bookmark(kind: string, more = ''): string {
  return `{"type":"BOOKMARK","object":{"kind":"${kind}","apiVersion":"v1","metadata":{"resourceVersion":"${cluster.version}"${more}}}}\n`
}

function watch(resource: Resource, query: URLSearchParams, response: ServerResponse): Watcher {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.flushHeaders()
  const matches = podMatcher(query) ?? (() => true)
  const watcher: Watcher = { response, kind: resource.kind, matches, waiting: undefined }
  watchers.add(watcher)
  const timer = setTimeout(() => response.end(), 1000 * Number(query.get('timeoutSeconds') ?? 300))
  response.on('close', () => {
    clearTimeout(timer)
    watchers.delete(watcher)
  })
  return watcher
}

function watchFrom(resource: Resource, query: URLSearchParams, response: ServerResponse): void {
  const from = Number(query.get('resourceVersion') ?? 0)
  if (from < cluster.version - REMEMBERED) {
    status(response, 410, 'too old resource version')
    return
  }
  const watcher = watch(resource, query, response)
  if (resource.kind !== 'Pod') return
  for (const { version, pod, line } of remembered)
    if (version > from && watcher.matches(pod)) response.write(line, 'latin1')
}

function change(): void {
  const { type, pod, text } = cluster.change()
  const line = `{"type":"${type}","object":${text}}\n`
  remembered.push({ version: cluster.version, pod, line })
  if (remembered.length > REMEMBERED * 1.5) remembered.splice(0, remembered.length - REMEMBERED)
  for (const watcher of watchers) {
    if (watcher.kind !== 'Pod' || !watcher.matches(pod)) continue
    if (watcher.waiting !== undefined) watcher.waiting.push(line)
    else watcher.response.write(line, 'latin1')
  }
}

let rate = 0
let owed = 0
let changed = performance.now()
setInterval(() => {
  const now = performance.now()
  owed += ((now - changed) / 1000) * rate
  changed = now
  for (; owed >= 1; owed--) change()
}, 5)
setInterval(() => {
  for (const { response, kind, waiting } of watchers)
    if (waiting === undefined) response.write(bookmark(kind), 'latin1')
}, BOOKMARK_MS)

function control(url: URL, response: ServerResponse): void {
  const number = (name: string) => Number(url.searchParams.get(name) ?? 0)
  const answer = (value: unknown) => response.end(JSON.stringify(value))
  if (url.pathname === '/control/changes') {
    rate = number('rate')
    answer({ rate, version: cluster.version })
  } else if (url.pathname === '/control/asked') answer(asked)
  else if (url.pathname === '/control/pod') {
    const at = number('at')
    answer({ name: cluster.podName(at), namespace: cluster.podNamespace(at), ip: cluster.podAddress(at) })
  } else if (url.pathname === '/control/break') {
    answer({})
    setImmediate(() => {
      const { port } = server.address() as AddressInfo
      server.close()
      for (const socket of sockets) socket.destroy()
      setTimeout(() => server.listen(port, '127.0.0.1'), number('seconds') * 1000)
    })
  } else status(response, 404, 'no such control')
}

function serve(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost')
  if (url.pathname.startsWith('/control/')) {
    control(url, response)
    return
  }
  const query = url.searchParams
  const watching = query.get('watch') === 'true'
  const how = watching ? (query.has('sendInitialEvents') ? 'watchList' : 'watch') : 'list'
  const selected = [...selector(query).keys()].join(',')
  const key = `${how} ${url.pathname}${selected === '' ? '' : ` ${selected}`}`
  asked[key] = (asked[key] ?? 0) + 1
  const resource = resources[url.pathname]
  const single = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)$/.exec(url.pathname)
  if (single !== null) {
    for (let i = 0; i < size.pods; i++) {
      if (cluster.podName(i) !== single[2] || cluster.podNamespace(i) !== single[1] || cluster.isGone(i))
        continue
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(cluster.pod(i))
      return
    }
  }
  if (resource === undefined) status(response, 404, 'the server could not find the requested resource')
  else if (how === 'list') void list(resource, query, response)
  else if (how === 'watch') watchFrom(resource, query, response)
  else if (values['no-watch-list']) status(response, 400, 'sendInitialEvents is forbidden')
  else void watchList(resource, query, response)
}

const tls = values.tls
const server =
  tls === undefined
    ? createServer(serve)
    : createTlsServer(
        { key: readFileSync(join(tls, 'key.pem')), cert: readFileSync(join(tls, 'ca.crt')) },
        serve,
      )
server.on('connection', (socket: Socket) => {
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
})
server.listen(Number(values.port), '127.0.0.1', () => {
  process.stdout.write(`READY ${(server.address() as AddressInfo).port}\n`)
})
