// The kernel side as one thing: what main and capture see of agent/kernel. Opens, follows interfaces, reads ring and
// maps, closes without leaving anything behind. It interprets no record.

import { reasonOf } from './attach.js'
import { bootAheadUs } from './clock.js'
import { addCounters, type HookCounters, HookMap, type Losses, noCounters, readLosses } from './counters.js'
import { ConntrackEvents, type TranslationSink } from './ctnetlink.js'
import { Drain, type EntrySink } from './drain.js'
import { type Feature, Features } from './features.js'
import type { Interface, InterfaceChange } from './interfaces.js'
import { key4, key6, view4, view6 } from './layout.gen.js'
import { libc } from './libc.js'
import { Loopback, type LoopbackChange, needsToEnter } from './loopback.js'
import { type InterfaceStatus, type NamedHookCounters, Namespace } from './namespace.js'
import { requireCapabilities } from './permission.js'
import { Programs, type ProgramsOptions, prebuiltDir } from './programs.js'
import { type RecordSink, Ring } from './ring.js'
import type { Role, RoleOptions } from './roles.js'
import { Settings } from './settings.js'
import { type SocketSink, SocketWatch, seesAllProcesses } from './socket-watch.js'
import { type Tunnel, TunnelMap } from './tunnel-map.js'

export interface DatapathOptions {
  /** Entries of the IPv4 map; the IPv6 map has half. 131072 unless given. */
  readonly maxConnections?: number
  /** Size of the ring, a power of two of at least a page. 8 MiB unless given. */
  readonly ringBytes?: number
  /** Names of kernel features to do without (features.ts). */
  readonly disable?: ReadonlySet<string>
  /** Copy DNS messages, for readDns(). */
  readonly dns?: boolean
  /** Folder of the BPF objects; bpf/prebuilt of this installation unless given. */
  readonly objectDir?: string
  /** Watch the sockets of connections over loopback addresses, too. */
  readonly loopbackSockets?: boolean
  /**
   * Wait on another thread for the kernel to attach and detach: follow(), poll() and checkHeads() then return before all
   * is hooked, and `pending` says how much is left. Otherwise they wait (poll() for 20 ms at most).
   */
  readonly aside?: boolean
  /** Capture on the loopback device of each pod's network namespace (CAP_SYS_ADMIN). */
  readonly loopback?: boolean
}

export interface DatapathStatus {
  readonly object: string
  /** Of the kernel, and what was asked for beside. */
  readonly features: readonly (Omit<Feature, 'name'> & { readonly name: string })[]
  readonly interfaces: readonly InterfaceStatus[]
  readonly ring: { readonly bytes: number; readonly fill: number }
  readonly losses: Losses
}

const MAX_CONNECTIONS = 131_072
/** Room for some thousand DNS messages between two reads. */
const DNS_RING_BYTES = 1024 * 1024
const RING_BYTES = 8 * 1024 * 1024
/** How often pods' namespaces are looked after. */
const LOOPBACK_MS = 40

/** Everything in the kernel that belongs to one agent. Used from the main thread only. Close it. */
export class Datapath {
  readonly features: Features
  private readonly options: Required<Omit<DatapathOptions, 'disable' | 'aside'>>
  private readonly programs: Programs
  private readonly ring: Ring | undefined
  private readonly dnsRing: Ring | undefined
  private readonly hooks: HookMap
  private readonly tunnels: TunnelMap
  private readonly settings: Settings
  private readonly drains: Readonly<Record<4 | 6, Drain>>
  private readonly own: Namespace
  private readonly conntrack: ConntrackEvents | undefined
  private readonly sockets: SocketWatch | undefined
  private readonly loopback: Loopback | undefined
  private loopbackAt = Number.NEGATIVE_INFINITY
  private readonly others = new Map<number, { namespace: Namespace; programs: Programs }>()
  private closed = false

