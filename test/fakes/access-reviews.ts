// An API server as far as reviews go: it answers TokenReviews and SubjectAccessReviews over real HTTP, by tables that a
// test changes while it runs; and it refuses, hangs or goes away where a test tells it to.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Connection } from '../../agent/identity/kubernetes/connection.js'

export interface Review {
  readonly kind: string
  /** The token, or `user verb resource namespace` (namespace `*`: all of them). */
  readonly about: string
}

export class AccessReviews {
  /** Token to user name. */
  readonly users = new Map<string, string>()
  /** `user namespace`, or `user *`: who may get pods where. */
  readonly rights = new Set<string>()
  readonly asked: Review[] = []
  /** Answers every review with this status; 0: as it should. */
  failure = 0
  /** Takes questions and answers none. */
  silent = false
  readonly url: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server) {
    this.#server = server
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('request', (request, response) => void this.#answer(request, response))
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  static open(): Promise<AccessReviews> {
    const server = createServer()
    return new Promise((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve(new AccessReviews(server)))
    })
  }

  /** How to reach it, as the service account of the test. */
  connection(): Connection {
    return {
      server: new URL(this.url),
      options: () => Promise.resolve({ headers: { Authorization: 'Bearer of-the-agent' } }),
      refused() {},
      close() {},
    }
  }

  /** Reviews of one kind that were asked since the start. */
  count(kind: string): number {
    return this.asked.filter((review) => review.kind === kind).length
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    for await (const chunk of request as AsyncIterable<Buffer>) text += chunk.toString()
    const review = JSON.parse(text) as {
      kind: string
      spec: {
        token?: string
        user?: string
        groups?: string[]
        resourceAttributes?: { verb: string; resource: string; namespace?: string }
      }
    }
    const { kind, spec } = review
    const attributes = spec.resourceAttributes
    const namespace = attributes?.namespace ?? '*'
    const about =
      kind === 'TokenReview'
        ? (spec.token ?? '')
        : `${spec.user} ${attributes?.verb} ${attributes?.resource} ${namespace}`
    this.asked.push({ kind, about })
    if (this.silent) return
    const right = request.method === 'POST' && request.headers.authorization === 'Bearer of-the-agent'
    const status = right ? this.failure : 401
    response.setHeader('content-type', 'application/json')
    if (status !== 0) {
      response.writeHead(status)
      response.end(JSON.stringify({ kind: 'Status', message: `made ${status}`, code: status }))
      return
    }
    response.writeHead(201)
    response.end(
      JSON.stringify({ ...review, status: this.#statusOf(kind, spec.token, spec.user, namespace) }),
    )
  }

  #statusOf(kind: string, token: string | undefined, user: string | undefined, namespace: string): object {
    if (kind !== 'TokenReview') {
      const allowed = this.rights.has(`${user} *`) || this.rights.has(`${user} ${namespace}`)
      return { allowed, ...(!allowed && { reason: 'made up' }) }
    }
    const username = this.users.get(token ?? '')
    if (username === undefined) return { authenticated: false, error: 'invalid bearer token' }
    const groups = ['system:serviceaccounts', 'system:authenticated']
    return { authenticated: true, user: { username, uid: `uid of ${username}`, groups, extra: { x: ['1'] } } }
  }
}
