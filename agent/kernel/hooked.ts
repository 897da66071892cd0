// The hooks of one interface, both directions: taken, looked after, let go. What waits for the kernel is a step
// (slow-call.ts): between two steps the interface may go or its hooks may no longer be wanted. Which interfaces are
// hooked, and when the steps run, is namespace.ts's to say.

import { ExitCode, VethflowError } from '../errors.js'
import { type AttachKind, Attachment, InterfaceGoneError, reasonOf } from './attach.js'
import { removeIdleClsact } from './clsact.js'
import { addCounters, type HookCounters, type HookMap } from './counters.js'
import type { Features } from './features.js'
import { hookNumber } from './hook.js'
import type { Interface } from './interfaces.js'
import { readLinkCounters } from './link-counters.js'
import type { LinkCounters } from './link-message.js'
import type { NetlinkSocket } from './netlink.js'
import type { Programs } from './programs.js'
import type { Role } from './roles.js'
import type { SlowSteps } from './slow-call.js'

/** What all hooks of a network namespace share. */
export interface HookSurroundings {
  readonly netns: number
  readonly socket: NetlinkSocket
  readonly programs: Programs
  readonly features: Features
  readonly hooks: HookMap
  /** Counters of hooks that have been let go, summed here. */
  readonly retired: HookCounters
  /** Packets that crossed an interface while it was not hooked though it was to be, summed here. */
  readonly missed: { packets: number }
}

/** How often we may go in front of somebody; refilled slowly, so that two who both want the head do not fight for ever. */
const REHEAD_BUDGET = 5

const DIRECTIONS = [false, true]

/** One interface that is to be hooked. Its steps run one after another, never two at a time. */
export class Hooked {
  interface: Pick<Interface, 'ifindex' | 'name' | 'kind'>
  readonly role: Role
  /** What is wrong, for status. */
  problem: string | undefined
  reheaded = 0
  private readonly around: HookSurroundings
  private attachments: Attachment[] = []
  private budget = REHEAD_BUDGET
  private hooked = false
  private left = false
  private madeQdisc = false
  /** The interface's counters when it was first to be hooked: what it carried since then we have not seen. */
  private since: LinkCounters | undefined
  private successor: Hooked | undefined

  /** `since`: see above; undefined where nobody was promised anything yet. */
  constructor(
    around: HookSurroundings,
    device: Hooked['interface'],
    role: Role,
    since: LinkCounters | undefined,
  ) {
    this.around = around
    this.interface = device
    this.role = role
    this.since = since
  }

  /** How it is hooked, both ways; undefined when it is not. */
  get attach(): AttachKind | undefined {
    return this.hooked ? this.attachments[0]?.kind : undefined
  }

  /** True when its steps have something to do that is not looking after the head. */
  get unfinished(): boolean {
    return this.left ? this.attachments.length > 0 : !this.hooked
  }

  get wanted(): boolean {
    return !this.left
  }

  /** Its hooks are not wanted any more: the next step lets go. `successor` hooks the interface in another role. */
  leave(successor?: Hooked): void {
    this.left = true
    this.successor = successor
  }

  refill(): void {
    this.budget = Math.min(this.budget + 1, REHEAD_BUDGET)
  }

  /**
   * Does what is due: takes the hooks, goes in front again, or lets go. 'gone': the interface is not there. What goes
   * wrong otherwise is the `problem`; only the lack of a permission is thrown.
   */
  *work(): SlowSteps<'attached' | 'done' | 'gone'> {
    if (this.left) {
      yield* this.release()
      return 'done'
    }
    const fresh = !this.hooked
    try {
      if (fresh) yield* this.take()
      else yield* this.goInFront()
    } catch (error) {
      yield* this.release()
      if (error instanceof InterfaceGoneError) return 'gone'
      if (error instanceof VethflowError && error.exitCode === ExitCode.NO_PERMISSION) throw error
      this.problem = `not captured: ${reasonOf(error)}`
      this.since ??= this.linkCounters()
      return 'done'
    }
    if (this.left) yield* this.release()
    return fresh && !this.left ? 'attached' : 'done'
  }

