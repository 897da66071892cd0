// All hooks of one network namespace: attaches interfaces as they come, lets go of them as they go, keeps our programs at
// the head. Which interface gets which role is roles.ts's to say.

import { ExitCode, VethflowError } from '../errors.js'
import { type AttachKind, Attachment, InterfaceGoneError, reasonOf } from './attach.js'
import { removeIdleClsact, sweepClsact } from './clsact.js'
import { addCounters, type HookCounters, type HookMap, noCounters } from './counters.js'
import type { Features } from './features.js'
import { hookNumber } from './hook.js'
import { type Interface, type InterfaceChange, Interfaces } from './interfaces.js'
import { NetlinkSocket } from './netlink.js'
import { withNetns } from './netns.js'
import type { Programs } from './programs.js'
import { chooseRole, type Role, type RoleOptions } from './roles.js'
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
}

interface Entry {
  interface: Pick<Interface, 'ifindex' | 'name' | 'kind'>
  role: Role | undefined
  reason: string | undefined
  problem: string | undefined
  attachments: Attachment[]
  reheaded: number
  /** How often we may still go in front; refilled slowly, so that two who both want the head do not fight for ever. */
  budget: number
}

const REHEAD_BUDGET = 5
const REFILL_MS = 60_000
/** clsact costs two netlink dumps a hook: this many interfaces a check. */
const CLSACT_CHECKS = 32

/**
 * Time poll() may spend on attaching before it lets the rest wait for the next call. A tcx attachment waits for an RCU
 * grace period, 5 to 20 ms: three hundred pods at once must not stop the reading of ring and maps for seconds.
 */
const ATTACH_BUDGET_MS = 20

/** Owns its attachments and netlink sockets, not the programs and maps. Close it before those. */
export class Namespace {
  readonly netns: number
  /** Counters of hooks that have been detached, summed. */
  readonly retired: HookCounters = noCounters()
  private readonly options: NamespaceOptions
  private readonly socket: NetlinkSocket
  private readonly entries = new Map<number, Entry>()
  /** Entries with a role that have not been tried yet, oldest first. */
  private readonly waiting = new Set<Entry>()
  /** Hooked since the last poll(). */
  private attached: number[] = []
  private roleOptions: RoleOptions | undefined
  private interfaces: Interfaces | undefined
  private refilledAt = performance.now()
  private nextCheck = 0
  private closed = false

  constructor(options: NamespaceOptions) {
    this.options = options
    this.netns = options.netns
    this.socket = this.inside(() => NetlinkSocket.open())
  }

  /** Removes what killed processes left on clsact; gives how many filters. */
  sweep(): number {
    return sweepClsact(this.socket)
  }

  /** Attaches to all interfaces as `roles` says, and from then on to those that come (see poll). */
  follow(roles: RoleOptions = {}): void {
    this.roleOptions = roles
    this.interfaces ??= this.inside(() => Interfaces.open())
    for (const device of this.interfaces.values()) this.consider(device)
    this.attachWaiting(Number.POSITIVE_INFINITY)
    this.attached = []
  }

  /** Interfaces that are to be hooked and wait for their turn. */
  get pending(): number {
    return this.waiting.size
  }

  /**
   * What rtnetlink told since the last call. Interfaces that went are unhooked; those that came are hooked, as many as
   * fit into 20 ms, the rest at the next calls; each is told as attached. Needs follow().
   */
  poll(): InterfaceChange[] {
    const changes = this.interfaces?.poll() ?? []
    for (const change of changes) {
      const { ifindex } = change.interface
      if (change.kind === 'gone') this.detach(ifindex)
      // It may have gone again meanwhile: then a later change says so.
      else if (this.interfaces?.get(ifindex) === change.interface || change.kind === 'appeared')
        this.consider(change.interface)
    }
    this.attachWaiting(ATTACH_BUDGET_MS)
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
    return tunnelsOf(this.list(), (ifindex) => this.entries.get(ifindex)?.attachments.length === 2)
  }

