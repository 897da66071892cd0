// The flags with which agent and gateway serve their stream: where, how much of the past, and to whom.

import type { SecurityOptions } from '../ui-stream/server/auth/security.js'
import { usageError } from './errors.js'
import {
  byteSize,
  formatListen,
  isLoopback,
  type ListenAddress,
  listenAddress,
  oneOf,
  plainText,
} from './flag-values.js'
import { type FlagTable, type FlagValues, switchFlag, valueFlag } from './flags.js'

/** Below this much history, `--auth kubernetes` has nothing to read what somebody may see from. */
const LEAST_SCOPED_HISTORY = 2 ** 20

/** Where and to whom a stream is served. */
export interface ServeSettings {
  readonly listen: ListenAddress
  readonly historyBytes: number
  /** Serve other machines without TLS and token. */
  readonly insecure: boolean
  /** Files of TLS and tokens. */
  readonly security: SecurityOptions
  /** Who is asked what a token is worth. */
  readonly auth: 'kubernetes' | undefined
}

export const serveFlags = {
  listen: valueFlag({
    name: 'listen',
    takes: 'ADDRESS:PORT',
    help: 'where to serve /v1/flows, /v1/status and /metrics',
    parse: listenAddress,
    fallback: { host: '127.0.0.1', port: 4280 },
    shownDefault: '127.0.0.1:4280',
  }),
  history: valueFlag({
    name: 'history',
    takes: 'SIZE',
    help: 'memory for past flows; 0 keeps none',
    parse: byteSize(0, 16 * 2 ** 30, 'up to 16GiB'),
    fallback: 64 * 2 ** 20,
    shownDefault: '64MiB',
  }),
  tlsCert: valueFlag({
    name: 'tls-cert',
    takes: 'FILE',
    help: 'PEM certificate to serve TLS with; read again when it changes',
    group: 'Access',
    parse: plainText('a file'),
  }),
  tlsKey: valueFlag({
    name: 'tls-key',
    takes: 'FILE',
    help: 'PEM key of --tls-cert',
    group: 'Access',
    parse: plainText('a file'),
  }),
  clientCa: valueFlag({
    name: 'client-ca',
    takes: 'FILE',
    help: 'PEM authority whose clients see everything by their certificates (gateways)',
    group: 'Access',
    parse: plainText('a file'),
  }),
  tokenFile: valueFlag({
    name: 'token-file',
    takes: 'FILE',
    help: 'shared secrets that let in, one a line; read again when it changes',
    group: 'Access',
    parse: plainText('a file'),
  }),
  auth: valueFlag({
    name: 'auth',
    takes: 'kubernetes',
    help: 'let in those whom the cluster knows, to what they may get pods of',
    group: 'Access',
    parse: oneOf('kubernetes'),
  }),
  insecure: switchFlag({
    name: 'insecure',
    help: 'serve other machines without TLS and without asking who they are',
    group: 'Access',
  }),
} satisfies FlagTable

/** What the flags come to. Throws a usage error for those that do not go together, or would serve anybody. */
export function serveSettings(values: FlagValues<typeof serveFlags>): ServeSettings {
  const { listen, history: historyBytes, insecure, tlsCert, tlsKey, clientCa, tokenFile, auth } = values
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw usageError('--tls-cert and --tls-key go together')
  }
  if (clientCa !== undefined && tlsCert === undefined) {
    throw usageError('--client-ca takes --tls-cert and --tls-key beside it: certificates are shown in TLS')
  }
  if (auth !== undefined && historyBytes < LEAST_SCOPED_HISTORY) {
    throw usageError('--auth kubernetes takes a --history of at least 1MiB')
  }
  const asks = tokenFile !== undefined || auth !== undefined || clientCa !== undefined
  if (!insecure && !isLoopback(listen.host) && !(asks && tlsCert !== undefined)) {
    const lacks = tlsCert !== undefined ? 'a token' : asks ? 'TLS' : 'TLS or token'
    throw usageError(
      `--listen ${formatListen(listen)} is open to other machines, without ${lacks}`,
      'Give --tls-cert and --tls-key, and --token-file or --auth kubernetes; or --insecure if that is what you want',
    )
  }
  return {
    listen,
    historyBytes,
    insecure,
    auth,
    security: {
      ...(tlsCert !== undefined &&
        tlsKey !== undefined && {
          tls: { cert: tlsCert, key: tlsKey, ...(clientCa !== undefined && { clientCa }) },
        }),
      ...(tokenFile !== undefined && { tokenFile }),
    },
  }
}
