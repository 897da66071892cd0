// One pod: a network namespace that a real CNI plugin connected to its node.

import { type CniAttachment, type CniResult, cniDelete, type PortMapping } from './cni.js'
import { Namespace } from './namespace.js'
import type { Node } from './node.js'
import { run } from './run.js'

export interface Owner {
  /** Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob */
  readonly kind: string
  readonly name: string
}

export interface PodOptions {
  readonly name: string
  /** default unless given. */
  readonly namespace?: string
  readonly labels?: Readonly<Record<string, string>>
  /** Exact address; host-local gives the next one otherwise. */
  readonly ip?: string
  /** The same for a node with several ranges: one of each. */
  readonly ips?: readonly string[]
  /** The workload it belongs to; ReplicaSet and Job in between are made up for the manifests. */
  readonly owner?: Owner
  readonly hostPorts?: readonly PortMapping[]
  /** Ports by name, for the manifests. */
  readonly ports?: Readonly<Record<string, number>>
}

/** What the CNI plugin gave. */
export interface PodNetwork {
  readonly attachment: CniAttachment
  readonly result: CniResult
  readonly hostIfindex: number
}

/** Made by Node.pod; removed by delete(), or when its testbed closes. */
export class Pod extends Namespace {
  readonly node: Node
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly owner: Owner | undefined
  readonly ports: Readonly<Record<string, number>>
  /** IPv4 address. */
  readonly ip: string
  /** IPv6 address where the node has an IPv6 range. */
  readonly ip6: string | undefined
  /** The host side of its veth, in the node's namespace. */
  readonly hostVeth: string
  readonly hostIfindex: number
  readonly #network: PodNetwork

  constructor(node: Node, netns: string, options: PodOptions, network: PodNetwork) {
    super(netns)
    this.node = node
    this.name = options.name
    this.namespace = options.namespace ?? 'default'
    this.labels = options.labels ?? {}
    this.owner = options.owner
    this.ports = options.ports ?? {}
    this.#network = network
    const address = (family: '.' | ':') =>
      network.result.ips.find((ip) => ip.address.includes(family))?.address.split('/')[0]
    this.ip = address('.') ?? ''
    this.ip6 = address(':')
    this.hostVeth = hostVethOf(network.result)
    this.hostIfindex = network.hostIfindex
  }

  /** Offloads of both ends of its veth. */
  async bothOffloads(on: boolean): Promise<void> {
    await Promise.all([this.offloads('eth0', on), this.node.offloads(this.hostVeth, on)])
  }

  /** Ends its tasks, gives its address back through the CNI plugin and removes the namespace. */
  async delete(): Promise<void> {
    await this.stopTasks()
    const { attachment, result } = this.#network
    await cniDelete(this.node, this.node.cni, attachment, result)
    await run(['ip', 'netns', 'del', this.netns])
    this.node.forget(this)
  }
}

/** The name of the host side in a bridge or ptp result: the veth that is in no sandbox. */
export function hostVethOf(result: CniResult): string {
  const found = result.interfaces.find(({ name, sandbox }) => !sandbox && name.startsWith('veth'))
  if (found === undefined) throw new Error(`no host-side veth in ${JSON.stringify(result.interfaces)}`)
  return found.name
}
