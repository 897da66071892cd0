// A cluster out of network namespaces: a fabric that routes, nodes on it, a world beyond it. Everything it makes
// bears its prefix and goes when it is closed, when its process ends, or with the next sweep.
//
//   world 203.0.113.0/24 --- fabric (bridge br0 172.18.0.1/16) --- eth0 of each node --- cni0 or veths --- pods
//   world fd00:113::/64                     (fd00:18::1/64)

import { mkdirSync, writeFileSync } from 'node:fs'
import { type Manifest, manifests } from './manifests.js'
import { Namespace, sysctls } from './namespace.js'
import { Node, type NodeOptions } from './node.js'
import { type VxlanOptions, vxlan } from './overlay.js'
import { claim, remove, sweepStale } from './registry.js'
import { run } from './run.js'
import type { Service } from './services.js'
import { Task } from './task.js'
import { tool } from './tools.js'

const NODE_NETWORK = '172.18'
const WORLD_NETWORK = '203.0.113'
const NODE_NETWORK6 = 'fd00:18:'
const WORLD_NETWORK6 = 'fd00:113:'
/** What pods speak to under their own addresses. */
const CLUSTER_CIDRS = ['10.244.0.0/16', `${NODE_NETWORK}.0.0/16`, 'fd00:244::/32', `${NODE_NETWORK6}:/64`]

/** A host outside the cluster. */
export class World extends Namespace {
  readonly ip: string
  readonly ip6: string | undefined
  constructor(netns: string, ip: string, ip6?: string) {
    super(netns)
    this.ip = ip
    this.ip6 = ip6
  }
}

export class Testbed {
  /** Begins the name of every namespace of this bed. */
  readonly prefix: string
  /** Its own directory for leases and files; removed with it. */
  readonly directory: string
  /** Routes between nodes and the world; has conntrack and filters of nobody. */
  readonly fabric: Namespace
  readonly nodes: Node[] = []
  readonly worlds: World[] = []
  #services: readonly Service[] = []
  readonly #tasks = new Set<Task>()
  #sequence = 0

  private constructor(prefix: string, directory: string) {
    this.prefix = prefix
    this.directory = directory
    this.fabric = new Namespace(`${prefix}fabric`)
  }

  /** Makes an empty bed. `name` in lower case, digits and dashes; beds of one process may share it. */
  static async create(name: string): Promise<Testbed> {
    const { prefix, directory } = claim(name)
    const bed = new Testbed(prefix, directory)
    try {
      await Namespace.make([bed.fabric.netns])
      await Promise.all([
        bed.fabric.configure(
          'link add br0 type bridge forward_delay 0 stp_state 0',
          'link add world0 type bridge forward_delay 0 stp_state 0',
          `addr add ${NODE_NETWORK}.0.1/16 dev br0`,
          `addr add ${WORLD_NETWORK}.1/24 dev world0`,
          `addr add ${NODE_NETWORK6}:1/64 dev br0 nodad`,
          `addr add ${WORLD_NETWORK6}:1/64 dev world0 nodad`,
          'link set br0 up',
          'link set world0 up',
        ),
        bed.fabric.exec(['sh', '-ec', 'cd /proc/sys/net; eval "$(cat)"'], {
          input:
            sysctls({ 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1 }) +
            'for f in ip ip6 arp; do n=bridge/bridge-nf-call-$' +
            '{f}tables; [ ! -e $n ] || echo 0 > $n; done\n',
        }),
      ])
      return bed
    } catch (error) {
      await bed.close()
      throw error
    }
  }

  /** Removes what dead processes left behind; done once by itself before the first bed of a process. */
  static sweepStale(): string[] {
    return sweepStale()
  }

  /** Adds a node. */
  async node(name: string, options: NodeOptions = {}): Promise<Node> {
    const number = ++this.#sequence
    const place = {
      prefix: this.prefix,
      directory: this.directory,
      name,
      ip: options.ip ?? `${NODE_NETWORK}.0.${number + 1}`,
      podCidr: options.podCidr ?? `10.244.${number}.0/24`,
      clusterCidrs: CLUSTER_CIDRS,
    }
    const netns = `${this.prefix}${name}`
    await this.#join(netns, `n${number}`, 'br0')
    const node = await Node.settle(place, [`${NODE_NETWORK}.0.1`, `${NODE_NETWORK6}:1`], options)
    this.nodes.push(node)
    return node
  }