  private constructor(options: DatapathOptions, cleanups: (() => void)[]) {
    this.options = {
      maxConnections: options.maxConnections ?? MAX_CONNECTIONS,
      ringBytes: options.ringBytes ?? RING_BYTES,
      dns: options.dns ?? false,
      objectDir: options.objectDir ?? prebuiltDir(),
      loopbackSockets: options.loopbackSockets ?? options.loopback ?? false,
      loopback: options.loopback ?? false,
    }
    requireCapabilities()
    this.features = Features.probe(options.disable)
    if (this.options.loopback) needsToEnter()
    this.programs = new Programs(this.programsOptions(0))
    cleanups.push(() => this.programs.close())
    this.programs.role('veth')
    const maps = this.programs.maps
    this.hooks = new HookMap(maps.mapFd('hooks'))
    this.tunnels = new TunnelMap(maps.mapFd('tunnels'))
    this.settings = new Settings(maps.mapFd('settings'))
    this.settings.bootAhead(bootAheadUs())
    this.setTunnels([])
    const batch = this.features.enabled('batch')
    const { maxConnections } = this.options
    this.drains = {
      4: new Drain({
        fd: maps.mapFd('views4'),
        keySize: key4.size,
        valueSize: view4.size,
        maxEntries: maxConnections,
        batch,
      }),
      6: new Drain({
        fd: maps.mapFd('views6'),
        keySize: key6.size,
        valueSize: view6.size,
        maxEntries: half(maxConnections),
        batch,
      }),
    }
    if (this.features.enabled('ring_buffer'))
      this.ring = Ring.open(maps.mapFd('events'), this.options.ringBytes)
    cleanups.push(() => this.ring?.close())
    if (this.features.enabled('ring_buffer') && this.options.dns)
      this.dnsRing = Ring.open(maps.mapFd('dns'), DNS_RING_BYTES)
    cleanups.push(() => this.dnsRing?.close())
    this.own = new Namespace({
      netns: 0,
      programs: this.programs,
      features: this.features,
      hooks: this.hooks,
      aside: options.aside === true,
    })
    cleanups.push(() => this.own.close())
    this.own.sweep()
    if (!this.features.enabled('conntrack') && this.features.enabled('ctnetlink')) {
      try {
        this.conntrack = ConntrackEvents.open()
        cleanups.push(() => this.conntrack?.close())
      } catch (error) {
        this.features.set('ctnetlink', false, error instanceof Error ? error.message : String(error))
      }
    }
    if (this.options.loopback) {
      this.loopback = new Loopback({
        features: this.features,
        hooks: this.hooks,
        maps: this.programs.maps,
        objectPath: this.programs.path,
      })
      cleanups.push(() => this.loopback?.close())
    }
    this.sockets = this.watchSockets()
    cleanups.push(() => this.sockets?.close())
  }

  /**
   * Probes the kernel, loads the first programs, sweeps what a killed process left in this network namespace. Throws
   * LIBBPF_MISSING, NO_PERMISSION, KERNEL_TOO_OLD, OBJECT_MISSING, LAYOUT_MISMATCH, VerifierError, BPF_LOAD; nothing
   * stays behind then.
   */
  static open(options: DatapathOptions = {}): Datapath {
    const cleanups: (() => void)[] = []
    try {
      return new Datapath(options, cleanups)
    } catch (error) {
      for (const cleanup of cleanups.reverse()) cleanup()
      throw error
    }
  }

  /** Hooks all interfaces of the own namespace as `roles` says, and those that come: call poll() often. */
  follow(roles: RoleOptions = {}): void {
    this.own.follow(roles)
    this.setTunnels(this.own.tunnels())
  }

  /**
   * Acts on what rtnetlink has told since the last call and gives it. One system call when there is nothing; where many
   * interfaces come at once they are hooked a few at a time (see `pending`).
   */
  poll(): InterfaceChange[] {
    this.settings.bootAhead(bootAheadUs())
    const changes = this.own.poll()
    if (changes.some((change) => change.interface.tunnel !== undefined)) this.setTunnels(this.own.tunnels())
    for (const { namespace } of this.others.values()) changes.push(...namespace.poll())
    return changes
  }

  /**
   * Follows the network namespaces of the pods whose interfaces are hooked, and gives those that came, changed or went
   * since the last call. Nothing unless `loopback` was asked for.
   */
  pollLoopbacks(): LoopbackChange[] {
    if (this.loopback === undefined || performance.now() - this.loopbackAt < LOOPBACK_MS) return []
    this.loopbackAt = performance.now()
    return this.loopback.poll(this.own.podInterfaces())
  }

