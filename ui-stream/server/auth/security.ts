// Who may come in: puts together TLS, client certificates, shared tokens, Kubernetes' word and tickets, and slows down
// those who guess. Decides for one request at a time; what a grant lets see is the server's business.
//
//   certificate of --client-ca  ->  everything
//   ticket (streams only)       ->  what it was fetched with
//   bearer token                ->  --token-file: everything; --auth kubernetes: what the cluster lets see
//   none of these               ->  401

import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import { VethflowError } from '../../../agent/errors.js'
import type { Refusal } from '../request-guard.js'
import { type TlsContext as Context, TlsContext, type TlsFiles } from '../tls.js'
import { certificateGrant } from './client-certificate.js'
import { FailureLimit } from './failure-limit.js'
import { type Admission, type Grant, OPEN_GRANT } from './grant.js'
import { TICKET_MS, Tickets } from './tickets.js'
import { TokenFile } from './token-file.js'

/** Asks somebody else what a token is worth. */
export interface TokenReviewer {
  /** What `token` gives; undefined when it is worth nothing. Rejects when nobody can be asked now. */
  admit(token: string): Promise<Grant | undefined>
  /** As `admit`, only from what is known already: asks nobody. */
  known(token: string): Grant | undefined
  close(): void
}

export interface SecurityOptions {
  readonly tls?: TlsFiles
  readonly tokenFile?: string
  /** Ours from now on: closed with the rest. */
  readonly reviewer?: TokenReviewer
  /** How often files are looked at, ms; every 2 s unless given. */
  readonly filePollMs?: number
}

/** A client has so long for its part of the TLS handshake, its headers, and its whole request. */
const HANDSHAKE_MS = 10_000
const HEADERS_MS = 10_000
const REQUEST_MS = 30_000
const CHECK_MS = 2000
const MOST_HEADER_BYTES = 16 * 1024

const NO_TOKEN: Refusal = {
  status: 401,
  message: 'A token is needed: Authorization: Bearer TOKEN',
  headers: { 'WWW-Authenticate': 'Bearer realm="vethflow"' },
}
const BAD_TOKEN: Refusal = {
  status: 401,
  message: 'The token is not accepted, or no longer',
  headers: { 'WWW-Authenticate': 'Bearer realm="vethflow", error="invalid_token"' },
}
const BAD_TICKET: Refusal = {
  status: 401,
  message: 'The ticket is not accepted: each is good once, for half a minute, and for one origin',
}
const TOKEN_IN_URL: Refusal = {
  status: 400,
  message: 'Tokens do not belong into URLs, which are logged: use Authorization, or fetch a ticket',
}
const NOT_NOW: Refusal = {
  status: 503,
  message: 'Nobody can say now what this token is worth; try again later',
  headers: { 'Retry-After': '5' },
}

/** Whoever opens it closes it. */
export class Security {
  readonly #options: SecurityOptions
  readonly #tickets = new Tickets()
  readonly #limit = new FailureLimit()
  #tls: Context | undefined
  #tokens: TokenFile | undefined
  #server: HttpsServer | undefined
  /** Called when a file has changed: what was granted may hold no more. */
  onChange: () => void = () => undefined

  private constructor(options: SecurityOptions) {
    this.#options = options
  }

  /** Reads the files. Throws a usage error for one that cannot be used. `complain` gets one sentence for the log. */
  static async open(options: SecurityOptions, complain: (message: string) => void): Promise<Security> {
    const security = new Security(options)
    const { tls, tokenFile, filePollMs } = options
    try {
      if (tls !== undefined) {
        const reloaded = (): void => {
          security.#server?.setSecureContext(security.#tls!.options)
          security.onChange()
        }
        security.#tls = await TlsContext.open(tls, reloaded, complain, filePollMs)
      }
      if (tokenFile !== undefined) {
        security.#tokens = await TokenFile.open(tokenFile, () => security.onChange(), complain, filePollMs)
      }
    } catch (error) {
      security.close()
      throw error
    }
    return security
  }

