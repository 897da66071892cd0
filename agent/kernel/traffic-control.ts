// The rtnetlink messages of clsact and its BPF filters (linux/pkt_sched.h, linux/pkt_cls.h): make and delete, list in
// the order in which they run. It does not know which filters are ours.

import { Errno } from './ffi.js'
import {
  attribute,
  attributes,
  NetlinkError,
  type NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_EXCL,
  stringAttribute,
  stringOf,
  wordAttribute,
  wordOf,
} from './netlink.js'

const RTM_NEWQDISC = 36
const RTM_DELQDISC = 37
const RTM_GETQDISC = 38
const RTM_NEWTFILTER = 44
const RTM_DELTFILTER = 45
const RTM_GETTFILTER = 46
const TC_H_CLSACT = 0xfffffff1
const CLSACT_HANDLE = 0xffff0000
const PARENT_INGRESS = 0xfffffff2
const PARENT_EGRESS = 0xfffffff3
const TCA_KIND = 1
const TCA_OPTIONS = 2
const TCA_BPF_FD = 6
const TCA_BPF_NAME = 7
const TCA_BPF_FLAGS = 8
const TCA_BPF_FLAG_ACT_DIRECT = 1
const TCA_BPF_ID = 11
const ETH_P_ALL_NETWORK_ORDER = 0x0300
const TCMSG_SIZE = 20

/** A filter on one direction of an interface. */
export interface Filter {
  readonly kind: string
  readonly priority: number
  readonly handle: number
  /** Of a BPF filter. */
  readonly name: string
  readonly programId: number
}

export interface NewFilter {
  readonly ifindex: number
  readonly egress: boolean
  readonly priority: number
  readonly handle: number
  readonly programFd: number
  readonly name: string
}

/** Makes the clsact qdisc. False when the interface has one already. */
export function createClsact(socket: NetlinkSocket, ifindex: number): boolean {
  try {
    socket.request(
      `add clsact to interface ${ifindex}`,
      RTM_NEWQDISC,
      NLM_F_CREATE | NLM_F_EXCL,
      Buffer.concat([tcmsg(ifindex, TC_H_CLSACT, CLSACT_HANDLE, 0), stringAttribute(TCA_KIND, 'clsact')]),
    )
    return true
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === Errno.EEXIST) return false
    throw error
  }
}

/** Deletes the clsact qdisc and all that is on it; nothing when there is none. */
export function deleteClsact(socket: NetlinkSocket, ifindex: number): void {
  ignoring([Errno.ENOENT, Errno.EINVAL, Errno.ENODEV], () =>
    socket.request(
      `delete clsact from interface ${ifindex}`,
      RTM_DELQDISC,
      0,
      Buffer.concat([tcmsg(ifindex, TC_H_CLSACT, CLSACT_HANDLE, 0), stringAttribute(TCA_KIND, 'clsact')]),
    ),
  )
}

/** Ifindexes of all interfaces of this namespace that have a clsact qdisc. */
export function listClsact(socket: NetlinkSocket): number[] {
  let found: number[] = []
  socket.dump(
    'list the qdiscs',
    RTM_GETQDISC,
    tcmsg(0, 0, 0, 0),
    () => {
      found = []
    },
    (type, body) => {
      if (type !== RTM_NEWQDISC || body.length < TCMSG_SIZE) return
      if (stringOf(attributes(body, TCMSG_SIZE).get(TCA_KIND)) === 'clsact') found.push(body.readInt32LE(4))
    },
  )
  return found
}

/** Adds a BPF filter in direct-action mode for all protocols. Throws NetlinkError EEXIST where the handle is taken. */
export function addFilter(socket: NetlinkSocket, filter: NewFilter): void {
  socket.request(
    `add a filter to interface ${filter.ifindex}`,
    RTM_NEWTFILTER,
    NLM_F_CREATE | NLM_F_EXCL,
    Buffer.concat([
      tcmsg(filter.ifindex, parentOf(filter.egress), filter.handle, information(filter.priority)),
      stringAttribute(TCA_KIND, 'bpf'),
      attribute(
        TCA_OPTIONS,
        Buffer.concat([
          wordAttribute(TCA_BPF_FD, filter.programFd),
          stringAttribute(TCA_BPF_NAME, filter.name),
          wordAttribute(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT),
        ]),
      ),
    ]),
  )
}

/** Deletes one filter; nothing when it, its qdisc or its interface is gone. */
export function deleteFilter(
  socket: NetlinkSocket,
  ifindex: number,
  egress: boolean,
  priority: number,
  handle: number,
): void {
  ignoring([Errno.ENOENT, Errno.EINVAL, Errno.ENODEV], () =>
    socket.request(
      `delete a filter from interface ${ifindex}`,
      RTM_DELTFILTER,
      0,
      Buffer.concat([
        tcmsg(ifindex, parentOf(egress), handle, information(priority)),
        stringAttribute(TCA_KIND, 'bpf'),
      ]),
    ),
  )
}

/** The filters of one direction, in the order in which they run. Empty without a clsact qdisc. */
export function listFilters(socket: NetlinkSocket, ifindex: number, egress: boolean): Filter[] {
  let found: Filter[] = []
  ignoring([Errno.ENOENT, Errno.EINVAL, Errno.ENODEV], () =>
    socket.dump(
      `list the filters of interface ${ifindex}`,
      RTM_GETTFILTER,
      tcmsg(ifindex, parentOf(egress), 0, 0),
      () => {
        found = []
      },
      (type, body) => {
        if (type !== RTM_NEWTFILTER || body.length < TCMSG_SIZE) return
        const all = attributes(body, TCMSG_SIZE)
        const options = attributes(all.get(TCA_OPTIONS))
        const handle = body.readUInt32LE(8)
        // Each chain of filters announces itself with handle 0 before its members.
        if (handle === 0) return
        found.push({
          kind: stringOf(all.get(TCA_KIND)),
          priority: body.readUInt32LE(16) >>> 16,
          handle,
          name: stringOf(options.get(TCA_BPF_NAME)),
          programId: wordOf(options.get(TCA_BPF_ID)) ?? 0,
        })
      },
    ),
  )
  return found
}

/** struct tcmsg. */
function tcmsg(ifindex: number, parent: number, handle: number, info: number): Buffer {
  const body = Buffer.alloc(TCMSG_SIZE)
  body.writeInt32LE(ifindex, 4)
  body.writeUInt32LE(handle, 8)
  body.writeUInt32LE(parent, 12)
  body.writeUInt32LE(info, 16)
  return body
}

function parentOf(egress: boolean): number {
  return egress ? PARENT_EGRESS : PARENT_INGRESS
}

function information(priority: number): number {
  return ((priority << 16) | ETH_P_ALL_NETWORK_ORDER) >>> 0
}

function ignoring(numbers: readonly number[], run: () => void): void {
  try {
    run()
  } catch (error) {
    if (!(error instanceof NetlinkError) || !numbers.includes(error.errno)) throw error
  }
}
