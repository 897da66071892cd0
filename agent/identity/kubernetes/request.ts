// One request to the API server: a GET with its answer as a stream, or an object that the server completes.
//
// node:https itself rather than client-node's Watch: that one swallows lines that it cannot parse, has no bound on their
// length, and overwrites its own timeout, so that it never notices a connection that has died without a word.

import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'

import { VethflowError } from '../../errors.js'
import { type Fields, fields, text } from '../object.js'
import type { Connection } from './connection.js'

/** A server may ask for so much patience; a quarter more is added by chance. */
const MOST_RETRY_AFTER_S = 22
/** Largest answer to a request that failed. */
const MAX_STATUS = 64 * 2 ** 10
/** Largest review: its question comes back with it, token and all. */
const MAX_CREATED = 2 ** 20

/** An answer other than 200. */
export class StatusError extends Error {
  readonly status: number
  /** From Retry-After, in ms; 0 where there is none. */
  readonly retryAfterMs: number

  constructor(status: number, message: string, retryAfterMs: number) {
    super(message)
    this.name = 'StatusError'
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

export interface GetOptions {
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly accept: string
  /** Most time without a byte, in ms: before the answer, and during it unless it is a watch, which has its own guard. */
  readonly silenceMs: number
  readonly watch: boolean
  readonly signal: AbortSignal
}

/**
 * Sends the request; the answer's body is the caller's, who destroys it when done. Silence for longer than `silenceMs`
 * destroys it with an error.
 *
 * @throws StatusError for any answer but 200; an Error when there is none.
 */
export function get(connection: Connection, options: GetOptions): Promise<IncomingMessage> {
  return exchange(connection, { ...options, method: 'GET', body: undefined })
}

/** Longest silence after a question; the API server gives its own webhooks 10 s. */
const CREATE_SILENCE_MS = 10_000

/**
 * Creates an object and gives it back as the server completed it: how reviews are asked.
 *
 * @throws StatusError for a refusal; an Error when there is no answer.
 */
export async function create(
  connection: Connection,
  path: string,
  object: object,
  signal: AbortSignal,
): Promise<Fields> {
  const response = await exchange(connection, {
    path,
    query: {},
    accept: 'application/json',
    silenceMs: CREATE_SILENCE_MS,
    watch: false,
    signal,
    method: 'POST',
    body: JSON.stringify(object),
  })
  const body = await readBody(response, MAX_CREATED)
  try {
    return fields(JSON.parse(body) as unknown)
  } catch (cause) {
    throw new VethflowError('KUBERNETES_ANSWER', 'the API server answered with something that is no JSON', {
      cause,
    })
  }
}

interface Exchange extends GetOptions {
  readonly method: string
  readonly body: string | undefined
}

async function exchange(connection: Connection, options: Exchange): Promise<IncomingMessage> {
  const base = connection.server
  const url = new URL(base)
  url.pathname = base.pathname.replace(/\/$/, '') + options.path
  for (const [name, value] of Object.entries(options.query)) url.searchParams.set(name, value)
  const given = await connection.options()
  options.signal.throwIfAborted()
  const response = await send(url, given, options)
  if (response.statusCode === 200 || response.statusCode === 201) return response
  const status = response.statusCode ?? 0
  const message = await readStatus(response)
  const retryAfter = Number(response.headers['retry-after'])
  if (status === 401) connection.refused()
  throw new StatusError(
    status,
    `the API server answers ${status}${message === '' ? '' : `: ${message}`}`,
    Number.isFinite(retryAfter) && retryAfter > 0 ? Math.min(retryAfter, MOST_RETRY_AFTER_S) * 1000 : 0,
  )
}

function send(url: URL, given: RequestOptions, options: Exchange): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'http:' ? httpRequest : httpsRequest)(url, {
      ...given,
      method: options.method,
      headers: {
        ...given.headers,
        Accept: options.accept,
        'User-Agent': 'vethflow',
        ...(options.body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      signal: options.signal,
    })
    let response: IncomingMessage | undefined
    const silent = () => {
      const error = new VethflowError(
        'KUBERNETES_SILENT',
        `no byte from the API server for ${Math.round(options.silenceMs / 100) / 10} s`,
      )
      if (response === undefined) request.destroy(error)
      else response.destroy(error)
    }
    // A timer of our own: a socket's timeout is not running yet while the name is looked up or TLS is shaking hands.
    const timer = setTimeout(silent, options.silenceMs)
    request.on('error', (error) => {
      clearTimeout(timer)
      reject(error instanceof VethflowError || options.signal.aborted ? error : unreachable(url, error))
    })
    request.on('response', (message) => {
      response = message
      if (options.watch && message.statusCode === 200) clearTimeout(timer)
      else {
        timer.refresh()
        message.on('data', () => timer.refresh())
        message.on('close', () => clearTimeout(timer))
        message.pause()
      }
      resolve(message)
    })
    request.end(options.body)
  })
}

function unreachable(url: URL, error: Error): VethflowError {
  // Where a name has several addresses, the error of each is inside, and its own message is empty.
  const cause: unknown = error instanceof AggregateError ? (error.errors[0] ?? error) : error
  return new VethflowError('KUBERNETES_AWAY', `cannot reach the API server at ${url.host}`, { cause })
}

async function readBody(response: IncomingMessage, limit: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > limit) {
      response.destroy()
      throw new VethflowError('KUBERNETES_ANSWER', `an answer of more than ${limit} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function readStatus(response: IncomingMessage): Promise<string> {
  try {
    const body = await readBody(response, MAX_STATUS)
    return text(fields(JSON.parse(body) as unknown).message) ?? ''
  } catch {
    return ''
  }
}
