// How to reach the API server from a pod: its service account.

import { readFile, stat } from 'node:fs/promises'
import { Agent as HttpsAgent } from 'node:https'
import { isIPv6 } from 'node:net'

import { VethflowError } from '../../errors.js'
import { AGENT_OPTIONS, type Connection, parseServer, TokenFile } from './connection.js'

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

export interface InClusterOptions {
  readonly host?: string | undefined
  readonly port?: string | undefined
  /** Directory with `token` and `ca.crt`. */
  readonly account?: string
}

/** True when this process runs in a pod that has a service account. */
export async function runsInCluster(options: InClusterOptions = {}): Promise<boolean> {
  const host = options.host ?? process.env.KUBERNETES_SERVICE_HOST
  if (host === undefined || host === '') return false
  return stat(`${options.account ?? ACCOUNT}/token`).then(
    () => true,
    () => false,
  )
}

/**
 * This pod's service account.
 *
 * @throws VethflowError KUBECONFIG_INVALID when this is no pod, or it has no service account.
 */
export async function inClusterConnection(given: InClusterOptions = {}): Promise<Connection> {
  const host = given.host ?? process.env.KUBERNETES_SERVICE_HOST
  const port = given.port ?? process.env.KUBERNETES_SERVICE_PORT ?? '443'
  const account = given.account ?? ACCOUNT
  if (host === undefined || host === '') {
    throw new VethflowError(
      'KUBECONFIG_INVALID',
      'not inside a cluster: KUBERNETES_SERVICE_HOST is not set',
      {
        hint: 'Use --kubeconfig, --manifests or --no-kubernetes',
      },
    )
  }
  const server = parseServer(
    `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    'KUBERNETES_SERVICE_HOST',
  )
  const ca = await readFile(`${account}/ca.crt`).catch((cause: unknown) => {
    throw new VethflowError('KUBECONFIG_INVALID', `cannot read ${account}/ca.crt`, {
      cause,
      hint: 'Let the pod have a service account (automountServiceAccountToken)',
    })
  })
  const agent = new HttpsAgent({ ...AGENT_OPTIONS, ca })
  const token = new TokenFile(`${account}/token`)
  return {
    server,
    async options() {
      return { agent, headers: { Authorization: `Bearer ${await token.read()}` } }
    },
    refused() {
      token.forget()
    },
    close() {
      agent.destroy()
    },
  }
}