  /** The interfaces' own counters now. Needs follow(). */
  linkCounters(): ReturnType<Interfaces['counters']> {
    return this.interfaces?.counters() ?? new Map()
  }

  /**
   * Hooks both directions of an interface in a role. What goes wrong with one interface is its `problem` in status and
   * is tried again by checkHeads(); only the lack of a permission is thrown.
   */
  attach(device: Pick<Interface, 'ifindex' | 'name' | 'kind'>, role: Role): void {
    const entry = this.enlist(device, role)
    this.waiting.delete(entry)
    if (entry.attachments.length === 0) this.tryAttach(entry)
  }

  /** Unhooks an interface, gone or not. Nothing when it is not hooked. */
  detach(ifindex: number): void {
    const entry = this.entries.get(ifindex)
    if (entry === undefined) return
    this.entries.delete(ifindex)
    this.waiting.delete(entry)
    this.letGo(entry)
  }

  /**
   * Makes sure that every hook is still ours and at the head; goes in front again where somebody took it, and says so in
   * status where it cannot. Tries again what could not be attached. Meant for once a second.
   */
  checkHeads(): void {
    if (performance.now() - this.refilledAt > REFILL_MS) {
      this.refilledAt = performance.now()
      for (const entry of this.entries.values()) entry.budget = Math.min(entry.budget + 1, REHEAD_BUDGET)
    }
    const all = [...this.entries.values()]
    const behindClsact = all.filter((entry) => entry.attachments[0]?.kind === 'clsact')
    const due = new Set<Entry>()
    for (let i = 0; i < Math.min(CLSACT_CHECKS, behindClsact.length); i++)
      due.add(behindClsact[this.nextCheck++ % behindClsact.length] as Entry)
    this.inside(() => {
      for (const entry of all) {
        if (entry.role === undefined || this.waiting.has(entry)) continue
        if (entry.attachments.length === 0) this.tryAttach(entry)
        else if (entry.attachments[0]?.kind === 'tcx' || due.has(entry)) this.checkHead(entry)
      }
    })
  }

  status(): InterfaceStatus[] {
    return [...this.entries.values()].map((entry) => {
      const attach = entry.attachments[0]?.kind
      return {
        netns: this.netns,
        ifindex: entry.interface.ifindex,
        name: entry.interface.name,
        kind: entry.interface.kind,
        reheaded: entry.reheaded,
        ...(entry.role === undefined ? {} : { role: entry.role }),
        ...(attach === undefined ? {} : { attach }),
        ...(entry.reason === undefined ? {} : { reason: entry.reason }),
        ...(entry.problem === undefined ? {} : { problem: entry.problem }),
      }
    })
  }

  /** Counters of every attached hook. */
  hookCounters(): NamedHookCounters[] {
    const found: NamedHookCounters[] = []
    for (const entry of this.entries.values()) {
      for (const { ifindex, egress } of entry.attachments) {
        const hook = hookNumber(ifindex, egress, this.netns)
        const counters = this.options.hooks.read(hook)
        if (counters !== undefined)
          found.push({ netns: this.netns, ifindex, name: entry.interface.name, egress, hook, ...counters })
      }
    }
    return found
  }

  /** Detaches everything and closes the sockets. Idempotent. */
  close(): void {
    if (this.closed) return
    this.closed = true
    for (const ifindex of [...this.entries.keys()]) this.detach(ifindex)
    this.interfaces?.close()
    this.socket.close()
  }

  private consider(device: Interface): void {
    const choice = chooseRole(device, this.roleOptions)
    if (choice.role !== undefined) {
      const entry = this.enlist(device, choice.role)
      if (entry.attachments.length === 0) this.waiting.add(entry)
      return
    }
    this.detach(device.ifindex)
    this.entries.set(device.ifindex, newEntry(device, undefined, choice.reason))
  }

