// One GET to an agent or a gateway, bounded in time and size, over http or https.

import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'

import { describeError, ExitCode, VethflowError } from '../../agent/errors.js'
import { httpUrl, serverUrl } from '../client/server-url.js'

const TIMEOUT_MS = 10_000
const MAX_BYTES = 64 << 20

export interface FetchOptions {
  readonly server: string
  readonly path: string
  readonly token: string | undefined
  readonly ca: string | undefined
  readonly signal: AbortSignal
}

/** The JSON that the server answers. Throws a VethflowError for no answer, a refusal, or what is no JSON. */
export async function fetchJson(options: FetchOptions): Promise<unknown> {
  const url = httpUrl(serverUrl(options.server), options.path)
  const { status, body } = await get(url, options).catch((cause: unknown) => {
    throw new VethflowError('UNREACHABLE', `Cannot read ${url.href}: ${reason(cause)}`, {
      exitCode: ExitCode.UNAVAILABLE,
      hint: 'See that an agent or a gateway runs there, or name another with --server',
    })
  })
  if (status === 401 || status === 403) {
    throw new VethflowError('UNAUTHORIZED', `${url.host} does not let you in`, {
      exitCode: ExitCode.NO_PERMISSION,
      hint: 'Give a token that it accepts, with --token-file or VETHFLOW_TOKEN',
    })
  }
  if (status !== 200) {
    throw new VethflowError('REFUSED', `${url.href} answered with HTTP ${status}`, {
      exitCode: ExitCode.UNAVAILABLE,
    })
  }
  try {
    return JSON.parse(body)
  } catch {
    throw new VethflowError('PROTOCOL', `${url.href} answered with something that is no JSON`)
  }
}

function get(url: URL, options: FetchOptions): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const request = send(
      url,
      {
        signal: AbortSignal.any([options.signal, AbortSignal.timeout(TIMEOUT_MS)]),
        headers: options.token === undefined ? {} : { authorization: `Bearer ${options.token}` },
        ...(options.ca === undefined ? {} : { ca: options.ca }),
      },
      (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > MAX_BYTES) response.destroy(new Error('the answer is too large'))
          else chunks.push(chunk)
        })
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
        )
        response.on('error', reject)
      },
    )
    request.on('error', reject)
    request.end()
  })
}

function reason(cause: unknown): string {
  if (cause instanceof Error && cause.name === 'TimeoutError') return 'no answer in time'
  if (cause instanceof AggregateError) return describeError(cause.errors[0])
  return describeError(cause)
}
