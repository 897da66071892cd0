// `--loopback`: what the containers of a pod say to each other. A program on the egress of `lo` in each pod's network
// namespace (each packet passes there once, and conntrack has spoken by then), with a number for the namespace in it, so
// that 127.0.0.1 of two pods are never one. Entering takes CAP_SYS_ADMIN.
//
// Nothing that is kept holds a namespace: no descriptor of it, no socket made in it. A tcx link goes with the agent's
// process, and with `lo` when the namespace goes.

import { VethflowError } from '../errors.js'
import { Attachment, reasonOf } from './attach.js'
import { sweepClsact } from './clsact.js'
import type { HookMap } from './counters.js'
import type { Features } from './features.js'
import { hookNumber, MAX_NETNS } from './hook.js'
import type { Interface } from './interfaces.js'
import { type Address, parseAddress, RTM_GETADDR, RTM_NEWADDR } from './link-message.js'
import type { InterfaceStatus } from './namespace.js'
import { NetlinkSocket } from './netlink.js'
import { withNetns } from './netns.js'
import { BpfObject } from './object.js'
import { type FoundNamespace, PodNamespaces } from './pod-namespaces.js'
import { runNow } from './slow-call.js'
import { programId } from './tcx.js'

const LOOPBACK_IFINDEX = 1
const IFADDRMSG_SIZE = 8
/** A namespace that is not found at once is looked for again after so long; its pod's processes may be about to start. */
const SEARCHES_MS = [0, 100, 200, 400, 1_000, 2_000, 5_000, 30_000] as const
/** Addresses come after the interface does. */
const ADDRESS_CHECKS_MS = [200, 500, 1_000, 2_000, 5_000, 10_000] as const

export interface LoopbackOptions {
  readonly features: Features
  readonly hooks: HookMap
  /** The object whose maps all programs share. */
  readonly maps: BpfObject
  /** Path of the object file to load. */
  readonly objectPath: string
}

/** A pod's namespace came, changed its addresses, or went (`addresses` undefined). */
export interface LoopbackChange {
  /** FlowBatch.netns of what is seen there. */
  readonly number: number
  readonly inode: number
  readonly addresses: readonly Address[] | undefined
}

interface Entered {
  readonly number: number
  readonly found: FoundNamespace
  /** Our interfaces that lead there. */
  readonly links: ReadonlySet<number>
  attachment: Attachment | undefined
  problem: string | undefined
  addresses: readonly Address[]
  checkAt: number
  checks: number
}

interface Search {
  at: number
  tries: number
}

/** Throws NO_PERMISSION, which names CAP_SYS_ADMIN, where no namespace may be entered. */
export function needsToEnter(): void {
  withNetns('/proc/thread-self/ns/net', () => undefined)
}

/** Used from the main thread. Close it before the maps. */
export class Loopback {
  readonly #options: LoopbackOptions
  readonly #namespaces = new PodNamespaces()
  /** By nsid. */
  readonly #entered = new Map<number, Entered>()
  /** Numbers of namespaces in which interfaces of ours end, and that have not been found. */
  readonly #missing = new Map<number, Search>()
  #lastNumber = 0
  #searching = false
  #closed = false

  constructor(options: LoopbackOptions) {
    this.#options = options
  }

