// The flags of `vethflow agent` and what they come to. Decides nothing beyond what a person asked for; agent/main.ts acts.

import { accessSync, constants } from 'node:fs'
import { hostname } from 'node:os'

import { readConfigFile } from './config-file.js'
import { fileProblem, usageError } from './errors.js'
import { durationBetween, interfaceGlob, nodeName, oneOf, plainText, wholeNumber } from './flag-values.js'
import {
  type FlagTable,
  flagError,
  laterFlag,
  listFlag,
  parseFlags,
  quote,
  switchFlag,
  valueFlag,
} from './flags.js'
import { type AddressGroup, MOST_GROUPS, parseGroup } from './identity/groups.js'
import type { IdentityMode } from './identity/kubernetes/cluster-size.js'
import { FEATURES } from './kernel/features.js'
import { type ServeSettings, serveFlags, serveSettings } from './serve-flags.js'

/** Everything that a person can say to an agent, checked. */
export interface AgentConfig extends ServeSettings {
  /** Name of this node; the host's name in lower case unless told. */
  readonly nodeName: string
  /** Path of a kubeconfig; undefined: in-cluster. */
  readonly kubeconfig: string | undefined
  /** File or directory of manifests in place of an API server. */
  readonly manifests: string | undefined
  /** False: no API server is asked, also inside a cluster. */
  readonly kubernetes: boolean
  /** Whether all pods of the cluster are watched, or this node's only; by the cluster's size unless told. */
  readonly identityMode: IdentityMode
  /** The user's own names for address ranges. */
  readonly addressGroups: readonly AddressGroup[]
  /** Patterns; empty: every interface that the agent knows how to use. */
  readonly interfaces: readonly string[]
  readonly excludeInterfaces: readonly string[]
  readonly updateIntervalMs: number
  /** Connections that are held at once, in the kernel and in the agent. */
  readonly maxConnections: number
  /** Capture inside pods' network namespaces on `lo`, too. */
  readonly loopback: boolean
  /** Kernel features to do without (agent/kernel/features.ts). */
  readonly disableFeatures: readonly string[]
}

/** `--config`, for commands that run as services. */
export const configFlag = valueFlag({
  name: 'config',
  takes: 'FILE',
  help: 'YAML file whose keys are these flags; flags and variables beat it',
  parse: plainText('a file'),
})

/** `--kubeconfig`, for whoever asks an API server. */
export const kubeconfigFlag = valueFlag({
  name: 'kubeconfig',
  takes: 'FILE',
  help: 'how to reach the API server (default: in-cluster)',
  parse: plainText('a file'),
})

/** The flag table of `vethflow agent`. */
export const agentFlags = {
  config: configFlag,
  nodeName: valueFlag({
    name: 'node-name',
    takes: 'NAME',
    help: "this node's name in Kubernetes (default: the host's name)",
    parse: nodeName,
  }),
  kubeconfig: kubeconfigFlag,
  manifests: valueFlag({
    name: 'manifests',
    takes: 'PATH',
    help: 'file or directory of `kubectl get -o json|yaml` output, in place of an API server',
    parse: plainText('a file or directory'),
  }),
  noKubernetes: switchFlag({ name: 'no-kubernetes', help: 'ask no API server' }),
  identityMode: valueFlag<IdentityMode>({
    name: 'identity-mode',
    takes: 'auto|full|local',
    help: "watch all pods, or this node's and ask for others; auto: by size",
    parse: oneOf('auto', 'full', 'local'),
    fallback: 'auto',
    shownDefault: 'auto',
  }),
  addressGroup: listFlag({
    name: 'address-group',
    takes: 'CIDR=NAME',
    help: 'your own name for a range of addresses (repeatable; the narrowest range counts)',
    parse: (text, where) => {
      const group = parseGroup(text)
      if (group === undefined) throw flagError(where, 'CIDR=NAME such as 10.20.0.0/16=office', text)
      return group
    },
  }),
  ...serveFlags,
  interface: listFlag({
    name: 'interface',
    takes: 'GLOB',
    help: 'capture on these interfaces only (repeatable)',
    parse: interfaceGlob,
  }),
  excludeInterface: listFlag({
    name: 'exclude-interface',
    takes: 'GLOB',
    help: 'leave these interfaces alone (repeatable)',
    parse: interfaceGlob,
  }),
  updateInterval: valueFlag({
    name: 'update-interval',
    takes: 'DURATION',
    help: 'how often an open connection with traffic is told again',
    parse: durationBetween('100ms', '1h'),
    fallback: 5000,
    shownDefault: '5s',
  }),
  maxConnections: valueFlag({
    name: 'max-connections',
    takes: 'N',
    help: 'connections held at once, 1024 to 4194304',
    parse: wholeNumber(1024, 4_194_304),
    fallback: 131_072,
    shownDefault: '131072',
  }),
  disableFeature: listFlag({
    name: 'disable-feature',
    takes: 'NAME',
    help: 'do without a kernel feature, as `vethflow status` names it (repeatable)',
    parse: oneOf(...FEATURES),
  }),
  loopback: switchFlag({
    name: 'loopback',
    help: "capture on lo inside each pod's namespace, too (CAP_SYS_ADMIN)",
  }),
  pin: laterFlag('pin'),
  nats: laterFlag('nats', 'URL'),
} satisfies FlagTable

