// The interfaces of one network namespace as rtnetlink tells of them: listed once, then kept by notifications. It never
// waits: poll() takes what is there. When the kernel had to drop notifications everything is listed anew and compared.

import {
  type Address,
  type Link,
  type LinkCounters,
  parseAddress,
  parseLink,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
} from './link-message.js'
import { NetlinkSocket } from './netlink.js'
import { defaultRouteInterfaces } from './routes.js'

/** An interface with its addresses. A new object for each change. */
export interface Interface extends Link {
  readonly addresses: readonly Address[]
  /** A default route leads out through it. */
  readonly defaultRoute: boolean
}

/**
 * appeared, gone: by ifindex; one that comes back with another ifindex is gone and appeared, and so is another one that
 * takes over an ifindex. renamed: `previous` has the old name. changed: master, addresses, routes, up or down.
 * attached: not rtnetlink's word but ours (namespace.ts), both its hooks are there now.
 */
export interface InterfaceChange {
  readonly kind: 'appeared' | 'gone' | 'renamed' | 'changed' | 'attached'
  readonly interface: Interface
  readonly previous?: Interface
  /** Known from a list after notifications were lost: it may be older than this change. */
  readonly listed?: boolean
}

const RTNLGRP_LINK = 1
const RTNLGRP_IPV4_IFADDR = 5
const RTNLGRP_IPV4_ROUTE = 7
const RTNLGRP_IPV6_IFADDR = 9
const RTNLGRP_IPV6_ROUTE = 11
const RTM_NEWROUTE = 24
const RTM_DELROUTE = 25
const IFINFOMSG_SIZE = 16
const IFADDRMSG_SIZE = 8
/** Notifications taken by one poll; the rest waits for the next. */
const POLL_LIMIT = 512
/** Routes are listed anew at most this often: a node can have many, and each pod brings some. */
const ROUTES_INTERVAL_MS = 500

interface Snapshot {
  readonly links: Map<number, Link>
  readonly addresses: Map<number, Map<string, Address>>
}

/** Opened inside the network namespace that it is about; may be used from anywhere after. Close it. */
export class Interfaces {
  private readonly requests: NetlinkSocket
  private readonly notifications: NetlinkSocket
  private readonly all = new Map<number, Interface>()
  private links = new Map<number, Link>()
  private addresses = new Map<number, Map<string, Address>>()
  private defaults: Set<number>
  private routesDirty = false
  private routesAt = 0
  /** How often notifications were lost and everything was listed anew. */
  relisted = 0

  private constructor(requests: NetlinkSocket, notifications: NetlinkSocket) {
    this.requests = requests
    this.notifications = notifications
    const snapshot = this.list()
    this.links = snapshot.links
    this.addresses = snapshot.addresses
    this.defaults = defaultRouteInterfaces(requests)
    this.routesAt = performance.now()
    for (const link of this.links.values()) this.all.set(link.ifindex, this.compose(link))
  }

  /** `bufferBytes`: room for notifications that wait to be polled; 4 MiB, some 2,000 of them, unless given. */
  static open(bufferBytes?: number): Interfaces {
    const requests = NetlinkSocket.open()
    let notifications: NetlinkSocket | undefined
    try {
      // Subscribe first, list after: what changes in between is told twice rather than never.
      notifications = NetlinkSocket.subscribe(
        [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE],
        bufferBytes,
      )
      return new Interfaces(requests, notifications)
    } catch (error) {
      requests.close()
      notifications?.close()
      throw error
    }
  }

  /** What is known as of the last poll(), in no order. */
  values(): IterableIterator<Interface> {
    return this.all.values()
  }

  get(ifindex: number): Interface | undefined {
    return this.all.get(ifindex)
  }

  /** What has changed since the last call, in order. Costs one system call when nothing has. */
  poll(): InterfaceChange[] {
    const changes: InterfaceChange[] = []
    const state = this.notifications.receive(POLL_LIMIT, (type, body) => this.take(type, body, changes))
    if (state === 'lost') this.relist(changes)
    if (this.routesDirty && performance.now() - this.routesAt >= ROUTES_INTERVAL_MS)
      this.rereadRoutes(changes)
    return changes
  }

  /** The interfaces' own counters as of now, by ifindex. Lists all links: not for every tick. */
  counters(): Map<number, LinkCounters> {
    const counters = new Map<number, LinkCounters>()
    for (const link of this.list().links.values()) counters.set(link.ifindex, link.counters)
    return counters
  }

  /** Idempotent. */
  close(): void {
    this.requests.close()
    this.notifications.close()
  }

  private take(type: number, body: Buffer, changes: InterfaceChange[]): void {
    switch (type) {
      case RTM_NEWLINK: {
        const link = parseLink(body)
        if (link !== undefined) this.put(link, changes)
        break
      }
      case RTM_DELLINK: {
        const link = parseLink(body)
        if (link !== undefined) this.remove(link.ifindex, changes)
        break
      }
      case RTM_NEWADDR:
      case RTM_DELADDR: {
        const address = parseAddress(body)
        if (address === undefined) break
        const known = this.addresses.get(address.ifindex) ?? new Map<string, Address>()
        const key = addressKey(address)
        if (known.has(key) === (type === RTM_NEWADDR)) break
        if (type === RTM_NEWADDR) known.set(key, address)
        else known.delete(key)
        this.addresses.set(address.ifindex, known)
        this.recompose(address.ifindex, changes)
        break
      }
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        this.routesDirty = true
        break
      default:
    }
  }

