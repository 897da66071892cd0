// All hooks of one network namespace: attaches interfaces as they come, lets go of them as they go, keeps our programs at
// the head. Which interface gets which role is roles.ts's to say, what is done with one interface hooked.ts's.

import type { AttachKind } from './attach.js'
import { sweepClsact } from './clsact.js'
import { type HookCounters, type HookMap, noCounters } from './counters.js'
import type { Features } from './features.js'
import { Hooked, type HookSurroundings } from './hooked.js'
import { type Interface, type InterfaceChange, Interfaces } from './interfaces.js'
import type { LinkCounters } from './link-message.js'
import { NetlinkSocket } from './netlink.js'
import { withNetns } from './netns.js'
import type { Programs } from './programs.js'
import { chooseRole, isPodKind, type Role, type RoleOptions } from './roles.js'
import { runAside, runNow } from './slow-call.js'
import type { Tunnel } from './tunnel-map.js'
import { tunnelsOf } from './tunnels.js'

/** One interface, for status. */
export interface InterfaceStatus {
  readonly netns: number
  readonly ifindex: number
  readonly name: string
  readonly kind: string
  /** Absent: not covered, `reason` says why. */
  readonly role?: Role
  readonly attach?: AttachKind
  readonly reason?: string
  /** What is wrong: not attached though it should be, or somebody stands before us. */
  readonly problem?: string
  /** How often we went in front again. */
  readonly reheaded: number
}

export interface NamedHookCounters extends HookCounters {
  readonly netns: number
  readonly ifindex: number
  readonly name: string
  readonly egress: boolean
  readonly hook: number
}

export interface NamespaceOptions {
  /** 0: the agent's own. */
  readonly netns: number
  /** /run/netns/NAME or /proc/PID/ns/net; absent for the agent's own. */
  readonly path?: string
  readonly programs: Programs
  readonly features: Features
  readonly hooks: HookMap
  /**
   * Wait for the kernel on another thread: follow(), poll() and checkHeads() then only begin what takes long, and
   * `pending` says what is left. Only in the agent's own namespace, which all threads are in.
   */
  readonly aside?: boolean
}

/** An interface that is not hooked, and why. */
interface Uncovered {
  readonly interface: Pick<Interface, 'ifindex' | 'name' | 'kind'>
  readonly reason: string
}

const REFILL_MS = 60_000
/** clsact costs two netlink dumps a hook: this many interfaces a check. */
const CLSACT_CHECKS = 32
/**
 * Time that poll() may spend on attaching, and checkHeads() on asking, before the rest waits for the next call: three
 * hundred pods at once must not stop the reading of ring and maps for seconds.
 */
const BUDGET_MS = 20
const NO_COUNTERS: LinkCounters = { rxPackets: 0, txPackets: 0, rxBytes: 0, txBytes: 0 }

/** Owns its attachments and netlink sockets, not the programs and maps. Close it before those. */
export class Namespace {
  readonly netns: number
  /** Counters of hooks that have been detached, summed. */
  readonly retired: HookCounters = noCounters()
  private readonly missed = { packets: 0 }
  private readonly options: NamespaceOptions
  private readonly aside: boolean
  private readonly socket: NetlinkSocket
  private readonly around: HookSurroundings
  private readonly entries = new Map<number, Hooked | Uncovered>()
  /** Those with something to do, oldest first: an interface's last hooks are let go before it is hooked anew. */
  private readonly queue = new Set<Hooked>()
  /** What is being done aside. */
  private inHand: Hooked | undefined
  private working: Promise<void> | undefined
  /** Thrown by the next poll(). */
  private refusal: unknown
  /** Hooked since the last poll(). */
  private attached: number[] = []
  private roleOptions: RoleOptions | undefined
  private interfaces: Interfaces | undefined
  private refilledAt = performance.now()
  private nextCheck = 0
  private nextClsact = 0
  private stopped = false
  private closed = false

  constructor(options: NamespaceOptions) {
    this.options = options
    this.netns = options.netns
    this.aside = options.aside === true && options.path === undefined
    this.socket = this.inside(() => NetlinkSocket.open())
    const { netns, programs, features, hooks } = options
    this.around = {
      netns,
      socket: this.socket,
      programs,
      features,
      hooks,
      retired: this.retired,
      missed: this.missed,
    }
  }

  /** Removes what killed processes left on clsact; gives how many filters. */
  sweep(): number {
    return sweepClsact(this.socket)
  }

