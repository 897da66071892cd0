// Which interfaces lead out of this node, by the main route table (RTM_GETROUTE, linux/rtnetlink.h).

import { Errno, isUnsupported } from './ffi.js'
import { AF_INET, AF_INET6 } from './link-message.js'
import { attribute, attributes, NetlinkError, NetlinkSocket, wordOf } from './netlink.js'

const RTM_NEWROUTE = 24
const RTM_GETROUTE = 26
const RTMSG_SIZE = 12
const RTA_DST = 1
const RTA_OIF = 4
const RTA_MULTIPATH = 9
const RTA_TABLE = 15
const RT_TABLE_MAIN = 254
const RTN_UNICAST = 1
const RTNEXTHOP_SIZE = 8

/** Ifindexes that a default route (IPv4 or IPv6, any metric) points to. */
export function defaultRouteInterfaces(socket: NetlinkSocket): Set<number> {
  const found = new Set<number>()
  for (const family of [AF_INET, AF_INET6]) {
    const body = Buffer.alloc(RTMSG_SIZE)
    body.writeUInt8(family, 0)
    body.writeUInt8(RT_TABLE_MAIN, 4)
    for (const ifindex of interfacesOf(socket, body)) found.add(ifindex)
  }
  return found
}

/** Asks the kernel which way it would send to an address. Opened inside the network namespace it is about. Close it. */
export class RouteLookup {
  readonly #socket: NetlinkSocket

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket
  }

  static open(): RouteLookup {
    return new RouteLookup(NetlinkSocket.open())
  }

  /** The ifindex by which an address (4 or 16 bytes, network order) is reached; undefined where there is no route. */
  interfaceTo(address: Uint8Array): number | undefined {
    const body = Buffer.alloc(RTMSG_SIZE)
    body.writeUInt8(address.length === 4 ? AF_INET : AF_INET6, 0)
    body.writeUInt8(address.length * 8, 1)
    let found: number | undefined
    try {
      this.#socket.request(
        'look up a route',
        RTM_GETROUTE,
        0,
        Buffer.concat([body, attribute(RTA_DST, address)]),
        (type, message) => {
          if (type !== RTM_NEWROUTE || message.length < RTMSG_SIZE) return
          if (message.readUInt8(7) !== RTN_UNICAST) return
          found = wordOf(attributes(message, RTMSG_SIZE).get(RTA_OIF))
        },
      )
    } catch (error) {
      // no route (ENETUNREACH, EHOSTUNREACH, EACCES by rule), or no IPv6
      if (!(error instanceof NetlinkError)) throw error
    }
    return found
  }

  /** Idempotent. */
  close(): void {
    this.#socket.close()
  }
}

function interfacesOf(socket: NetlinkSocket, body: Buffer): Set<number> {
  let here = new Set<number>()
  try {
    socket.dump(
      'list the routes',
      RTM_GETROUTE,
      body,
      () => {
        here = new Set()
      },
      (type, message) => {
        if (type !== RTM_NEWROUTE || message.length < RTMSG_SIZE) return
        if (message.readUInt8(1) !== 0 || message.readUInt8(7) !== RTN_UNICAST) return
        const all = attributes(message, RTMSG_SIZE)
        if ((wordOf(all.get(RTA_TABLE)) ?? message.readUInt8(4)) !== RT_TABLE_MAIN) return
        const single = wordOf(all.get(RTA_OIF))
        if (single !== undefined) here.add(single)
        for (const next of nextHops(all.get(RTA_MULTIPATH))) here.add(next)
      },
    )
  } catch (error) {
    // The table is made with its first route (ENOENT); a kernel can be without IPv6.
    if (!(error instanceof NetlinkError) || !(error.errno === Errno.ENOENT || isUnsupported(error.errno)))
      throw error
  }
  return here
}

/** The interfaces of a multipath route: a list of struct rtnexthop, each with attributes of its own. */
function nextHops(list: Buffer | undefined): number[] {
  const found: number[] = []
  for (let at = 0; list !== undefined && at + RTNEXTHOP_SIZE <= list.length; ) {
    const length = list.readUInt16LE(at)
    if (length < RTNEXTHOP_SIZE) break
    found.push(list.readInt32LE(at + 4))
    at += (length + 3) & ~3
  }
  return found
}
