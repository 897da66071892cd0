// `vethflow detach`: removes what a killed agent left on the interfaces of this network namespace. Needs no program and
// no map, so it works where the agent itself cannot start.

import { sweepClsact } from './clsact.js'
import { NetlinkSocket } from './netlink.js'

/** Gives how many filters were removed. tcx links go with their process and leave nothing. */
export function sweep(): number {
  const socket = NetlinkSocket.open()
  try {
    return sweepClsact(socket)
  } finally {
    socket.close()
  }
}