  /** Interfaces that wait to be hooked: 0 when all that are known are captured. */
  get pending(): number {
    let count = 0
    for (const namespace of this.namespaces()) count += namespace.pending
    return count
  }

  /** The own namespace's interfaces as known; empty without follow(). */
  interfaces(): Interface[] {
    return this.own.list()
  }

  /** How the own namespace's interfaces of `changes` are hooked now: each of them once. */
  changed(changes: readonly InterfaceChange[]): InterfaceStatus[] {
    return this.own.status(new Set(changes.map((change) => change.interface.ifindex)))
  }

  /** The own namespace's interface counters, read now. */
  linkCounters(): ReturnType<Namespace['linkCounters']> {
    return this.own.linkCounters()
  }

  /** Hooks one interface of the own namespace. What goes wrong is its problem in status(). */
  attach(device: Pick<Interface, 'ifindex' | 'name' | 'kind'>, role: Role): void {
    this.own.attach(device, role)
  }

  /** Unhooks one interface of the own namespace. */
  detach(ifindex: number): void {
    this.own.detach(ifindex)
  }

  /**
   * Enters another network namespace (CAP_SYS_ADMIN) with programs of its own that carry `number` (1 to 1023); their
   * records come through the same maps and ring. The namespace is closed by close() or leave().
   */
  enter(path: string, number: number): Namespace {
    this.leave(number)
    const programs = new Programs({ ...this.programsOptions(number), shareMapsOf: this.programs.maps })
    try {
      const namespace = new Namespace({
        netns: number,
        path,
        programs,
        features: this.features,
        hooks: this.hooks,
      })
      this.others.set(number, { namespace, programs })
      return namespace
    } catch (error) {
      programs.close()
      throw error
    }
  }

  /** Detaches everything in a namespace that was entered, before it returns: nothing is done aside there. */
  leave(number: number): void {
    const other = this.others.get(number)
    if (other === undefined) return
    this.others.delete(number)
    other.namespace.close()
    other.programs.close()
  }

  /** Gives waiting ring records to `sink`, at most `max`. 0 without a ring. */
  readRing(sink: RecordSink, max: number): number {
    return this.ring?.read(sink, max) ?? 0
  }

  /**
   * Gives the translated connections of the own namespace that conntrack has told of, where the programs cannot read
   * them themselves; nothing where they can. Call it after readRing.
   */
  readTranslations(sink: TranslationSink): void {
    this.conntrack?.read(sink)
  }

  /** Inode number of the own network namespace, where sockets are watched; undefined where they are not. */
  get socketNetns(): number | undefined {
    return this.sockets?.ownNetns
  }

  /** Gives what was told of sockets since the last call. */
  readSockets(sink: SocketSink): void {
    this.sockets?.read(sink)
  }

  /** Gives the sockets that are open, by and by; resolves with what it took, in milliseconds. Never rejects. */
  async walkSockets(sink: SocketSink): Promise<number> {
    if (this.sockets === undefined || !this.features.enabled('socket_walk')) return 0
    try {
      await this.sockets.walk(sink)
    } catch (error) {
      this.features.set('socket_walk', false, error instanceof Error ? error.message : String(error))
    }
    return this.sockets.lastWalk.ms
  }

  /** Sockets of which the kernel could not tell, since the start. */
  socketsLost(): number {
    return this.sockets?.lost() ?? 0
  }

  /** What the last walk took, from its beginning to its end. */
  lastSocketWalkMs(): number {
    return this.sockets?.lastWalk.ms ?? 0
  }

  /** Lets the kernel tell the name of a control group again. */
  forgetCgroup(key: string): void {
    this.sockets?.forgetCgroup(key)
  }

  /** Gives waiting copies of DNS messages (struct event_dns) to `sink`, at most `max`. 0 where none are made. */
  readDns(sink: RecordSink, max: number): number {
    return this.dnsRing?.read(sink, max) ?? 0
  }

  /** Bytes that wait in the ring, and its size. */
  ringFill(): { bytes: number; fill: number } {
    return { bytes: this.ring?.size ?? 0, fill: this.ring?.fill ?? 0 }
  }

