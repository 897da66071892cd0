// What a request to an API server needs, wherever it comes from, and what all ways to get it share.

import { readFile } from 'node:fs/promises'
import type { RequestOptions } from 'node:https'

import { describeError, VethflowError } from '../../errors.js'

/** An API server, and what each request to it needs. */
export interface Connection {
  /** Base URL; a path in it is kept. */
  readonly server: URL
  /** Agent and headers for one request; asked anew for each, since tokens expire. */
  options(): Promise<RequestOptions>
  /** The server did not accept who we are: forget what is cached. */
  refused(): void
  close(): void
}

/** The kubelet renews tokens at 80 % of an hour or later; client-go reads them once a minute, too. */
const TOKEN_AGE_MS = 60_000

/** Of the http(s) agents that requests go through. */
export const AGENT_OPTIONS = {
  keepAlive: true,
  keepAliveMsecs: 15_000,
  maxSockets: 32,
  scheduling: 'fifo',
} as const

/** @throws VethflowError KUBECONFIG_INVALID when `text`, which `file` says, is not an http(s) URL. */
export function parseServer(text: string | undefined, file: string): URL {
  try {
    const url = new URL(text ?? '')
    if (url.protocol === 'http:' || url.protocol === 'https:') return url
  } catch {
    // Said below.
  }
  throw new VethflowError(
    'KUBECONFIG_INVALID',
    `${file}: the cluster's server "${text ?? ''}" is not an http(s) URL`,
  )
}

/** A bearer token in a file that somebody renews. */
export class TokenFile {
  readonly #path: string
  #token = ''
  #since = Number.NEGATIVE_INFINITY

  constructor(path: string) {
    this.#path = path
  }

  /**
   * The token, read again when it is older than a minute; the last one when that fails.
   *
   * @throws VethflowError KUBERNETES_AUTH when it was never read.
   */
  async read(): Promise<string> {
    if (performance.now() - this.#since <= TOKEN_AGE_MS) return this.#token
    try {
      this.#token = (await readFile(this.#path, 'utf8')).trim()
      this.#since = performance.now()
    } catch (cause) {
      if (this.#token === '')
        throw new VethflowError('KUBERNETES_AUTH', `cannot read ${this.#path}: ${describeError(cause)}`)
    }
    return this.#token
  }

  /** The next `read` looks at the file. */
  forget(): void {
    this.#since = Number.NEGATIVE_INFINITY
  }
}
