// One node: a network namespace with an uplink into the fabric, pods behind a real CNI plugin, and NAT of its own.

import { existsSync, readFileSync } from 'node:fs'
import { type CniNetwork, cniAdd } from './cni.js'
import { Namespace } from './namespace.js'
import { hostVethOf, Pod, type PodOptions } from './pod.js'
import { run } from './run.js'
import { masqueradeRules, type Service, serviceRules } from './services.js'

export interface NodeOptions {
  /** Of its uplink; the fabric gives the next one otherwise. */
  readonly ip?: string
  readonly ip6?: string
  /** A /24, 10.244.<number>.0/24 unless given. */
  readonly podCidr?: string
  /** A second range; none unless given. */
  readonly podCidr6?: string
  readonly cni?: 'bridge' | 'ptp'
  /** Whether bridged frames pass iptables and conntrack (br_netfilter), as kube-proxy asks for; true unless given. */
  readonly bridgeNetfilter?: boolean
  /** Pods speak to the world as the node; true unless given. */
  readonly masquerade?: boolean
  readonly podMtu?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly zone?: string
}

/** What the testbed settled before it made the node. */
export interface NodePlace {
  readonly prefix: string
  readonly directory: string
  readonly name: string
  readonly ip: string
  readonly podCidr: string
  /** Everything that is not masqueraded: pods, nodes. */
  readonly clusterCidrs: readonly string[]
}

/** Made by Testbed.node; removed when its testbed closes. */
export class Node extends Namespace {
  readonly name: string
  readonly ip: string
  readonly ip6: string | undefined
  readonly podCidr: string
  readonly podCidr6: string | undefined
  readonly labels: Readonly<Record<string, string>>
  readonly zone: string | undefined
  readonly uplink = 'eth0'
  readonly pods: Pod[] = []
  /** Ids of its containers must differ between testbeds that use one lease directory; they do not share one. */
  readonly #prefix: string
  #cni: CniNetwork
  #sequence = 0