  /** Adds a host outside the cluster. */
  async world(name: string, options: { ip?: string; ip6?: string } = {}): Promise<World> {
    const number = ++this.#sequence
    const world = new World(
      `${this.prefix}${name}`,
      options.ip ?? `${WORLD_NETWORK}.${number + 9}`,
      options.ip6,
    )
    await this.#join(world.netns, `w${number}`, 'world0')
    await world.configure(
      `addr add ${world.ip}/24 dev eth0`,
      'link set eth0 up',
      `route add default via ${WORLD_NETWORK}.1`,
      ...(world.ip6 === undefined
        ? []
        : [`addr add ${world.ip6}/64 dev eth0 nodad`, `route add default via ${WORLD_NETWORK6}:1`]),
    )
    this.worlds.push(world)
    return world
  }

  /** Routes each node's pods through that node's uplink (host-gw, as without an overlay). Call it after the nodes. */
  async routes(): Promise<void> {
    await Promise.all(
      this.nodes.map((node) =>
        node.configure(
          ...this.nodes.flatMap((other) => {
            if (other === node) return []
            const six =
              other.podCidr6 === undefined || other.ip6 === undefined
                ? []
                : [`route replace ${other.podCidr6} via ${other.ip6}`]
            return [`route replace ${other.podCidr} via ${other.ip}`, ...six]
          }),
        ),
      ),
    )
  }

  /** Connects the nodes' pods by VXLAN the way flannel does. Call it after the nodes and before their pods. */
  async vxlan(options: VxlanOptions = {}): Promise<void> {
    await vxlan(this.nodes, options)
  }

  /** Replaces the services of the whole cluster: rules on every node, objects in the manifests. */
  async services(services: readonly Service[]): Promise<void> {
    this.#services = services
    await Promise.all(this.nodes.map((node) => node.services(services)))
  }

  /** Makes 127.0.0.1:<returned port> of this machine lead to a port inside a namespace, without an interface. */
  async forward(target: Namespace, to: string): Promise<{ port: number; task: Task }> {
    const task = await this.start([await tool('forward'), '--netns', target.path, '--to', to])
    const [, port] = await task.said(/^READY (\d+)$/m)
    return { port: Number(port), task }
  }

  /** Starts a command outside all namespaces that ends with this bed. */
  async start(...args: Parameters<typeof Task.start>): Promise<Task> {
    const task = await Task.start(...args)
    this.#tasks.add(task)
    void task.ended.then(() => this.#tasks.delete(task))
    return task
  }

  /** What was built, as Kubernetes objects; `services` in place of those that services() was given. */
  manifests(services: readonly Service[] = this.#services): Manifest[] {
    return manifests(this.nodes, services)
  }

  /** Writes manifests() and `more` objects as one JSON list into a directory of this bed, and returns it. */
  writeManifests(more: readonly object[] = []): string {
    const directory = `${this.directory}/manifests`
    mkdirSync(directory, { recursive: true })
    const list = { apiVersion: 'v1', kind: 'List', items: [...this.manifests(), ...more] }
    writeFileSync(`${directory}/cluster.json`, JSON.stringify(list, null, 2))
    return directory
  }

  /** Ends all its tasks (SIGTERM first) and removes everything. May be called twice. */
  async close(): Promise<void> {
    const places = [this.fabric, ...this.worlds, ...this.nodes, ...this.nodes.flatMap((node) => node.pods)]
    await Promise.all([
      ...[...this.#tasks].map((task) => task.stop()),
      ...places.map((place) => place.stopTasks()),
    ])
    remove(this.prefix)
  }

  async #join(netns: string, port: string, bridge: string): Promise<void> {
    await Namespace.make([netns])
    await run(['ip', '-batch', '-'], {
      input: `link add ${port} netns ${this.fabric.netns} type veth peer name eth0 netns ${netns}\n`,
    })
    await this.fabric.configure(`link set ${port} master ${bridge} up`)
  }
}
