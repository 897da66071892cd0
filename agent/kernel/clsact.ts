// clsact, for kernels without tcx: our filter on one direction of an interface. It outlives a killed process, so it
// carries a handle and a name by which the next start and `vethflow detach` find it.

import { Errno } from './ffi.js'
import { NetlinkError, type NetlinkSocket } from './netlink.js'
import { programName } from './tcx.js'
import {
  addFilter,
  createClsact,
  deleteClsact,
  deleteFilter,
  type Filter,
  listClsact,
  listFilters,
} from './traffic-control.js'

/** "vf" and 1: recognisable in `tc filter show`. */
export const FILTER_HANDLE = 0x7666_0001
/** Name of our filters: this, then the program's. */
export const FILTER_PREFIX = 'vethflow:'
/** The first, and where another kind of filter holds that, the next. */
const PRIORITIES = [1, 2, 3, 4]
const PROGRAM = /^(veth|uplink|l3)_(in|eg)/

export interface ClsactFilter {
  readonly priority: number
  /** We made the qdisc, so we take it away when nobody else came to use it. */
  readonly madeQdisc: boolean
}

/**
 * Adds our filter. Among BPF filters of one priority the newest runs first. Throws NetlinkError; a qdisc that was made
 * for it does not stay behind then.
 */
export function attachClsact(
  socket: NetlinkSocket,
  ifindex: number,
  egress: boolean,
  programFd: number,
  program: string,
): ClsactFilter {
  const madeQdisc = createClsact(socket, ifindex)
  try {
    return { priority: addOurFilter(socket, ifindex, egress, programFd, program), madeQdisc }
  } catch (error) {
    if (madeQdisc) removeIdleClsact(socket, ifindex)
    throw error
  }
}

/** Adds our filter at the first priority that is free for it, and gives that. */
function addOurFilter(
  socket: NetlinkSocket,
  ifindex: number,
  egress: boolean,
  programFd: number,
  program: string,
): number {
  for (const priority of PRIORITIES) {
    try {
      addFilter(socket, {
        ifindex,
        egress,
        priority,
        handle: FILTER_HANDLE,
        programFd,
        name: FILTER_PREFIX + program,
      })
      return priority
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error
      // EINVAL: a filter of another kind or protocol holds this priority.
      const taken = error.errno === Errno.EINVAL || error.errno === Errno.EEXIST
      if (!taken || priority === PRIORITIES[PRIORITIES.length - 1]) throw error
    }
  }
  throw new Error('unreachable')
}

/** Removes our filter. Silent when it has gone already. */
export function detachClsact(
  socket: NetlinkSocket,
  ifindex: number,
  egress: boolean,
  filter: ClsactFilter,
): void {
  deleteFilter(socket, ifindex, egress, filter.priority, FILTER_HANDLE)
}

/** Removes the clsact qdisc unless a filter is left on it. */
export function removeIdleClsact(socket: NetlinkSocket, ifindex: number): void {
  if (listFilters(socket, ifindex, false).length > 0 || listFilters(socket, ifindex, true).length > 0) return
  deleteClsact(socket, ifindex)
}

/**
 * Ours by handle, by the filter's name, and by the name of the program that it runs. Only CAP_SYS_ADMIN may ask for the
 * latter: without it the first two have to do.
 */
export function isOurs(filter: Filter): boolean {
  if (filter.kind !== 'bpf' || filter.handle !== FILTER_HANDLE) return false
  if (!filter.name.startsWith(FILTER_PREFIX)) return false
  const program = programName(filter.programId)
  return program === '' || PROGRAM.test(program)
}

/**
 * Removes from every interface of this network namespace what a killed process left: our filters, and the qdisc where
 * they were the last on it. Gives how many filters. Not to be run beside a living agent that uses clsact.
 */
export function sweepClsact(socket: NetlinkSocket): number {
  let removed = 0
  for (const ifindex of listClsact(socket)) {
    let here = 0
    for (const egress of [false, true]) {
      for (const filter of listFilters(socket, ifindex, egress)) {
        if (!isOurs(filter)) continue
        deleteFilter(socket, ifindex, egress, filter.priority, filter.handle)
        here++
      }
    }
    if (here > 0) removeIdleClsact(socket, ifindex)
    removed += here
  }
  return removed
}