/**
 * The configuration of an agent from its flags (`argv` without the command's name), VETHFLOW_* variables and `--config`
 * file, in this order of weight. Throws a usage error (exit code 2) that names what is wrong.
 */
export function parseAgentConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): AgentConfig {
  const values = parseLayers('vethflow agent', agentFlags, argv, env)
  const serve = serveSettings(values)
  if (values.manifests !== undefined && values.kubeconfig !== undefined) {
    throw usageError('--manifests stands in for an API server and cannot go with --kubeconfig')
  }
  if (values.noKubernetes && serve.auth === 'kubernetes') {
    throw usageError('--no-kubernetes cannot go with --auth kubernetes, which asks an API server')
  }
  if (values.noKubernetes && values.kubeconfig !== undefined) {
    throw usageError('--no-kubernetes cannot go with --kubeconfig')
  }
  if (values.addressGroup.length > MOST_GROUPS) {
    throw usageError(`--address-group may be given ${MOST_GROUPS} times at most`)
  }
  requireReadable('--kubeconfig', 'a file that can be read', values.kubeconfig)
  requireReadable('--manifests', 'a file or directory that can be read', values.manifests)
  return {
    nodeName: values.nodeName ?? hostname().toLowerCase(),
    kubeconfig: values.kubeconfig,
    manifests: values.manifests,
    kubernetes: !values.noKubernetes,
    identityMode: values.identityMode,
    addressGroups: values.addressGroup,
    interfaces: values.interface,
    excludeInterfaces: values.excludeInterface,
    updateIntervalMs: values.updateInterval,
    maxConnections: values.maxConnections,
    ...serve,
    loopback: values.loopback,
    disableFeatures: values.disableFeature,
  }
}

/** What is in it is for whoever opens it to say; that it is not there is a mistake on the command line. */
function requireReadable(flag: string, takes: string, path: string | undefined): void {
  if (path === undefined) return
  try {
    accessSync(path, constants.R_OK)
  } catch (cause) {
    throw usageError(`${flag} takes ${takes}, and ${quote(path)} cannot: ${fileProblem(cause)}`)
  }
}

/** Flags, variables and the file that `--config` or VETHFLOW_CONFIG names, put together. */
export function parseLayers<T extends FlagTable & { config: typeof configFlag }>(
  command: string,
  table: T,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ReturnType<typeof parseFlags<T>>['values'] {
  const first = parseFlags(command, table, argv, { env })
  const path: string | undefined = (first.values as { config: string | undefined }).config
  if (path === undefined) return first.values
  const file = { origin: path, values: readConfigFile(path, table) }
  return parseFlags(command, table, argv, { env, file }).values
}
