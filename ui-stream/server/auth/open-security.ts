// From flags to somebody who can say what a token is worth.

import { usageError } from '../../../agent/errors.js'
import { openConnection } from '../../../agent/identity/open.js'
import { KubernetesReviewer } from './kubernetes.js'
import type { SecurityOptions } from './security.js'

/** What the flags of access come to. Whoever gets it hands it to a server, which closes it. */
export async function openSecurity(
  settings: { readonly security: SecurityOptions; readonly auth: 'kubernetes' | undefined },
  kubeconfig: string | undefined,
  warn: (message: string) => void,
): Promise<SecurityOptions> {
  if (settings.auth === undefined) return settings.security
  const connection = await openConnection(kubeconfig)
  if (connection === undefined) {
    throw usageError('--auth kubernetes takes an API server to ask: --kubeconfig outside a cluster')
  }
  return { ...settings.security, reviewer: new KubernetesReviewer({ connection, warn }) }
}
