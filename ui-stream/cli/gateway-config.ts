// The flags of `vethflow gateway` and what they come to.

import { configFlag, kubeconfigFlag, parseLayers } from '../../agent/config.js'
import { usageError } from '../../agent/errors.js'
import { plainText } from '../../agent/flag-values.js'
import { type FlagTable, flagError, laterFlag, listFlag, valueFlag } from '../../agent/flags.js'
import { serveFlags, serveSettings } from '../../agent/serve-flags.js'
import { serverUrl } from '../client/server-url.js'
import type { ServiceToFollow } from '../gateway/discover.js'
import type { GatewaySettings } from '../gateway/main.js'

/** Agents that one gateway reads from by URL; beyond that a bus is the better way. */
const MAX_AGENTS = 256

function agentFile(name: string, help: string) {
  return valueFlag({ name, takes: 'FILE', help, group: 'Agents', parse: plainText('a file') })
}

/** RFC 1123 labels: a service's name and its namespace's. */
function serviceName(text: string, where: string): ServiceToFollow {
  const match = /^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)\.([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$/.exec(text)
  if (match === null) throw flagError(where, 'SERVICE.NAMESPACE such as vethflow.kube-system', text)
  return { name: match[1]!, namespace: match[3]! }
}

/** The flag table of `vethflow gateway`. */
export const gatewayFlags = {
  config: configFlag,
  agent: listFlag({
    name: 'agent',
    takes: 'URL',
    help: 'an agent to read from (repeatable)',
    parse: (text, where) => {
      serverUrl(text, where)
      return text
    },
  }),
  kubeconfig: kubeconfigFlag,
  discover: valueFlag({
    name: 'discover',
    takes: 'SERVICE.NAMESPACE',
    help: 'a headless service whose endpoints are agents',
    parse: serviceName,
  }),
  agentCaFile: agentFile(
    'agent-ca-file',
    'PEM authority of the agents; found ones are spoken to by TLS then',
  ),
  agentTokenFile: agentFile('agent-token-file', 'token to show to the agents'),
  agentCert: agentFile('agent-cert', 'PEM certificate to show to the agents (their --client-ca)'),
  agentKey: agentFile('agent-key', 'PEM key of --agent-cert'),
  agentName: valueFlag({
    name: 'agent-name',
    takes: 'NAME',
    help: "the name in the agents' certificate (default for found ones: SERVICE.NAMESPACE.svc)",
    group: 'Agents',
    parse: plainText('a name'),
  }),
  ...serveFlags,
  nats: laterFlag('nats', 'URL'),
} satisfies FlagTable

/** Parses flags, variables and configuration file. Throws a usage error that names what is wrong. */
export function parseGatewayConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): GatewaySettings {
  const values = parseLayers('vethflow gateway', gatewayFlags, argv, env)
  const agents = new Map(values.agent.map((text) => [serverUrl(text).href, text]))
  if (agents.size === 0 && values.discover === undefined) {
    throw usageError(
      'vethflow gateway takes at least one --agent URL such as ws://10.0.0.1:4280, or --discover SERVICE.NAMESPACE',
    )
  }
  const { agentCaFile: caFile, agentTokenFile: tokenFile, agentCert: certFile, agentKey: keyFile } = values
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw usageError('--agent-cert and --agent-key go together')
  }
  if (agents.size > MAX_AGENTS) {
    throw usageError(`--agent takes at most ${MAX_AGENTS} URLs, not ${agents.size}`)
  }
  return {
    agents: [...agents.values()],
    service: values.discover,
    kubeconfig: values.kubeconfig,
    credentials: {
      ...(caFile !== undefined && { caFile }),
      ...(tokenFile !== undefined && { tokenFile }),
      ...(certFile !== undefined && { certFile }),
      ...(keyFile !== undefined && { keyFile }),
      ...(values.agentName !== undefined && { serverName: values.agentName }),
    },
    ...serveSettings(values),
  }
}