  /**
   * Enters namespaces that have come and lets go of those that have gone. `pods`: our interfaces whose other ends are
   * pods'. Costs nothing as long as they stay the same.
   */
  poll(pods: readonly Interface[]): LoopbackChange[] {
    const changes: LoopbackChange[] = []
    const wanted = new Map<number, Set<number>>()
    for (const { linkNetnsid, ifindex } of pods) {
      if (linkNetnsid === undefined) continue
      const links = wanted.get(linkNetnsid) ?? new Set()
      wanted.set(linkNetnsid, links.add(ifindex))
    }
    for (const [nsid, entered] of this.#entered) {
      const links = wanted.get(nsid)
      // the number may have passed to another namespace: what led to the first one has gone then
      if (links === undefined || ![...entered.links].some((ifindex) => links.has(ifindex)))
        this.#leave(nsid, changes)
    }
    const now = performance.now()
    for (const nsid of this.#missing.keys()) if (!wanted.has(nsid)) this.#missing.delete(nsid)
    for (const nsid of wanted.keys())
      if (!this.#entered.has(nsid) && !this.#missing.has(nsid)) this.#missing.set(nsid, { at: now, tries: 0 })
    const due = new Set([...this.#missing].filter(([, search]) => search.at <= now).map(([nsid]) => nsid))
    if (due.size > 0) {
      this.#enterAll(this.#namespaces.named(due), wanted, changes)
      for (const nsid of due) {
        const search = this.#missing.get(nsid)
        if (search === undefined) continue
        search.at = now + (SEARCHES_MS[Math.min(++search.tries, SEARCHES_MS.length - 1)] ?? 0)
      }
      if (this.#missing.size > 0) void this.#searchProcesses()
    }
    this.#enterAll(this.#foundByProcess.splice(0), wanted, changes)
    for (const entered of this.#entered.values())
      if (entered.checkAt <= now) this.#checkAddresses(entered, changes)
    return changes
  }

  /** One entry for each namespace that was entered. */
  status(): InterfaceStatus[] {
    return [...this.#entered.values()].map(({ number, attachment, problem }) => ({
      netns: number,
      ifindex: LOOPBACK_IFINDEX,
      name: 'lo',
      kind: 'loopback',
      role: 'veth',
      reheaded: 0,
      ...(attachment === undefined ? {} : { attach: attachment.kind }),
      ...(problem === undefined ? {} : { problem }),
    }))
  }

  /** How it goes, for status. */
  summary(): { readonly enabled: boolean; readonly reason: string } {
    const found = this.#entered.size
    const missing = this.#missing.size
    if (missing === 0) return { enabled: true, reason: `${found} network namespaces of pods entered` }
    const why =
      this.#namespaces.refused > 0
        ? 'processes may not be looked at: mount /run/netns, or grant CAP_SYS_PTRACE'
        : 'no name in /run/netns and no process leads there: mount /run/netns, or set hostPID'
    return {
      enabled: found > 0,
      reason: `${missing} of ${found + missing} network namespaces not found; ${why}`,
    }
  }

  /** Detaches everything. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const nsid of [...this.#entered.keys()]) this.#leave(nsid, [])
    this.#namespaces.close()
  }

  readonly #foundByProcess: FoundNamespace[] = []

  /** What is found is entered by the next poll. */
  async #searchProcesses(): Promise<void> {
    if (this.#searching || this.#closed) return
    this.#searching = true
    try {
      const found = await this.#namespaces.ofProcesses(new Set(this.#missing.keys()))
      if (!this.#closed) this.#foundByProcess.push(...found)
    } catch {
      // no /proc: the next search says the same
    } finally {
      this.#searching = false
    }
  }

  #enterAll(
    all: readonly FoundNamespace[],
    wanted: ReadonlyMap<number, ReadonlySet<number>>,
    changes: LoopbackChange[],
  ): void {
    for (const found of all) {
      const links = wanted.get(found.nsid)
      if (links === undefined || this.#entered.has(found.nsid)) continue
      const number = this.#nextNumber()
      if (number === undefined) return
      const entered: Entered = {
        number,
        found,
        links,
        attachment: undefined,
        problem: undefined,
        addresses: [],
        checkAt: Number.POSITIVE_INFINITY,
        checks: 0,
      }
      try {
        this.#enter(entered)
      } catch (error) {
        // Gone between being found and being entered: looked for again as long as our interface is there.
        if (error instanceof VethflowError && error.code === 'NETNS_MISSING') continue
        entered.problem = `not captured: ${reasonOf(error)}`
      }
      this.#missing.delete(found.nsid)
      this.#entered.set(found.nsid, entered)
      this.#checkAddresses(entered, changes, true)
    }
  }

  #enter(entered: Entered): void {
    const { features, hooks, maps, objectPath } = this.#options
    const { number } = entered
    const name = features.enabled('conntrack') ? 'veth_egress_ct' : 'veth_egress'
    const object = BpfObject.load({
      path: objectPath,
      programs: [name],
      netnsNumber: number,
      shareMapsOf: maps,
    })
    const hook = hookNumber(LOOPBACK_IFINDEX, true, number)
    try {
      const fd = object.programFd(name) ?? -1
      const program = { name, fd, id: programId(fd) }
      hooks.insert(hook)
      entered.attachment = withNetns(entered.found.path, () => {
        // good for this call only: a socket would hold the namespace
        const socket = NetlinkSocket.open()
        try {
          sweepClsact(socket)
          const ways = { tcx: features.enabled('tcx'), clsact: features.enabled('clsact') }
          // not aside: the thread is in the pod's namespace until then
          return runNow(Attachment.create(socket, LOOPBACK_IFINDEX, true, program, ways))
        } finally {
          socket.close()
        }
      })
    } catch (error) {
      hooks.delete(hook)
      throw error
    } finally {
      // what is attached holds the program
      object.close()
    }
  }

  #leave(nsid: number, changes: LoopbackChange[]): void {
    const entered = this.#entered.get(nsid)
    if (entered === undefined) return
    this.#entered.delete(nsid)
    const { number, attachment, found } = entered
    if (attachment?.kind === 'tcx') runNow(attachment.detach())
    else if (attachment !== undefined) {
      try {
        withNetns(found.path, () => {
          const socket = NetlinkSocket.open()
          try {
            sweepClsact(socket)
          } finally {
            socket.close()
          }
        })
      } catch {
        // It has gone, and its filters with it.
      }
    }
    this.#options.hooks.delete(hookNumber(LOOPBACK_IFINDEX, true, number))
    changes.push({ number, inode: found.inode, addresses: undefined })
  }

  /** `always`: tell also when they are what they were. */
  #checkAddresses(entered: Entered, changes: LoopbackChange[], always = false): void {
    const { number, found } = entered
    const before = entered.addresses
    try {
      entered.addresses = withNetns(found.path, addressesHere)
    } catch {
      // Gone, or about to go.
    }
    const wait = ADDRESS_CHECKS_MS[entered.checks++]
    entered.checkAt = wait === undefined ? Number.POSITIVE_INFINITY : performance.now() + wait
    if (always || textOf(before) !== textOf(entered.addresses))
      changes.push({ number, inode: found.inode, addresses: entered.addresses })
  }

  /** Numbers go round, so that one is used again as late as can be. */
  #nextNumber(): number | undefined {
    const used = new Set([...this.#entered.values()].map(({ number }) => number))
    if (used.size >= MAX_NETNS) return undefined
    do this.#lastNumber = (this.#lastNumber % MAX_NETNS) + 1
    while (used.has(this.#lastNumber))
    return this.#lastNumber
  }
}

/** Addresses that others can have of this namespace: not those of the loopback, nor of one link. */
function addressesHere(): Address[] {
  const found: Address[] = []
  const socket = NetlinkSocket.open()
  try {
    socket.dump(
      'list the addresses',
      RTM_GETADDR,
      Buffer.alloc(IFADDRMSG_SIZE),
      () => found.splice(0),
      (type, body) => {
        const address = type === RTM_NEWADDR ? parseAddress(body) : undefined
        if (address !== undefined && address.scope === 0) found.push(address)
      },
    )
  } finally {
    socket.close()
  }
  return found
}

function textOf(addresses: readonly Address[]): string {
  return addresses.map(({ address }) => Buffer.from(address).toString('hex')).join()
}
