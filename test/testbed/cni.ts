// Runs the real CNI plugins (CNI spec 1.0.0) the way a container runtime does: ADD and DEL inside a node's namespace.
// May not interpret what a plugin did beyond its result.

import type { Namespace } from './namespace.js'

const PLUGINS = '/usr/lib/cni'

export interface PortMapping {
  readonly hostPort: number
  readonly containerPort: number
  readonly protocol: 'tcp' | 'udp'
}

export interface CniNetwork {
  /** Which plugin makes the pod's interface: one veth into the bridge cni0, or a routed veth pair. */
  readonly plugin: 'bridge' | 'ptp'
  readonly ranges: readonly string[]
  readonly mtu: number
  /** Where host-local keeps its leases. */
  readonly dataDirectory: string
}

export interface CniAttachment {
  readonly containerId: string
  readonly netnsPath: string
  /** Exact addresses; host-local chooses where there are none. */
  readonly addresses?: readonly string[]
  readonly portMappings?: readonly PortMapping[]
}

export interface CniResult {
  readonly interfaces: readonly { name: string; mac: string; sandbox?: string }[]
  readonly ips: readonly { interface?: number; address: string; gateway?: string }[]
}

/** Attaches; resolves with the result of the last plugin of the chain. */
export async function cniAdd(node: Namespace, network: CniNetwork, pod: CniAttachment): Promise<CniResult> {
  let previous = await call(node, 'ADD', pod, mainPlugin(network, pod))
  if ((pod.portMappings ?? []).length > 0) previous = await call(node, 'ADD', pod, portmap(pod, previous))
  return previous as CniResult
}

/** Detaches: leases, port mappings, interfaces. `previous` is what cniAdd gave. */
export async function cniDelete(
  node: Namespace,
  network: CniNetwork,
  pod: CniAttachment,
  previous: CniResult,
): Promise<void> {
  if ((pod.portMappings ?? []).length > 0) await call(node, 'DEL', pod, portmap(pod, previous))
  await call(node, 'DEL', pod, { ...mainPlugin(network, pod), prevResult: previous })
}

function mainPlugin(network: CniNetwork, pod: CniAttachment): Record<string, unknown> {
  const routes = network.ranges.map((range) => ({ dst: range.includes(':') ? '::/0' : '0.0.0.0/0' }))
  return {
    type: network.plugin,
    mtu: network.mtu,
    ipMasq: false,
    ...(network.plugin === 'bridge' ? { bridge: 'cni0', isGateway: true, hairpinMode: true } : {}),
    ipam: {
      type: 'host-local',
      dataDir: network.dataDirectory,
      ranges: network.ranges.map((subnet) => [{ subnet }]),
      routes,
    },
    ...(pod.addresses === undefined ? {} : { args: { cni: { ips: pod.addresses } } }),
  }
}

function portmap(pod: CniAttachment, previous: unknown): Record<string, unknown> {
  return {
    type: 'portmap',
    capabilities: { portMappings: true },
    snat: true,
    runtimeConfig: { portMappings: pod.portMappings },
    prevResult: previous,
  }
}

async function call(
  node: Namespace,
  command: 'ADD' | 'DEL',
  pod: CniAttachment,
  plugin: Record<string, unknown>,
): Promise<unknown> {
  const { stdout } = await node.exec([`${PLUGINS}/${plugin.type}`], {
    input: JSON.stringify({ cniVersion: '1.0.0', name: 'pods', ...plugin }),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod.containerId,
      CNI_NETNS: pod.netnsPath,
      CNI_IFNAME: 'eth0',
      CNI_PATH: PLUGINS,
    },
  })
  return stdout.trim() === '' ? undefined : JSON.parse(stdout)
}