  private constructor(place: NodePlace, options: NodeOptions) {
    super(`${place.prefix}${place.name}`)
    this.#prefix = place.prefix
    this.name = place.name
    this.ip = place.ip
    this.ip6 = options.ip6
    this.podCidr = place.podCidr
    this.podCidr6 = options.podCidr6
    this.labels = options.labels ?? {}
    this.zone = options.zone
    this.#cni = {
      plugin: options.cni ?? 'bridge',
      ranges: [place.podCidr, ...(options.podCidr6 === undefined ? [] : [options.podCidr6])],
      mtu: options.podMtu ?? 1500,
      dataDirectory: `${place.directory}/${place.name}-leases`,
    }
  }

  /** Turns an existing namespace, whose uplink eth0 is connected but not set up, into a node. */
  static async settle(
    place: NodePlace,
    [gateway, gateway6]: readonly [string, string],
    options: NodeOptions,
  ): Promise<Node> {
    const node = new Node(place, options)
    const six = options.ip6 === undefined ? [] : [`addr add ${options.ip6}/64 dev eth0 nodad`]
    const masquerade = options.masquerade ?? true
    const bridged = (options.bridgeNetfilter ?? true) ? 1 : 0
    if (bridged === 1 && !existsSync('/proc/sys/net/bridge')) {
      // Built in on some kernels, a module on others. Without it a service's backend on the client's own bridge answers
      // past the translation, which whoever needs it will notice.
      await run(['modprobe', 'br_netfilter']).catch(() => undefined)
    }
    await Promise.all([
      node.configure(
        `addr add ${place.ip}/16 dev eth0`,
        ...six,
        'link set eth0 up',
        `route add default via ${gateway}`,
        ...(options.ip6 === undefined ? [] : [`route add default via ${gateway6}`]),
      ),
      node.exec(['sh', '-ec', 'cd /proc/sys/net; eval "$(cat)"'], {
        input:
          'echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding\n' +
          'for i in all default eth0; do echo 0 > ipv4/conf/$i/rp_filter; done\n' +
          // Where the module is missing bridged frames bypass netfilter anyway.
          `for f in ip ip6; do n=bridge/bridge-nf-call-$\{f}tables; [ ! -e $n ] || echo ${bridged} > $n; done\n`,
      }),
      ...(masquerade
        ? [place.podCidr, ...(options.podCidr6 === undefined ? [] : [options.podCidr6])]
        : []
      ).map((range) => node.nft(masqueradeRules(range, place.clusterCidrs))),
    ])
    return node
  }

  get cni(): CniNetwork {
    return this.#cni
  }

  /** MTU of the pods made from now on, as an overlay asks for. */
  setPodMtu(mtu: number): void {
    this.#cni = { ...this.#cni, mtu }
  }

  /** Makes a pod and connects it through the CNI plugins. Pods of one node may be made at the same time. */
  async pod(options: PodOptions): Promise<Pod> {
    const netns = `${this.#prefix}${this.name}-${options.namespace ?? 'default'}-${options.name}-${this.#sequence++}`
    await Namespace.make([netns])
    const asked = options.ips ?? (options.ip === undefined ? undefined : [options.ip])
    const attachment = {
      containerId: netns.replaceAll(/[^A-Za-z0-9_.-]/g, '-'),
      netnsPath: `/run/netns/${netns}`,
      ...(asked === undefined ? {} : { addresses: asked }),
      ...(options.hostPorts === undefined ? {} : { portMappings: options.hostPorts }),
    }
    const result = await cniAdd(this, this.#cni, attachment)
    const hostIfindex = await this.ifindex(hostVethOf(result))
    const pod = new Pod(this, netns, options, { attachment, result, hostIfindex })
    this.pods.push(pod)
    return pod
  }

  /** For Pod.delete. */
  forget(pod: Pod): void {
    const at = this.pods.indexOf(pod)
    if (at >= 0) this.pods.splice(at, 1)
  }

  /** Replaces this node's service rules by those of `services` (nftables in kube-proxy's shape). */
  async services(services: readonly Service[]): Promise<void> {
    await this.nft(serviceRules(services, { podCidr: this.podCidr, nodeIp: this.ip }))
    if (this.podCidr6 === undefined || this.ip6 === undefined) return
    await this.nft(serviceRules(services, { podCidr: this.podCidr6, nodeIp: this.ip6 }, 6))
  }

  /** Loads recorded nftables rules as they are. */
  async loadNft(file: string): Promise<void> {
    await this.exec(['nft', '-f', file])
  }

  /** Loads what iptables-save (or ip6tables-save) wrote, and first the nfacct counters that it names. */
  async loadIptables(file: string, family: 4 | 6 = 4): Promise<void> {
    const rules = readFileSync(file, 'utf8')
    const named = new Set([...rules.matchAll(/--nfacct-name\s+(\S+)/g)].map((match) => match[1] ?? ''))
    if (named.size > 0) {
      const there = (await this.exec(['nfacct', 'list'])).stdout
      for (const name of named) if (!there.includes(` ${name};`)) await this.exec(['nfacct', 'add', name])
    }
    await this.exec([family === 4 ? 'iptables-restore' : 'ip6tables-restore'], { input: rules })
  }

  /** Makes forwarded packets that match (nftables syntax, e.g. `ip daddr 10.244.1.5 tcp dport 81`) vanish. */
  async drop(match: string): Promise<void> {
    await this.nft(
      'add table inet testbed-drop\n' +
        'add chain inet testbed-drop forward { type filter hook forward priority filter; policy accept; }\n' +
        `add rule inet testbed-drop forward ${match} counter drop\n`,
    )
  }

  /**
   * From here on only what a test sends moves on this node and its pods: no IPv6 (router solicitations, multicast
   * reports), neighbours known for good (no ARP). For nodes with the bridge plugin.
   */
  async quiet(): Promise<void> {
    const off = { 'ipv6/conf/all/disable_ipv6': 1, 'ipv6/conf/default/disable_ipv6': 1 }
    await Promise.all([this, ...this.pods].map((place) => place.sysctl(off)))
    const { address, mac } = await this.#bridge()
    const entries = await Promise.all(
      this.pods.map(async (pod) => ({ pod, entry: `${pod.ip} lladdr ${await pod.mac('eth0')}` })),
    )
    const known = (entry: string, device: string) => `neigh replace ${entry} dev ${device} nud permanent`
    await this.configure(...entries.map(({ entry }) => known(entry, 'cni0')))
    await Promise.all(
      entries.map(({ pod }) =>
        pod.configure(
          known(`${address} lladdr ${mac}`, 'eth0'),
          ...entries.filter((other) => other.pod !== pod).map(({ entry }) => known(entry, 'eth0')),
        ),
      ),
    )
  }

  /** The conntrack table, one entry a line as conntrack(8) prints it. */
  async conntrack(): Promise<string[]> {
    const { stdout } = await this.exec(['conntrack', '-L'])
    return stdout.split('\n').filter((line) => line !== '')
  }

  async #bridge(): Promise<{ address: string; mac: string }> {
    const { stdout } = await run(['ip', '-n', this.netns, '-j', '-4', 'addr', 'show', 'dev', 'cni0'])
    const [link] = JSON.parse(stdout) as { addr_info?: { local: string }[] }[]
    const address = link?.addr_info?.[0]?.local
    if (address === undefined) throw new Error(`${this.name} has no address on cni0`)
    return { address, mac: await this.mac('cni0') }
  }
}
