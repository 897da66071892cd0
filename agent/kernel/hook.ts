// Hook numbers: one direction of one interface in one network namespace as a single 32-bit number (bpf/flow.h, HOOK_*).

import { HOOK_EGRESS, HOOK_FOREIGN, HOOK_NETNS_SHIFT } from './layout.gen.js'

/** Highest number of a network namespace other than the agent's own (which is 0). */
export const MAX_NETNS = (1 << (31 - HOOK_NETNS_SHIFT)) - 1
/** Highest ifindex that fits in a namespace other than the agent's own. */
export const MAX_FOREIGN_IFINDEX = (1 << (HOOK_NETNS_SHIFT - 1)) - 1

export interface Hook {
  readonly netns: number
  readonly ifindex: number
  readonly egress: boolean
}

/** The number of a hook, unsigned. Throws RangeError where the ifindex or the namespace do not fit. */
export function hookNumber(ifindex: number, egress: boolean, netns = 0): number {
  const limit = netns === 0 ? 0x3fffffff : MAX_FOREIGN_IFINDEX
  if (ifindex < 1 || ifindex > limit || netns < 0 || netns > MAX_NETNS)
    throw new RangeError(`no hook number for ifindex ${ifindex} in namespace ${netns}`)
  const low = ((ifindex << 1) | (egress ? HOOK_EGRESS : 0)) >>> 0
  return netns === 0 ? low : (HOOK_FOREIGN | (netns << HOOK_NETNS_SHIFT) | low) >>> 0
}

/** What a hook number says. */
export function decodeHook(number: number): Hook {
  const egress = (number & HOOK_EGRESS) !== 0
  if (number < HOOK_FOREIGN) return { netns: 0, ifindex: number >>> 1, egress }
  return {
    netns: (number >>> HOOK_NETNS_SHIFT) & MAX_NETNS,
    ifindex: (number >>> 1) & MAX_FOREIGN_IFINDEX,
    egress,
  }
}