  private put(link: Link, changes: InterfaceChange[], listed = false): void {
    const known = this.links.get(link.ifindex)
    if (known !== undefined && isAnother(known, link)) this.remove(link.ifindex, changes)
    const previous = this.all.get(link.ifindex)
    this.links.set(link.ifindex, link)
    const now = this.compose(link)
    this.all.set(link.ifindex, now)
    if (previous === undefined)
      changes.push({ kind: 'appeared', interface: now, ...(listed ? { listed } : {}) })
    else if (previous.name !== now.name) changes.push({ kind: 'renamed', interface: now, previous })
    else if (hasChanged(previous, now)) changes.push({ kind: 'changed', interface: now, previous })
  }

  private remove(ifindex: number, changes: InterfaceChange[]): void {
    const gone = this.all.get(ifindex)
    this.links.delete(ifindex)
    this.addresses.delete(ifindex)
    this.all.delete(ifindex)
    if (gone !== undefined) changes.push({ kind: 'gone', interface: gone })
  }

  private recompose(ifindex: number, changes: InterfaceChange[]): void {
    const link = this.links.get(ifindex)
    const previous = this.all.get(ifindex)
    if (link === undefined || previous === undefined) return
    const now = this.compose(link)
    this.all.set(ifindex, now)
    changes.push({ kind: 'changed', interface: now, previous })
  }

  private compose(link: Link): Interface {
    return {
      ...link,
      addresses: [...(this.addresses.get(link.ifindex)?.values() ?? [])],
      defaultRoute: this.defaults.has(link.ifindex),
    }
  }

  private relist(changes: InterfaceChange[]): void {
    this.relisted++
    // What was queued before the loss is older than what the list will say.
    while (this.notifications.receive(POLL_LIMIT, () => {}) !== 'idle');
    const snapshot = this.list()
    for (const ifindex of [...this.links.keys()])
      if (!snapshot.links.has(ifindex)) this.remove(ifindex, changes)
    const before = this.addresses
    this.addresses = snapshot.addresses
    for (const link of snapshot.links.values()) {
      const differ =
        [...(before.get(link.ifindex)?.keys() ?? [])].join() !==
        [...(this.addresses.get(link.ifindex)?.keys() ?? [])].join()
      const known = this.all.has(link.ifindex)
      // A different interface with this ifindex takes its addresses along.
      const addresses = this.addresses.get(link.ifindex)
      this.put(link, changes, true)
      if (addresses !== undefined) this.addresses.set(link.ifindex, addresses)
      if (known && differ) this.recompose(link.ifindex, changes)
    }
    this.routesDirty = true
  }

  private rereadRoutes(changes: InterfaceChange[]): void {
    this.routesDirty = false
    this.routesAt = performance.now()
    const before = this.defaults
    this.defaults = defaultRouteInterfaces(this.requests)
    for (const ifindex of new Set([...before, ...this.defaults]))
      if (before.has(ifindex) !== this.defaults.has(ifindex)) this.recompose(ifindex, changes)
  }

  private list(): Snapshot {
    const links = new Map<number, Link>()
    const addresses = new Map<number, Map<string, Address>>()
    this.requests.dump(
      'list the interfaces',
      RTM_GETLINK,
      Buffer.alloc(IFINFOMSG_SIZE),
      () => links.clear(),
      (type, body) => {
        const link = type === RTM_NEWLINK ? parseLink(body) : undefined
        if (link !== undefined) links.set(link.ifindex, link)
      },
    )
    this.requests.dump(
      'list the addresses',
      RTM_GETADDR,
      Buffer.alloc(IFADDRMSG_SIZE),
      () => addresses.clear(),
      (type, body) => {
        const address = type === RTM_NEWADDR ? parseAddress(body) : undefined
        if (address === undefined) return
        const known = addresses.get(address.ifindex) ?? new Map<string, Address>()
        known.set(addressKey(address), address)
        addresses.set(address.ifindex, known)
      },
    )
    return { links, addresses }
  }
}

function addressKey(address: Address): string {
  return `${Buffer.from(address.address).toString('hex')}/${address.prefixLength}`
}

/** Another interface behind the same ifindex: what does not change in an interface's life has changed. */
function isAnother(known: Link, link: Link): boolean {
  return (
    known.kind !== link.kind ||
    known.arpType !== link.arpType ||
    (known.name !== link.name && known.address !== link.address)
  )
}

/** Of what a role depends on. Counters change all the time and are not looked at. */
function hasChanged(previous: Interface, now: Interface): boolean {
  return (
    previous.up !== now.up ||
    previous.master !== now.master ||
    previous.slaveKind !== now.slaveKind ||
    previous.link !== now.link ||
    previous.linkElsewhere !== now.linkElsewhere ||
    JSON.stringify(previous.tunnel) !== JSON.stringify(now.tunnel)
  )
}