  /** Attaches to all interfaces as `roles` says, and from then on to those that come (see poll). */
  follow(roles: RoleOptions = {}): void {
    this.roleOptions = roles
    this.interfaces ??= this.inside(() => Interfaces.open())
    for (const device of this.interfaces.values()) this.consider(device, undefined)
    this.work(Number.POSITIVE_INFINITY)
    this.attached = []
  }

  /** Interfaces that are to be hooked and wait for their turn. */
  get pending(): number {
    let count = this.inHand?.wanted && this.inHand.unfinished ? 1 : 0
    for (const entry of this.queue) if (entry.wanted && entry.unfinished) count++
    return count
  }

  /** Packets that crossed interfaces before they were hooked, or while they were hooked anew, by their own counters. */
  get missedPackets(): number {
    return this.missed.packets
  }

  /**
   * What rtnetlink told since the last call. Interfaces that went are unhooked; those that came are hooked, aside or as
   * many as fit into 20 ms, the rest at the next calls; each is told as attached. Needs follow(). Throws NO_PERMISSION
   * when attaching was refused for want of one.
   */
  poll(): InterfaceChange[] {
    if (this.refusal !== undefined) {
      const refusal = this.refusal
      this.refusal = undefined
      throw refusal
    }
    const changes = this.interfaces?.poll() ?? []
    for (const change of changes) {
      const { ifindex } = change.interface
      if (change.kind === 'gone') this.drop(ifindex)
      // It may have gone again meanwhile: then a later change says so.
      else if (this.interfaces?.get(ifindex) === change.interface || change.kind === 'appeared')
        this.consider(change.interface, change.listed === true ? NO_COUNTERS : change.interface.counters)
    }
    this.work(BUDGET_MS)
    for (const ifindex of this.attached.splice(0)) {
      const device = this.interfaces?.get(ifindex)
      if (device !== undefined) changes.push({ kind: 'attached', interface: device })
    }
    return changes
  }

  /** The interfaces as known; empty without follow(). */
  list(): Interface[] {
    return [...(this.interfaces?.values() ?? [])]
  }

  /** The tunnels that end in this namespace. */
  tunnels(): Tunnel[] {
    return tunnelsOf(this.list(), (ifindex) => {
      const entry = this.entries.get(ifindex)
      return entry instanceof Hooked && entry.attach !== undefined
    })
  }

  /** Interfaces hooked as pods' whose other ends are in other namespaces. */
  podInterfaces(): Interface[] {
    return this.list().filter((device) => {
      if (!device.linkElsewhere || !isPodKind(device.kind)) return false
      const entry = this.entries.get(device.ifindex)
      return entry instanceof Hooked && entry.role === 'veth'
    })
  }

  /** The interfaces' own counters now. Needs follow(). */
  linkCounters(): ReturnType<Interfaces['counters']> {
    return this.interfaces?.counters() ?? new Map()
  }

  /**
   * Hooks both directions of an interface in a role before it returns. What goes wrong with one interface is its
   * `problem` in status and is tried again by checkHeads(); only the lack of a permission is thrown.
   */
  attach(device: Hooked['interface'], role: Role): void {
    this.enlist(device, role, undefined)
    this.workNow(Number.POSITIVE_INFINITY)
  }

  /** Unhooks an interface, gone or not. Nothing when it is not hooked. */
  detach(ifindex: number): void {
    this.drop(ifindex)
    this.work(0)
  }

  /**
   * Makes sure that every hook is still ours and at the head; goes in front again where somebody took it, and says so in
   * status where it cannot. Tries again what could not be attached. Meant for once a second; what does not fit into 20
   * ms is looked at the next time.
   */
  checkHeads(): void {
    const hooked = [...this.entries.values()].filter((entry) => entry instanceof Hooked)
    if (performance.now() - this.refilledAt > REFILL_MS) {
      this.refilledAt = performance.now()
      for (const entry of hooked) entry.refill()
    }
    const onClsact = hooked.filter((entry) => entry.attach === 'clsact')
    const due = new Set<Hooked>()
    for (let i = 0; i < Math.min(CLSACT_CHECKS, onClsact.length); i++)
      due.add(onClsact[this.nextClsact++ % onClsact.length] as Hooked)
    const began = performance.now()
    this.inside(() => {
      for (let i = 0; i < hooked.length; i++) {
        const entry = hooked[this.nextCheck++ % hooked.length] as Hooked
        if (entry === this.inHand || this.queue.has(entry)) continue
        const { attach } = entry
        if (attach === undefined || ((attach === 'tcx' || due.has(entry)) && entry.look()))
          this.queue.add(entry)
        if (performance.now() - began > BUDGET_MS) break
      }
    })
    this.work(Number.POSITIVE_INFINITY)
  }