  /** The entry of an interface in this role; what it was before in another role is let go. */
  private enlist(device: Entry['interface'], role: Role): Entry {
    const known = this.entries.get(device.ifindex)
    if (known?.role === role) {
      known.interface = device
      return known
    }
    this.detach(device.ifindex)
    const entry = newEntry(device, role, undefined)
    this.entries.set(device.ifindex, entry)
    return entry
  }

  private attachWaiting(budgetMs: number): void {
    const began = performance.now()
    for (const entry of this.waiting) {
      this.waiting.delete(entry)
      this.tryAttach(entry)
      if (performance.now() - began >= budgetMs) return
    }
  }

  private tryAttach(entry: Entry): void {
    if (entry.role === undefined) return
    const { ifindex } = entry.interface
    try {
      const programs = this.options.programs.role(entry.role)
      for (const egress of [false, true]) {
        this.options.hooks.insert(hookNumber(ifindex, egress, this.netns))
        entry.attachments.push(this.hook(ifindex, egress, egress ? programs.egress : programs.ingress))
      }
      entry.problem = undefined
      this.attached.push(ifindex)
    } catch (error) {
      this.letGo(entry)
      if (error instanceof InterfaceGoneError) {
        this.entries.delete(ifindex)
        return
      }
      if (error instanceof VethflowError && error.exitCode === ExitCode.NO_PERMISSION) {
        this.entries.delete(ifindex)
        throw error
      }
      entry.problem = `not captured: ${reasonOf(error)}`
    }
  }

  private hook(ifindex: number, egress: boolean, program: Attachment['program']): Attachment {
    const { features } = this.options
    return this.inside(() =>
      Attachment.create(this.socket, ifindex, egress, program, {
        tcx: features.enabled('tcx'),
        clsact: features.enabled('clsact'),
      }),
    )
  }

  private checkHead(entry: Entry): void {
    let problem: string | undefined
    for (const [index, attachment] of entry.attachments.entries()) {
      const { ifindex, egress, program } = attachment
      let head = attachment.head()
      if (head.state === 'head') continue
      const mayReplace = entry.budget > 0
      if (mayReplace) {
        entry.budget--
        entry.reheaded++
        attachment.detach()
        try {
          const again = this.hook(ifindex, egress, program)
          entry.attachments[index] = again
          head = again.head()
        } catch (error) {
          this.letGo(entry)
          if (error instanceof InterfaceGoneError) return
          entry.problem = `not captured: ${reasonOf(error)}`
          return
        }
      }
      const direction = egress ? 'egress' : 'ingress'
      if (head.state === 'behind')
        problem = `${head.before} runs before vethflow at ${direction} and may hide packets from it`
      else if (head.state === 'gone')
        problem = `vethflow was taken off ${direction} and does not capture there`
    }
    entry.problem = problem
  }

  /** Detaches, then deletes the hooks: as long as they are in the map they count as alive. */
  private letGo(entry: Entry): void {
    const attachments = entry.attachments.splice(0)
    const madeQdisc = attachments.some((attachment) => attachment.madeQdisc)
    for (const attachment of attachments) attachment.detach()
    const { ifindex } = entry.interface
    if (madeQdisc) removeIdleClsact(this.socket, ifindex)
    for (const egress of [false, true]) {
      const hook = hookNumber(ifindex, egress, this.netns)
      const counters = this.options.hooks.read(hook)
      if (counters === undefined) continue
      addCounters(this.retired, counters)
      this.options.hooks.delete(hook)
    }
  }

  private inside<T>(run: () => T): T {
    return this.options.path === undefined ? run() : withNetns(this.options.path, run)
  }
}

function newEntry(device: Entry['interface'], role: Role | undefined, reason: string | undefined): Entry {
  return {
    interface: device,
    role,
    reason,
    problem: undefined,
    attachments: [],
    reheaded: 0,
    budget: REHEAD_BUDGET,
  }
}
