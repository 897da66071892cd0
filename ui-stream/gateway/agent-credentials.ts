// What a gateway shows to agents, and what it trusts: PEM files and a token, read before each connection, since all of
// them are exchanged in time.

import { readFileSync } from 'node:fs'
import { usageError } from '../../agent/errors.js'
import { quote } from '../../agent/flags.js'
import type { ConnectOptions } from '../client/feed.js'

/** Paths of files. */
export interface AgentCredentials {
  readonly caFile?: string
  readonly tokenFile?: string
  readonly certFile?: string
  readonly keyFile?: string
  /** The name in the agents' certificate, where they are reached by address. */
  readonly serverName?: string
}

/** The part of `connect`'s options that they come to. Throws a usage error for a file that cannot be read now. */
export function credentialOptions(given: AgentCredentials): Partial<ConnectOptions> {
  const { caFile, tokenFile, certFile, keyFile, serverName } = given
  const options: Partial<ConnectOptions> = {
    ...(caFile !== undefined && { ca: () => readText('--agent-ca-file', caFile) }),
    ...(tokenFile !== undefined && { token: () => readText('--agent-token-file', tokenFile).trim() }),
    ...(certFile !== undefined &&
      keyFile !== undefined && {
        identity: () => ({
          cert: readText('--agent-cert', certFile),
          key: readText('--agent-key', keyFile),
        }),
      }),
    ...(serverName !== undefined && { serverName }),
  }
  for (const read of [options.ca, options.token, options.identity]) if (typeof read === 'function') read()
  return options
}

function readText(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw usageError(`${flag} takes a file that can be read, and ${quote(path)} cannot: ${why}`)
  }
}