  /** Asks whether both hooks are ours and at the head. True when steps are needed. */
  look(): boolean {
    let problem: string | undefined
    for (const attachment of this.attachments) {
      const head = attachment.head()
      if (head.state === 'head') continue
      if (this.budget > 0) return true
      problem = describeHead(attachment.egress, head)
    }
    this.problem = problem
    return false
  }

  /** The counters of both hooks, as far as they are attached. */
  *counters(): Generator<HookCounters & { egress: boolean; hook: number }> {
    for (const { ifindex, egress } of this.attachments) {
      const hook = hookNumber(ifindex, egress, this.around.netns)
      const counters = this.around.hooks.read(hook)
      if (counters !== undefined) yield { egress, hook, ...counters }
    }
  }

  private *take(): SlowSteps<void> {
    const { programs, hooks, netns } = this.around
    const { ifindex } = this.interface
    const pair = programs.role(this.role)
    for (const egress of DIRECTIONS) {
      if (this.left) return
      hooks.insert(hookNumber(ifindex, egress, netns))
      this.since = this.countMissed(egress, this.since)
      this.attachments.push(yield* this.attachOne(egress, egress ? pair.egress : pair.ingress))
    }
    this.hooked = true
    this.problem = undefined
    this.since = undefined
  }

  /** In front of whoever took the head, as long as the budget lasts. */
  private *goInFront(): SlowSteps<void> {
    let problem: string | undefined
    for (const [index, attachment] of [...this.attachments.entries()]) {
      const { egress, program } = attachment
      let head = attachment.head()
      if (head.state === 'head') continue
      if (this.budget > 0) {
        this.budget--
        this.reheaded++
        const before = this.linkCounters()
        yield* attachment.detach()
        this.countMissed(egress, before)
        const again = yield* this.attachOne(egress, program)
        this.attachments[index] = again
        head = again.head()
      }
      problem = describeHead(egress, head) ?? problem
    }
    this.problem = problem
  }

  private *attachOne(egress: boolean, program: Attachment['program']): SlowSteps<Attachment> {
    const { socket, features } = this.around
    const attachment = yield* Attachment.create(socket, this.interface.ifindex, egress, program, {
      tcx: features.enabled('tcx'),
      clsact: features.enabled('clsact'),
    })
    this.madeQdisc ||= attachment.madeQdisc
    return attachment
  }

  /** Detaches, then deletes the hooks: as long as they are in the map they count as alive. */
  private *release(): SlowSteps<void> {
    const { socket, hooks, retired, netns } = this.around
    const { ifindex } = this.interface
    const attachments = this.attachments
    this.attachments = []
    this.hooked = false
    if (this.successor !== undefined && attachments.length > 0) this.successor.since = this.linkCounters()
    for (const attachment of attachments) yield* attachment.detach()
    if (this.madeQdisc) removeIdleClsact(socket, ifindex)
    this.madeQdisc = false
    for (const egress of DIRECTIONS) {
      const hook = hookNumber(ifindex, egress, netns)
      const counters = hooks.read(hook)
      if (counters === undefined) continue
      addCounters(retired, counters)
      hooks.delete(hook)
    }
  }

  /**
   * Counts what one direction carried since `from`; called right before it is hooked. Gives what to count from if that
   * fails: the same packets are not told twice.
   */
  private countMissed(egress: boolean, from: LinkCounters | undefined): LinkCounters | undefined {
    const now = from === undefined ? undefined : this.linkCounters()
    if (from === undefined || now === undefined) return from
    const packets = egress ? now.txPackets - from.txPackets : now.rxPackets - from.rxPackets
    this.around.missed.packets += Math.max(0, packets)
    const { rxPackets, rxBytes, txPackets, txBytes } = now
    return egress ? { ...from, txPackets, txBytes } : { ...from, rxPackets, rxBytes }
  }

  private linkCounters(): LinkCounters | undefined {
    return readLinkCounters(this.around.socket, this.interface.ifindex)
  }
}

function describeHead(egress: boolean, head: ReturnType<Attachment['head']>): string | undefined {
  const direction = egress ? 'egress' : 'ingress'
  if (head.state === 'behind')
    return `${head.before} runs before vethflow at ${direction} and may hide packets from it`
  return head.state === 'gone' ? `vethflow was taken off ${direction} and does not capture there` : undefined
}
