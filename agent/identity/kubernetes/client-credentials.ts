// Credentials that take more than reading a file: exec plugins, OIDC, proxies. That is client-node's business, and costs
// some 70 MiB of memory, so it is loaded for a kubeconfig that says so and for no other (see kubeconfig.ts).

import { Agent as HttpAgent } from 'node:http'
import type { RequestOptions } from 'node:https'
import { dirname } from 'node:path'

import { VethflowError } from '../../errors.js'
import { AGENT_OPTIONS, type Connection } from './connection.js'

/** client-node makes a new agent, with new sockets, each time it is asked: ours are kept this long. */
const AGENT_AGE_MS = 300_000

/**
 * The current context of the kubeconfig `file`, whose text is `source`.
 *
 * @throws VethflowError KUBECONFIG_INVALID when client-node cannot make sense of it.
 */
export async function clientConnection(file: string, source: string, server: URL): Promise<Connection> {
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
  if (server.protocol === 'http:') {
    // client-node refuses plain HTTP (kubectl proxy) unless TLS verification is off; there is no TLS to verify.
    const name = config.getCurrentCluster()?.name
    config.clusters = config.clusters.map((entry) =>
      entry.name === name ? { ...entry, skipTLSVerify: true } : entry,
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
        if (agent instanceof HttpAgent) Object.assign(agent, AGENT_OPTIONS)
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
