// The flags of `vethflow gateway` and what they come to.

import { configFlag, kubeconfigFlag, parseLayers } from '../../agent/config.js'
import { usageError } from '../../agent/errors.js'
import { type FlagTable, laterFlag, listFlag } from '../../agent/flags.js'
import { serveFlags, serveSettings } from '../../agent/serve-flags.js'
import { serverUrl } from '../client/server-url.js'
import type { GatewaySettings } from '../gateway/main.js'

/** Agents that one gateway reads from by URL; beyond that a bus is the better way. */
const MAX_AGENTS = 256

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
  ...serveFlags,
  discover: laterFlag('discover', 'SERVICE.NAMESPACE'),
  nats: laterFlag('nats', 'URL'),
} satisfies FlagTable

/** Parses flags, variables and configuration file. Throws a usage error that names what is wrong. */
export function parseGatewayConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): GatewaySettings {
  const values = parseLayers('vethflow gateway', gatewayFlags, argv, env)
  const agents = new Map(values.agent.map((text) => [serverUrl(text).href, text]))
  if (agents.size === 0) {
    throw usageError('vethflow gateway takes at least one --agent URL such as ws://10.0.0.1:4280')
  }
  if (agents.size > MAX_AGENTS) {
    throw usageError(`--agent takes at most ${MAX_AGENTS} URLs, not ${agents.size}`)
  }
  return { agents: [...agents.values()], kubeconfig: values.kubeconfig, ...serveSettings(values) }
}
