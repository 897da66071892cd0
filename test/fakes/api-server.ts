// A scripted API server over real HTTP: it replays what a real one was recorded to say, byte for byte, and breaks off,
// hangs or dies where a test tells it to. Decides nothing by itself: an exchange that nobody scripted is a list of the
// fixtures, a refusal of watch-list, or a watch on which nothing ever happens.

import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'

const fixtures = new URL('../fixtures/kubernetes/', import.meta.url)

/** The bytes of a recorded file. */
export function recorded(name: string): Buffer {
  return readFileSync(new URL(name, fixtures))
}

/** The lines of a recorded stream, each with its newline. */
export function recordedLines(name: string): string[] {
  return recorded(name)
    .toString('utf8')
    .split(/(?<=\n)/)
    .filter((line) => line !== '')
}

/** `count`: a list of one object, to learn how many there are. */
export type Mode = 'list' | 'watchList' | 'watch' | 'count'

export interface Asked {
  readonly path: string
  readonly mode: Mode
  readonly query: URLSearchParams
  readonly accept: string
  readonly authorization: string
  /** performance.now() when it came. */
  readonly at: number
}

/** What is done with one request. */
export type Step = (response: ServerResponse, asked: Asked) => void

/** Answers with a recorded .http file: its status, headers and body. */
export function answer(name: string): Step {
  const bytes = recorded(name)
  const end = bytes.indexOf('\n\n')
  const [statusLine = '', ...headerLines] = bytes.subarray(0, end).toString('latin1').split('\n')
  const body = bytes.subarray(end + 2)
  return (response) => {
    for (const line of headerLines) {
      const colon = line.indexOf(':')
      response.setHeader(line.slice(0, colon), line.slice(colon + 1).trim())
    }
    // Bodies were recorded without the newline that their length counts, or with one that it does not.
    response.removeHeader('content-length')
    response.writeHead(Number(statusLine.split(' ')[1]))
    response.end(body)
  }
}

/** Answers 200 with a recorded file, or with given bytes. */
export function body(content: string | Buffer, type = 'application/json'): Step {
  const bytes = typeof content === 'string' ? recorded(content) : content
  return (response) => {
    response.writeHead(200, { 'content-type': type })
    response.end(bytes)
  }
}

/** Answers with a Status of this code. */
export function failure(code: number, headers: Record<string, string> = {}): Step {
  return (response) => {
    response.writeHead(code, { 'content-type': 'application/json', ...headers })
    response.end(
      JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message: `made ${code}`, code }),
    )
  }
}

/** Takes the request and never says a word. */
export const silence: Step = () => undefined

/** Says that `bytes` come, sends the first part, and cuts the connection. */
export function cutShort(bytes: Buffer, at: number): Step {
  return (response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length })
    response.write(bytes.subarray(0, at), () => response.destroy())
  }
}

/** A watch that a test speaks through. */
export class Stream {
  /** The request that it answers has come. */
  readonly opened: Promise<Asked>
  /** The other side, or this one, has closed it. */
  readonly closed: Promise<void>
  #response: ServerResponse | undefined
  #open: (asked: Asked) => void = () => undefined
  #close: () => void = () => undefined

  constructor() {
    this.opened = new Promise((resolve) => {
      this.#open = resolve
    })
    this.closed = new Promise((resolve) => {
      this.#close = resolve
    })
  }

  /** Begins the answer with `first`, and stays open. */
  begin(first: string | Buffer = ''): Step {
    return (response, asked) => {
      this.#response = response
      response.on('close', () => this.#close())
      response.writeHead(200, { 'content-type': 'application/json' })
      response.flushHeaders()
      if (first.length > 0) response.write(first)
      this.#open(asked)
    }
  }

  send(bytes: string | Buffer): void {
    this.#response?.write(bytes)
  }

  /** In good order. */
  end(): void {
    this.#response?.end()
  }

  /** In the middle of whatever it was saying. */
  cut(): void {
    this.#response?.destroy()
  }
}

interface Script {
  readonly count?: readonly Step[]
  readonly list?: readonly Step[]
  readonly watchList?: readonly Step[]
  readonly watch?: readonly Step[]
}

export interface ApiServerOptions {
  readonly tls?: { readonly key: string; readonly cert: string }
  /** 0: any that is free. */
  readonly port?: number
}

export class ApiServer {
  readonly asked: Asked[] = []
  readonly url: string
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #scripts = new Map<string, Step[]>()
  readonly #waiting: (() => void)[] = []

  private constructor(server: Server, tls: boolean) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    this.url = `${tls ? 'https' : 'http'}://127.0.0.1:${this.port}`
    server.on('request', (request, response) => this.#serve(request, response))
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  /** Listens on loopback; the caller closes. */
  static async start({ tls, port = 0 }: ApiServerOptions = {}): Promise<ApiServer> {
    const server = tls === undefined ? createServer() : createTlsServer(tls)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', resolve)
    })
    return new ApiServer(server, tls !== undefined)
  }

  /** Steps for the requests to come, in order; the last one serves all that follow. */
  script(path: string, { count, list, watchList, watch }: Script): void {
    if (count !== undefined) this.#scripts.set(`${path} count`, [...count])
    if (list !== undefined) this.#scripts.set(`${path} list`, [...list])
    if (watchList !== undefined) this.#scripts.set(`${path} watchList`, [...watchList])
    if (watch !== undefined) this.#scripts.set(`${path} watch`, [...watch])
  }

  /** Requests of this kind so far. */
  count(path: string, mode?: Mode): number {
    return this.asked.filter((asked) => asked.path === path && (mode === undefined || asked.mode === mode))
      .length
  }

  /** Resolves as soon as `condition` holds; looked at with each request. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** A kubeconfig for this server. */
  kubeconfig(token = 'token-of-the-test'): string {
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
      clusters: [{ name: 'test', cluster: { server: this.url } }],
      users: [{ name: 'test', user: { token } }],
    })
  }

  /** Ends every connection at once, as a dying server does. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', this.url)
    const query = url.searchParams
    const mode = modeOf(query)
    const asked: Asked = {
      path: url.pathname,
      mode,
      query,
      accept: request.headers.accept ?? '',
      authorization: request.headers.authorization ?? '',
      at: performance.now(),
    }
    this.asked.push(asked)
    const steps = this.#scripts.get(`${url.pathname} ${mode}`)
    const step = steps === undefined ? usual(asked) : steps.length > 1 ? steps.shift() : steps[0]
    step?.(response, asked)
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

function modeOf(query: URLSearchParams): Mode {
  if (query.get('watch') !== 'true') return query.get('limit') === '1' ? 'count' : 'list'
  return query.has('sendInitialEvents') ? 'watchList' : 'watch'
}

function usual(asked: Asked): Step {
  if (asked.mode === 'count' && asked.path === '/api/v1/pods') return answer('page-1.http')
  if (asked.mode === 'watchList') return answer('watchlist-bad-request.http')
  if (asked.mode === 'watch') return new Stream().begin()
  return body(`list-${asked.path.slice(asked.path.lastIndexOf('/') + 1)}.json`)
}
