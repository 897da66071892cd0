// `vethflow detach`: removes what a killed agent left on the interfaces of this network namespace, and inside those of its
// pods. Needs no program and no map, so it works where the agent itself cannot start.

import { sweepClsact } from './clsact.js'
import { Interfaces } from './interfaces.js'
import { NetlinkSocket } from './netlink.js'
import { withNetns } from './netns.js'
import { PodNamespaces } from './pod-namespaces.js'

/** Gives how many filters were removed. tcx links go with their process and leave nothing. */
export function sweep(): number {
  const socket = NetlinkSocket.open()
  try {
    return sweepClsact(socket)
  } finally {
    socket.close()
  }
}

/** The same inside the network namespaces of this node's pods, as far as they may be entered (CAP_SYS_ADMIN). */
export async function sweepPods(): Promise<number> {
  const interfaces = Interfaces.open()
  const namespaces = new PodNamespaces()
  try {
    const wanted = new Set<number>()
    for (const { linkNetnsid } of interfaces.values()) if (linkNetnsid !== undefined) wanted.add(linkNetnsid)
    if (wanted.size === 0) return 0
    const found = [...namespaces.named(wanted), ...(await namespaces.ofProcesses(wanted))]
    let removed = 0
    for (const { path } of found) {
      try {
        removed += withNetns(path, sweep)
      } catch {
        // Gone meanwhile, or not ours to enter: then nobody with our rights has left anything there.
      }
    }
    return removed
  } finally {
    interfaces.close()
    namespaces.close()
  }
}
