// How to reach an API server and who to be there: from a kubeconfig, or from the service account of this pod.
//
// A kubeconfig is client-node's business (exec plugins, OIDC, proxies, client certificates). It costs some 70 MiB of
// memory, so it is loaded only then: in a pod there is a token file, a CA file and two variables, which need none of it.

import { access, constants, readFile, stat } from 'node:fs/promises'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent, type RequestOptions } from 'node:https'
import { isIPv6 } from 'node:net'
import { dirname } from 'node:path'

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

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
/** The kubelet renews tokens at 80 % of an hour or later; client-go reads them once a minute, too. */
const TOKEN_AGE_MS = 60_000
/** client-node makes a new agent, with new sockets, each time it is asked: ours are kept this long. */
const AGENT_AGE_MS = 300_000

const agentOptions = { keepAlive: true, keepAliveMsecs: 15_000, maxSockets: 32, scheduling: 'fifo' } as const

function parseServer(text: string | undefined, file: string): URL {
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

/**
 * The current context of a kubeconfig.
 *
 * @throws VethflowError KUBECONFIG_INVALID when it cannot be read, parsed, or names no cluster.
 */
export async function kubeconfigConnection(file: string): Promise<Connection> {
  let source: string
  try {
    source = await readFile(file, 'utf8')
  } catch (cause) {
    throw new VethflowError('KUBECONFIG_INVALID', `cannot read kubeconfig ${file}`, {
      cause,
      hint: 'Name a readable file with --kubeconfig, or use --manifests or --no-kubernetes',
    })
  }
  const { KubeConfig } = await import('@kubernetes/client-node')
  const config = new KubeConfig()
  try {
    config.loadFromString(source)
    config.makePathsAbsolute(dirname(file))
  } catch (cause) {
    // Of something that is YAML but nothing of the kind, client-node says only which property was undefined.
    const what = cause instanceof TypeError ? {} : { cause }
    throw new VethflowError('KUBECONFIG_INVALID', `${file} is not a kubeconfig`, what)
  }
  const cluster = config.getCurrentCluster()
  if (cluster === null) {
    const context = config.getCurrentContext()
    throw new VethflowError(
      'KUBECONFIG_INVALID',
      context
        ? `${file}: context "${context}" names no cluster of this file`
        : `${file} has no current-context`,
      { hint: 'Choose one with `kubectl config use-context`' },
    )
  }
  const server = parseServer(cluster.server, file)
  const user = config.getCurrentUser()
  for (const named of [cluster.caFile, user?.certFile, user?.keyFile]) {
    if (named === undefined || named === '') continue
    await access(named, constants.R_OK).catch((cause: unknown) => {
      throw new VethflowError('KUBECONFIG_INVALID', `${file} names a file that cannot be read: ${named}`, {
        cause,
      })
    })
  }
  if (server.protocol === 'http:') {
    // client-node refuses plain HTTP (kubectl proxy) unless TLS verification is off; there is no TLS to verify.
    config.clusters = config.clusters.map((entry) =>
      entry.name === cluster.name ? { ...entry, skipTLSVerify: true } : entry,
    )
  }
  let agent: RequestOptions['agent']
  let agentSince = 0
  return {
    server,
    async options() {
      const options: RequestOptions = {}
      try {
        await config.applyToHTTPSOptions(options)
      } catch (cause) {
        throw new VethflowError('KUBERNETES_AUTH', `cannot get credentials from ${file}`, { cause })
      }
      const made = options.agent
      if (agent === undefined || performance.now() - agentSince > AGENT_AGE_MS) {
        agent = made
        agentSince = performance.now()
        if (agent instanceof HttpAgent) Object.assign(agent, agentOptions)
      }
      return {
        ...(options.headers === undefined ? {} : { headers: options.headers }),
        ...auth(options),
        agent,
      }
    },
    refused() {
      agent = undefined
    },
    close() {
      if (agent instanceof HttpAgent) agent.destroy()
    },
  }
}

function auth(options: RequestOptions): { auth?: string } {
  return typeof options.auth === 'string' ? { auth: options.auth } : {}
}

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
  const agent = new HttpsAgent({ ...agentOptions, ca })
  let token = ''
  let tokenSince = Number.NEGATIVE_INFINITY
  return {
    server,
    async options() {
      if (performance.now() - tokenSince > TOKEN_AGE_MS) {
        try {
          token = (await readFile(`${account}/token`, 'utf8')).trim()
          tokenSince = performance.now()
        } catch (cause) {
          if (token === '')
            throw new VethflowError(
              'KUBERNETES_AUTH',
              `cannot read ${account}/token: ${describeError(cause)}`,
            )
        }
      }
      return { agent, headers: { Authorization: `Bearer ${token}` } }
    },
    refused() {
      tokenSince = Number.NEGATIVE_INFINITY
    },
    close() {
      agent.destroy()
    },
  }
}
