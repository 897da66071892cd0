// Which interfaces are hooked, and in which role. Pure: it decides from what rtnetlink told.
//
// By default
//   uplink  the ways out of the node: hardware (no kind), bonds, and whatever carries a default route or an address on a
//           subnet shared with others. Tunnels that end on this node are opened here.
//   veth    the host's end of a pod's veth (its peer is in another namespace), and overlay devices with Ethernet.
//   l3      overlay devices without Ethernet header.
//   none    loopback; bridges (each packet is seen at their ports); slaves of bonds (seen at the bond); vlan, macvlan,
//           ipvlan (seen at the device they lie on); veths whose two ends are both here; what we do not know.
//
// A veth with its peer elsewhere is a pod's, unless it is the node's own way out, as for nodes that are namespaces or
// containers themselves. Routed CNIs put addresses on the host's end too (ptp, Calico, GKE), so an address says little: it
// is the subnet that tells. Theirs are host addresses (/32, /128) or link-local, with host routes to the pods; a node's
// has room for other nodes, or a default route goes out there. A veth that is a bridge's port is always taken for a pod's:
// where it is the node's way out in truth, tunnels are not opened there, but their inner packets are seen at the overlay
// devices all the same.

import type { Interface } from './interfaces.js'
import { ArpType } from './link-message.js'

/** Which programs an interface gets (bpf/flow.bpf.c). */
export type Role = 'veth' | 'uplink' | 'l3'

/** The decision about one interface: a role, or why there is none. */
export type RoleChoice = { readonly role: Role } | { readonly role: undefined; readonly reason: string }

export interface RoleOptions {
  /** Globs (`*`, `?`): only interfaces that match one are hooked, and those even if the default is not to. */
  readonly include?: readonly string[]
  /** Globs: these are not hooked. */
  readonly exclude?: readonly string[]
}

const OVERLAYS = new Set([
  'vxlan',
  'geneve',
  'ipip',
  'sit',
  'ip6tnl',
  'gre',
  'gretap',
  'ip6gre',
  'ip6gretap',
  'wireguard',
  'tun',
  'xfrm',
  'vti',
  'vti6',
])
const PODS = new Set(['veth', 'netkit'])
const BONDS = new Set(['bond', 'team'])
const SEEN_BELOW: ReadonlySet<string> = new Set(['vlan', 'macvlan', 'macvtap', 'ipvlan', 'ipvtap'])
/** ARPHRD_* of devices that carry bare IP packets. */
const L3_TYPES: ReadonlySet<number> = new Set([
  ArpType.NONE,
  ArpType.TUNNEL,
  ArpType.TUNNEL6,
  ArpType.SIT,
  ArpType.IPGRE,
  823 /* IP6GRE */,
  519 /* RAWIP */,
])

/** Is this what pods are connected by? */
export function isPodKind(kind: string): boolean {
  return PODS.has(kind)
}

/** Decides about `device`; its master's kind is in slaveKind. */
export function chooseRole(device: Interface, options: RoleOptions = {}): RoleChoice {
  if (matches(options.exclude, device.name)) return none('excluded by name')
  if (options.include !== undefined && options.include.length > 0) {
    if (!matches(options.include, device.name)) return none('not among the interfaces asked for')
    const byDefault = defaultRole(device)
    if (byDefault.role !== undefined) return byDefault
    const forced = programsFor(device, 'veth')
    return forced === undefined ? none('carries neither Ethernet nor bare IP') : { role: forced }
  }
  return defaultRole(device)
}

function defaultRole(device: Interface): RoleChoice {
  if (device.arpType === ArpType.LOOPBACK) return none('loopback')
  if (programsFor(device, 'veth') === undefined) return none('carries neither Ethernet nor bare IP')
  if (BONDS.has(device.slaveKind)) return none('its packets are seen at the bond it belongs to')
  if (OVERLAYS.has(device.kind)) return device.up ? withRole(device, 'veth') : none('is down')
  if (PODS.has(device.kind)) {
    if (device.master === 0 && isWayOut(device)) return withRole(device, 'uplink')
    if (device.linkElsewhere) return withRole(device, 'veth')
    return none('both ends are in this namespace')
  }
  if (device.kind === 'bridge') return none('its packets are seen at its ports')
  if (SEEN_BELOW.has(device.kind)) {
    // What it lies on is in another namespace: nothing else here sees its packets.
    if (device.linkElsewhere) return withRole(device, 'uplink')
    return none(`its packets are seen at the device it lies on; pods on ${device.kind} are not covered`)
  }
  if (device.kind === '' || BONDS.has(device.kind)) return withRole(device, 'uplink')
  return none(`devices of kind ${device.kind} are not covered`)
}

/** The node's own way out: see the top of this file. */
function isWayOut(device: Interface): boolean {
  if (device.defaultRoute) return true
  return device.addresses.some((address) => {
    // RT_SCOPE_UNIVERSE; link-local addresses have a scope of their own.
    if (address.scope !== 0) return false
    return address.prefixLength < (address.family === 4 ? 31 : 127)
  })
}

function withRole(device: Interface, role: Role): RoleChoice {
  const fitting = programsFor(device, role)
  return fitting === undefined ? none('carries neither Ethernet nor bare IP') : { role: fitting }
}

/** The role whose programs can read this device's packets: l3 where there is no Ethernet header. */
function programsFor(device: Interface, role: Role): Role | undefined {
  if (device.arpType === ArpType.ETHER || device.arpType === ArpType.LOOPBACK) return role
  return L3_TYPES.has(device.arpType) ? 'l3' : undefined
}

function none(reason: string): RoleChoice {
  return { role: undefined, reason }
}

/** True when `name` matches one of the globs: `*` any run of characters, `?` one. */
export function matches(globs: readonly string[] | undefined, name: string): boolean {
  return (globs ?? []).some((glob) => matchesGlob(glob, name))
}

/** In time proportional to the product of the lengths, whatever the glob: going back only to the last star. */
function matchesGlob(glob: string, name: string): boolean {
  let at = 0
  let position = 0
  let star = -1
  let resume = 0
  while (position < name.length) {
    if (glob[at] === '*') {
      star = at++
      resume = position
    } else if (at < glob.length && (glob[at] === '?' || glob[at] === name[position])) {
      at++
      position++
    } else if (star >= 0) {
      at = star + 1
      position = ++resume
    } else return false
  }
  while (glob[at] === '*') at++
  return at === glob.length
}
