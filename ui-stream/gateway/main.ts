// `vethflow gateway` as a process: opens the gateway, waits for the signal, closes it.

import { pino } from 'pino'

import { usageError } from '../../agent/errors.js'
import { openConnection } from '../../agent/identity/open.js'
import { openSecurity } from '../server/auth/open-security.js'
import type { SecurityOptions } from '../server/auth/security.js'
import type { ServiceToFollow } from './discover.js'
import { Gateway, type GatewayConfig } from './gateway.js'

/** What the flags come to. */
export interface GatewaySettings extends Omit<GatewayConfig, 'discover'> {
  /** Whose endpoints are agents. */
  readonly service: ServiceToFollow | undefined
  /** How to reach the API server; undefined: in-cluster. */
  readonly kubeconfig: string | undefined
  readonly security: SecurityOptions
  readonly auth: 'kubernetes' | undefined
}

/** Runs a gateway until `signal` says so. Resolves with the exit code. */
export async function runGateway(config: GatewaySettings, signal: AbortSignal): Promise<number> {
  // Logs go to stderr like those of every command; stdout is for flows.
  const log = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  const security = await openSecurity(config, config.kubeconfig, (message) => log.warn(message))
  const discover =
    config.service === undefined ? undefined : await findService(config.service, config.kubeconfig)
  const gateway = await Gateway.open(
    { ...config, security, ...(discover !== undefined && { discover }) },
    log,
  )
  try {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      else signal.addEventListener('abort', () => resolve(), { once: true })
    })
  } finally {
    await gateway.close()
  }
  return 0
}

async function findService(
  service: ServiceToFollow,
  kubeconfig: string | undefined,
): Promise<NonNullable<GatewayConfig['discover']>> {
  const connection = await openConnection(kubeconfig)
  if (connection === undefined) {
    throw usageError('--discover takes an API server to ask: --kubeconfig outside a cluster')
  }
  return { service, connection }
}
