// Two network namespaces and one veth between them: `node` holds the host's end, `pod` the other. Nobody else sends
// there. Frames come from generate.c.

import { cpus } from 'node:os'
import { Namespace } from '../test/testbed/index.js'
import { claim, remove } from '../test/testbed/registry.js'
import { generator } from './build.js'

export const HOST_DEVICE = 'vethbench'
export const POD_DEVICE = 'eth0'

/** Frames are sent on the last CPU; whoever measures stays off it. */
export const CPU = cpus().length - 1

export interface Sent {
  readonly sent: number
  readonly ns: number
}

/** Close it. */
export class Bed {
  readonly node: Namespace
  readonly pod: Namespace
  /** ifindex of HOST_DEVICE. */
  readonly hostIndex: number
  readonly podIndex: number
  readonly #prefix: string
  readonly #generator: string

  private constructor(
    prefix: string,
    node: Namespace,
    pod: Namespace,
    indexes: readonly [number, number],
    tool: string,
  ) {
    this.#prefix = prefix
    this.node = node
    this.pod = pod
    this.hostIndex = indexes[0]
    this.podIndex = indexes[1]
    this.#generator = tool
  }

  static async create(): Promise<Bed> {
    const tool = await generator()
    const { prefix } = claim('bench')
    try {
      const node = new Namespace(`${prefix}node`)
      const pod = new Namespace(`${prefix}pod`)
      await Namespace.make([node.netns, pod.netns])
      // No packets but the generator's: IPv6 would look for neighbours and routers.
      await Promise.all([node, pod].map((each) => each.sysctl({ 'ipv6/conf/default/disable_ipv6': 1 })))
      await node.configure(`link add ${HOST_DEVICE} type veth peer name ${POD_DEVICE} netns ${pod.netns}`)
      await pod.configure(`addr add 10.244.0.2/16 dev ${POD_DEVICE}`, `link set ${POD_DEVICE} up`)
      await node.configure(`addr add 10.244.0.1/16 dev ${HOST_DEVICE}`, `link set ${HOST_DEVICE} up`)
      const indexes = [await node.ifindex(HOST_DEVICE), await pod.ifindex(POD_DEVICE)] as const
      return new Bed(prefix, node, pod, indexes, tool)
    } catch (error) {
      remove(prefix)
      throw error
    }
  }

  /** Runs generate.c in the pod, which sends to the host's end, and gives what it printed. */
  async generate<Result = Sent>(
    what: 'flows' | 'paced' | 'connections',
    options: Readonly<Record<string, number | string>>,
    timeoutMs = 120_000,
  ): Promise<Result> {
    const flags = Object.entries({ interface: POD_DEVICE, cpu: CPU, ...options }).flatMap(([name, value]) => [
      `--${name}`,
      String(value),
    ])
    const { stdout } = await this.pod.exec([this.#generator, what, ...flags], { timeoutMs })
    return JSON.parse(stdout) as Result
  }

  /** Whole connections, answers through the host's end; see generate.c. */
  connections(
    rate: number,
    seconds: number,
    first = 0,
  ): Promise<{ connections: number; ns: number; mostAtOnce: number }> {
    return this.generate(
      'connections',
      { 'back-netns': this.node.path, 'back-interface': HOST_DEVICE, rate, seconds, first },
      (seconds * 3 + 30) * 1000,
    )
  }

  async close(): Promise<void> {
    await Promise.all([this.node.stopTasks(), this.pod.stopTasks()])
    remove(this.#prefix)
  }
}