  /** True when somebody is asked who he is. */
  get asks(): boolean {
    return (
      this.#tokens !== undefined || this.#options.reviewer !== undefined || this.#tls?.asksClients === true
    )
  }

  /** True when some may see less than others. */
  get scopes(): boolean {
    return this.#options.reviewer !== undefined
  }

  get encrypts(): boolean {
    return this.#tls !== undefined
  }

  /** An HTTP or HTTPS server, bounded against slow and oversized clients; follows the files. To be called once. */
  createServer(answer: (request: IncomingMessage, response: ServerResponse) => void): Server {
    const limits: ServerOptions = {
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: CHECK_MS,
      maxHeaderSize: MOST_HEADER_BYTES,
    }
    if (this.#tls === undefined) return createHttpServer(limits, answer)
    this.#server = createHttpsServer(
      {
        ...limits,
        ...this.#tls.options,
        handshakeTimeout: HANDSHAKE_MS,
        requestCert: this.#tls.asksClients,
        // Those without a certificate may have a token, and probes have neither: asked for each request.
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
      },
      answer,
    )
    return this.#server
  }

  /** Whether a request may pass. A ticket in its query counts for streams only. */
  async admit(request: IncomingMessage, stream: boolean): Promise<Admission> {
    const query = queryOf(request)
    if (query.has('access_token') || query.has('token')) return { refusal: TOKEN_IN_URL }
    if (!this.asks) return { grant: OPEN_GRANT }
    const certified = certificateGrant(request.socket, () => this.#tls?.authorities ?? [])
    if (certified !== undefined) return { grant: certified }
    const address = request.socket.remoteAddress ?? ''
    const ticket = stream ? query.get('ticket') : null
    const token = bearerOf(request)
    if (ticket === null && token === undefined) return { refusal: NO_TOKEN }
    const waitMs = this.#limit.waitMs(address)
    if (waitMs > 0) {
      // Somebody who is known is let in also where another behind the same address is guessing.
      const known = token === undefined ? undefined : this.#options.reviewer?.known(token)
      return known === undefined ? { refusal: tooMany(waitMs) } : { grant: known }
    }
    if (ticket !== null) {
      const grant = this.#tickets.redeem(ticket, request.headers.origin)
      if (grant !== undefined && (await grant.holds())) return { grant }
      this.#limit.failed(address)
      return { refusal: BAD_TICKET }
    }
    let grant = this.#tokens?.admit(token!)
    try {
      grant ??= await this.#options.reviewer?.admit(token!)
    } catch (error) {
      if (error instanceof VethflowError) return { refusal: NOT_NOW }
      throw error
    }
    if (grant !== undefined) return { grant }
    this.#limit.failed(address)
    return { refusal: BAD_TOKEN }
  }

  /** A ticket for somebody who has been let in, as the answer to `POST /v1/ticket`. */
  ticket(request: IncomingMessage, grant: Grant): { readonly ticket: string; readonly expiresInMs: number } {
    return { ticket: this.#tickets.issue(grant, request.headers.origin), expiresInMs: TICKET_MS }
  }

  close(): void {
    this.#tls?.close()
    this.#tokens?.close()
    this.#options.reviewer?.close()
  }
}

function tooMany(waitMs: number): Refusal {
  return {
    status: 429,
    message: 'Too many tokens from this address were not accepted; try again later',
    headers: { 'Retry-After': String(Math.ceil(waitMs / 1000)) },
  }
}

function queryOf(request: IncomingMessage): URLSearchParams {
  const url = request.url ?? ''
  const mark = url.indexOf('?')
  return new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1))
}

/** RFC 6750, 2.1. */
function bearerOf(request: IncomingMessage): string | undefined {
  const { authorization } = request.headers
  if (authorization === undefined) return undefined
  // Something that is no bearer token is a wrong one, not none.
  return /^bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1] ?? ''
}
