// One program on one hook, by tcx where there is tcx and by clsact elsewhere, and whether it still stands at the head.
// It must be called inside the network namespace of the interface. It does not choose interfaces.

import { attachClsact, type ClsactFilter, detachClsact, isOurs } from './clsact.js'
import { Errno, errnoName, isUnsupported, kernelError } from './ffi.js'
import { NetlinkError, type NetlinkSocket } from './netlink.js'
import type { SlowSteps } from './slow-call.js'
import { closeTcxLink, createTcxLink, programName, queryTcx } from './tcx.js'
import { listFilters } from './traffic-control.js'

export type AttachKind = 'tcx' | 'clsact'

/** A loaded program, open as long as its object is. */
export interface Program {
  readonly name: string
  readonly fd: number
  readonly id: number
}

/** Which ways may be tried, in this order. */
export interface AttachWays {
  readonly tcx: boolean
  readonly clsact: boolean
}

/** head: we see every packet. behind: somebody runs before us. gone: we are not on the hook any more. */
export interface HeadState {
  readonly state: 'head' | 'behind' | 'gone'
  /** Who stands before us; '' when nobody. */
  readonly before: string
}

/** Thrown when the interface went while we attached: nothing to report, rtnetlink will say so. */
export class InterfaceGoneError extends Error {}

/** Our program on one direction of one interface. Whoever attached it detaches it. */
export class Attachment {
  readonly kind: AttachKind
  readonly ifindex: number
  readonly egress: boolean
  readonly program: Program
  private readonly socket: NetlinkSocket
  private readonly filter: ClsactFilter | undefined
  private linkFd: number

  private constructor(
    socket: NetlinkSocket,
    ifindex: number,
    egress: boolean,
    program: Program,
    held: { linkFd: number } | { filter: ClsactFilter },
  ) {
    this.socket = socket
    this.ifindex = ifindex
    this.egress = egress
    this.program = program
    this.kind = 'linkFd' in held ? 'tcx' : 'clsact'
    this.linkFd = 'linkFd' in held ? held.linkFd : -1
    this.filter = 'filter' in held ? held.filter : undefined
  }

  /** Attaches at the head. Throws InterfaceGoneError, ATTACH, or NO_PERMISSION. */
  static *create(
    socket: NetlinkSocket,
    ifindex: number,
    egress: boolean,
    program: Program,
    ways: AttachWays,
  ): SlowSteps<Attachment> {
    const what = `attach ${program.name} to interface ${ifindex}`
    let refused = 0
    if (ways.tcx) {
      const fd = yield createTcxLink(program.fd, ifindex, egress)
      if (fd >= 0) return new Attachment(socket, ifindex, egress, program, { linkFd: fd })
      if (fd === -Errno.ENODEV) throw new InterfaceGoneError(what)
      if (!isUnsupported(-fd)) throw kernelError('ATTACH', `${what} by tcx`, fd)
      refused = -fd
    }
    if (!ways.clsact)
      throw kernelError('ATTACH', `${what}: there is no way to`, refused === 0 ? Errno.EOPNOTSUPP : refused, {
        hint: 'Run on a kernel with tcx (6.6) or with sch_clsact and cls_bpf',
      })
    try {
      const filter = attachClsact(socket, ifindex, egress, program.fd, program.name)
      return new Attachment(socket, ifindex, egress, program, { filter })
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === Errno.ENODEV) throw new InterfaceGoneError(what)
      throw error
    }
  }

  /** Who runs before us on this hook now. */
  head(): HeadState {
    return this.kind === 'tcx' ? this.tcxHead() : this.clsactHead()
  }

  /** True when clsact's qdisc was made by this attachment. */
  get madeQdisc(): boolean {
    return this.filter?.madeQdisc ?? false
  }

  /**
   * Takes the program off the hook; clsact's qdisc stays (removeIdleClsact). Idempotent; silent when the interface has
   * gone.
   */
  *detach(): SlowSteps<void> {
    const { linkFd } = this
    this.linkFd = -1
    if (linkFd >= 0) yield closeTcxLink(linkFd)
    if (this.filter !== undefined) detachClsact(this.socket, this.ifindex, this.egress, this.filter)
  }

  private tcxHead(): HeadState {
    const ids = queryTcx(this.ifindex, this.egress)
    if (typeof ids === 'number') {
      if (ids === -Errno.ENODEV) return { state: 'gone', before: '' }
      throw kernelError('ATTACH', `ask who is on interface ${this.ifindex}`, ids)
    }
    const place = ids.indexOf(this.program.id)
    if (place < 0) return { state: 'gone', before: '' }
    if (place === 0) return { state: 'head', before: '' }
    return { state: 'behind', before: ids.slice(0, place).map(describeProgram).join(', ') }
  }

  private clsactHead(): HeadState {
    const filters = listFilters(this.socket, this.ifindex, this.egress)
    const place = filters.findIndex((filter) => isOurs(filter) && filter.programId === this.program.id)
    if (place < 0) return { state: 'gone', before: '' }
    // Programs on tcx run before all of clsact.
    const tcx = queryTcx(this.ifindex, this.egress)
    const before = typeof tcx === 'number' ? [] : tcx.map(describeProgram)
    for (const filter of filters.slice(0, place))
      before.push(
        `${filter.kind} filter${filter.name === '' ? '' : ` ${filter.name}`} (priority ${filter.priority})`,
      )
    return { state: before.length === 0 ? 'head' : 'behind', before: [...new Set(before)].join(', ') }
  }
}

function describeProgram(id: number): string {
  const name = programName(id)
  return name === '' ? `program ${id}` : `${name} (program ${id})`
}

/** For messages about a refused attachment. */
export function reasonOf(error: unknown): string {
  if (error instanceof NetlinkError) return `${error.message} (${errnoName(error.errno)})`
  return error instanceof Error
    ? `${error.message}${error.cause instanceof Error ? `: ${error.cause.message}` : ''}`
    : String(error)
}
