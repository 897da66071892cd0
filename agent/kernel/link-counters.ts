// The counters of one interface, asked for by its ifindex (RTM_GETSTATS, kernel 4.7): what a single question costs, where
// Interfaces.counters() lists them all.

import { Errno } from './ffi.js'
import { type LinkCounters, parseCounters } from './link-message.js'
import { attributes, NetlinkError, type NetlinkSocket } from './netlink.js'

const RTM_NEWSTATS = 92
const RTM_GETSTATS = 94
/** struct if_stats_msg. */
const STATS_MESSAGE_SIZE = 12
/** Also bit 0 of the filter mask: IFLA_STATS_FILTER_BIT. */
const IFLA_STATS_LINK_64 = 1

/** Undefined when there is no such interface (any more) or the kernel does not say. */
export function readLinkCounters(socket: NetlinkSocket, ifindex: number): LinkCounters | undefined {
  const request = Buffer.alloc(STATS_MESSAGE_SIZE)
  request.writeUInt32LE(ifindex, 4)
  request.writeUInt32LE(1 << (IFLA_STATS_LINK_64 - 1), 8)
  let counters: LinkCounters | undefined
  try {
    socket.request(`read the counters of interface ${ifindex}`, RTM_GETSTATS, 0, request, (type, body) => {
      if (type === RTM_NEWSTATS)
        counters = parseCounters(attributes(body, STATS_MESSAGE_SIZE).get(IFLA_STATS_LINK_64))
    })
  } catch (error) {
    const unknown: readonly number[] = [Errno.ENODEV, Errno.EOPNOTSUPP, Errno.EINVAL]
    if (!(error instanceof NetlinkError) || !unknown.includes(error.errno)) throw error
  }
  return counters
}