  /** All interfaces, or those of `ifindexes` that are there. */
  status(ifindexes: Iterable<number> = this.entries.keys()): InterfaceStatus[] {
    return [...ifindexes].flatMap((ifindex) => {
      const entry = this.entries.get(ifindex)
      if (entry === undefined) return []
      const about = {
        netns: this.netns,
        ifindex: entry.interface.ifindex,
        name: entry.interface.name,
        kind: entry.interface.kind,
      }
      if (!(entry instanceof Hooked)) return { ...about, reheaded: 0, reason: entry.reason }
      const { role, attach, problem, reheaded } = entry
      return {
        ...about,
        reheaded,
        role,
        ...(attach === undefined ? {} : { attach }),
        ...(problem === undefined ? {} : { problem }),
      }
    })
  }

  /** Counters of every attached hook. */
  hookCounters(): NamedHookCounters[] {
    const found: NamedHookCounters[] = []
    for (const entry of this.entries.values()) {
      if (!(entry instanceof Hooked)) continue
      const { ifindex, name } = entry.interface
      for (const counters of entry.counters()) found.push({ netns: this.netns, ifindex, name, ...counters })
    }
    return found
  }

  /** Begins nothing more aside. Gives what is still being done there, which close() must wait for; undefined: nothing. */
  stop(): Promise<void> | undefined {
    this.stopped = true
    return this.working
  }

  /** Detaches everything and closes the sockets, before it returns. Idempotent. */
  close(): void {
    if (this.closed) return
    this.closed = true
    for (const ifindex of [...this.entries.keys()]) this.drop(ifindex)
    this.workNow(Number.POSITIVE_INFINITY)
    this.interfaces?.close()
    this.socket.close()
  }

  /** `since`: the interface's counters from which on it is to be captured; undefined: from when it is. */
  private consider(device: Interface, since: LinkCounters | undefined): void {
    const choice = chooseRole(device, this.roleOptions)
    if (choice.role !== undefined) {
      this.enlist(device, choice.role, since)
      return
    }
    this.drop(device.ifindex)
    this.entries.set(device.ifindex, { interface: device, reason: choice.reason })
  }

  /** Sees to it that an interface gets hooked in this role; what it was before in another role is let go. */
  private enlist(device: Hooked['interface'], role: Role, since: LinkCounters | undefined): void {
    const known = this.entries.get(device.ifindex)
    if (known instanceof Hooked && known.role === role) {
      known.interface = device
      if (known.unfinished && known !== this.inHand) this.queue.add(known)
      return
    }
    const entry = new Hooked(this.around, device, role, since)
    this.drop(device.ifindex, entry)
    this.entries.set(device.ifindex, entry)
    this.queue.add(entry)
  }

  /** Forgets an interface; its hooks are let go by the next work. */
  private drop(ifindex: number, successor?: Hooked): void {
    const entry = this.entries.get(ifindex)
    this.entries.delete(ifindex)
    if (!(entry instanceof Hooked)) return
    entry.leave(successor)
    if (entry.unfinished) this.queue.add(entry)
    else this.queue.delete(entry)
  }

  private work(budgetMs: number): void {
    if (!this.aside) this.workNow(budgetMs)
    else if (this.queue.size > 0 && !this.stopped) this.working ??= this.workAside()
  }

  /** Works the queue off on this thread. What is to be let go is let go in any case. */
  private workNow(budgetMs: number): void {
    const began = performance.now()
    for (const entry of [...this.queue]) {
      if (entry.wanted && performance.now() - began > budgetMs) continue
      this.queue.delete(entry)
      this.done(
        entry,
        this.inside(() => runNow(entry.work())),
      )
    }
  }

  private async workAside(): Promise<void> {
    for (const entry of this.queue) {
      if (this.stopped) break
      this.queue.delete(entry)
      this.inHand = entry
      try {
        this.done(entry, await runAside(entry.work()))
      } catch (error) {
        this.refusal = error
      }
      this.inHand = undefined
      // Not every piece of work has waited for something: the event loop has its turn all the same.
      await new Promise(setImmediate)
    }
    this.working = undefined
  }

  private done(entry: Hooked, outcome: 'attached' | 'done' | 'gone'): void {
    const { ifindex } = entry.interface
    if (outcome === 'attached') this.attached.push(ifindex)
    if (outcome === 'gone' && this.entries.get(ifindex) === entry) this.entries.delete(ifindex)
  }

  private inside<T>(run: () => T): T {
    return this.options.path === undefined ? run() : withNetns(this.options.path, run)
  }
}