  /** Gives every view of a family to `sink`, in batches. Gives how many. */
  drain(family: 4 | 6, sink: EntrySink): number {
    return this.drains[family].read(sink)
  }

  /** Words of a key and a value, as drain() lays them out. */
  strides(family: 4 | 6): { keyWords: number; valueWords: number } {
    const { keyWords, valueWords } = this.drains[family]
    return { keyWords, valueWords }
  }

  /** Deletes views by keys that stand one after another; gives how many were there. */
  deleteViews(family: 4 | 6, keys: Uint32Array, count: number): number {
    return this.drains[family].delete(keys, count)
  }

  /** Counters of every attached hook. */
  hookCounters(): NamedHookCounters[] {
    return [...this.namespaces()].flatMap((namespace) => namespace.hookCounters())
  }

  /** Counters of hooks that have been detached since the start, summed. */
  retiredCounters(): HookCounters {
    const sum = noCounters()
    for (const { retired } of this.namespaces()) addCounters(sum, retired)
    return sum
  }

  /** Packets that crossed interfaces before they were hooked, by the interfaces' own counters; since the start. */
  missedPackets(): number {
    let packets = 0
    for (const namespace of this.namespaces()) packets += namespace.missedPackets
    return packets
  }

  losses(): Losses {
    return readLosses(this.programs.maps.mapFd('losses'))
  }

  /** Which tunnels uplinks open. follow() and poll() keep it up to date with this node's devices. */
  setTunnels(tunnels: readonly Tunnel[]): void {
    this.tunnels.set(tunnels)
    this.settings.tunnelPorts(tunnels.map(({ port }) => port).filter((port) => port !== 0))
  }

  /** Goes in front again where somebody took the head; see Namespace.checkHeads. Meant for once a second. */
  checkHeads(): void {
    for (const namespace of this.namespaces()) namespace.checkHeads()
    this.setTunnels(this.own.tunnels())
  }

  status(): DatapathStatus {
    return {
      object: this.programs.path,
      features: [
        ...this.features.list(),
        ...(this.loopback === undefined ? [] : [{ name: 'loopback', ...this.loopback.summary() }]),
      ],
      interfaces: [
        ...[...this.namespaces()].flatMap((namespace) => namespace.status()),
        ...(this.loopback?.status() ?? []),
      ],
      ring: this.ringFill(),
      losses: this.losses(),
    }
  }

  /**
   * Detaches everything and lets go of programs, maps, memory and sockets; waits for what is being done aside, and has
   * done all before it returns when there is no such thing. Idempotent.
   */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    for (const number of [...this.others.keys()]) this.leave(number)
    const working = this.own.stop()
    if (working !== undefined) await working
    this.own.close()
    this.loopback?.close()
    this.conntrack?.close()
    this.sockets?.close()
    this.ring?.close()
    this.dnsRing?.close()
    this.programs.close()
  }

  /** What is refused is a feature that is off, and no more than that. */
  private watchSockets(): SocketWatch | undefined {
    if (!this.features.enabled('sockets')) return undefined
    try {
      const { objectDir, loopbackSockets } = this.options
      const watch = SocketWatch.open({ objectDir, loopback: loopbackSockets })
      if (this.features.enabled('socket_walk'))
        this.features.set(
          'socket_walk',
          true,
          seesAllProcesses() ? 'tried' : 'sees the processes of its own container only: hostPID is not set',
        )
      return watch
    } catch (error) {
      const reason = reasonOf(error)
      this.features.set('sockets', false, reason)
      this.features.set('socket_walk', false, 'needs sockets')
      return undefined
    }
  }

  private *namespaces(): Generator<Namespace> {
    yield this.own
    for (const { namespace } of this.others.values()) yield namespace
  }

  private programsOptions(netns: number): ProgramsOptions {
    const { maxConnections, ringBytes, objectDir, dns } = this.options
    return {
      objectDir,
      features: this.features,
      netns,
      dns,
      sizes: {
        views4: maxConnections,
        views6: half(maxConnections),
        events: ringBytes,
        dns: dns ? DNS_RING_BYTES : libc().getpagesize(),
      },
    }
  }
}

function half(count: number): number {
  return Math.max(1, Math.ceil(count / 2))
}
