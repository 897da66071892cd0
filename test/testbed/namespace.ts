// A network namespace and what one does in it: run, start, count, switch offloads. Node, Pod and World build on it.
// It may not know addresses or roles.

import { mkdirSync, writeFileSync } from 'node:fs'
import { type RunOptions, type RunResult, run } from './run.js'
import { Task, type TaskOptions } from './task.js'

/** An interface's own counters (rtnl_link_stats64), frames and bytes with their Ethernet headers. */
export interface Counters {
  readonly rxPackets: number
  readonly rxBytes: number
  readonly rxDropped: number
  readonly txPackets: number
  readonly txBytes: number
  readonly txDropped: number
}

interface LinkJson {
  ifindex: number
  address: string
  stats64?: Record<'rx' | 'tx', { bytes: number; packets: number; dropped: number }>
}

const OFFLOADS = ['rx', 'tx', 'sg', 'tso', 'gso', 'gro'] as const

export class Namespace {
  /** Its name for `ip netns`. */
  readonly netns: string
  /** Tasks started here that have not ended. */
  readonly tasks = new Set<Task>()

  constructor(netns: string) {
    this.netns = netns
  }

  /** The path to open or to give to setns(2). */
  get path(): string {
    return `/run/netns/${this.netns}`
  }

  /** Makes the namespaces, loopback up, IPv6 addresses usable at once (no duplicate address detection). */
  static async make(names: readonly string[]): Promise<void> {
    await run(['ip', '-batch', '-'], { input: names.map((name) => `netns add ${name}\n`).join('') })
    await Promise.all(
      names.map((name) =>
        run(
          ['ip', 'netns', 'exec', name, 'sh', '-ec', 'cd /proc/sys/net; ip link set lo up; eval "$(cat)"'],
          {
            input: sysctls({
              'ipv6/conf/all/accept_dad': 0,
              'ipv6/conf/default/accept_dad': 0,
              'ipv4/ip_local_port_range': '10240 65535',
              // A bridge's snooping joins 224.0.0.106 at a time of its own.
              'ipv4/igmp_link_local_mcast_reports': 0,
              'core/somaxconn': 8192,
            }),
          },
        ),
      ),
    )
  }

  /** Runs a command here to its end; see run(). */
  exec(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run(['ip', 'netns', 'exec', this.netns, ...argv], options)
  }

  /** Starts a command here; the testbed ends it at the latest when it closes. */
  async start(argv: readonly string[], options: TaskOptions = {}): Promise<Task> {
    const task = await Task.start(['ip', 'netns', 'exec', this.netns, ...argv], options)
    this.tasks.add(task)
    void task.ended.then(() => this.tasks.delete(task))
    return task
  }

  /** Runs lines of ip(8) in one go, without "ip" in front. */
  async configure(...lines: readonly string[]): Promise<void> {
    await run(['ip', '-n', this.netns, '-batch', '-'], { input: lines.map((line) => `${line}\n`).join('') })
  }

  /** Loads nftables rules (nft(8) syntax); all or nothing. */
  async nft(rules: string): Promise<void> {
    await this.exec(['nft', '-f', '-'], { input: rules })
  }

  /** Sets sysctls below net/, names with slashes: { 'ipv4/ip_forward': 1 }. */
  async sysctl(values: Readonly<Record<string, string | number>>): Promise<void> {
    await this.exec(['sh', '-ec', 'cd /proc/sys/net; eval "$(cat)"'], { input: sysctls(values) })
  }

  async ifindex(device: string): Promise<number> {
    return (await this.#link(device)).ifindex
  }

  async mac(device: string): Promise<string> {
    return (await this.#link(device)).address
  }

  async counters(device: string): Promise<Counters> {
    const { stats64 } = await this.#link(device)
    if (stats64 === undefined) throw new Error(`${this.netns}: ${device} has no counters`)
    const { rx, tx } = stats64
    return {
      rxPackets: rx.packets,
      rxBytes: rx.bytes,
      rxDropped: rx.dropped,
      txPackets: tx.packets,
      txBytes: tx.bytes,
      txDropped: tx.dropped,
    }
  }

  /** Switches checksum, scatter-gather, TSO, GSO and GRO of a device on or off. */
  async offloads(device: string, on: boolean): Promise<void> {
    const state = on ? 'on' : 'off'
    await this.exec(['ethtool', '-K', device, ...OFFLOADS.flatMap((name) => [name, state])])
  }

  /** What /etc/resolv.conf says to commands started here. */
  resolver(nameserver: string, search: readonly string[] = []): void {
    const directory = `/etc/netns/${this.netns}`
    mkdirSync(directory, { recursive: true })
    const lines = [`nameserver ${nameserver}`, 'options ndots:5 timeout:2 attempts:2']
    if (search.length > 0) lines.push(`search ${search.join(' ')}`)
    writeFileSync(`${directory}/resolv.conf`, `${lines.join('\n')}\n`)
  }

  /** Ends all tasks started here: SIGTERM, then SIGKILL after 3 s. */
  async stopTasks(): Promise<void> {
    await Promise.all([...this.tasks].map((task) => task.stop()))
  }

  async #link(device: string): Promise<LinkJson> {
    const { stdout } = await run(['ip', '-n', this.netns, '-s', '-j', 'link', 'show', 'dev', device])
    const [link] = JSON.parse(stdout) as LinkJson[]
    if (link === undefined) throw new Error(`${this.netns} has no ${device}`)
    return link
  }
}

/** Shell lines that write sysctls, relative to /proc/sys/net. */
export function sysctls(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `echo ${value} > ${name}\n`)
    .join('')
}
