// Which tunnels end on this node, from its tunnel devices: the outer packets that an uplink may look into.

import type { Interface } from './interfaces.js'
import { tunnel_type } from './layout.gen.js'
import type { Tunnel } from './tunnel-map.js'

const UDP = 17
const IPIP = 4
const IPV6 = 41
const GRE = 47

interface TunnelKind {
  readonly type: number
  readonly protocol: number
  /** Families of the outer addresses when the device names none. */
  readonly families: readonly (4 | 6)[]
  /** A device takes packets of its own id only. */
  readonly ids: boolean
}

const KINDS: Readonly<Record<string, readonly TunnelKind[]>> = {
  vxlan: [{ type: tunnel_type.TUNNEL_VXLAN, protocol: UDP, families: [4, 6], ids: true }],
  geneve: [{ type: tunnel_type.TUNNEL_GENEVE, protocol: UDP, families: [4, 6], ids: true }],
  ipip: [{ type: tunnel_type.TUNNEL_IPIP, protocol: IPIP, families: [4], ids: false }],
  sit: [{ type: tunnel_type.TUNNEL_IPIP, protocol: IPV6, families: [4], ids: false }],
  ip6tnl: [
    { type: tunnel_type.TUNNEL_IPIP, protocol: IPIP, families: [6], ids: false },
    { type: tunnel_type.TUNNEL_IPIP, protocol: IPV6, families: [6], ids: false },
  ],
  gre: [{ type: tunnel_type.TUNNEL_GRE, protocol: GRE, families: [4], ids: true }],
  gretap: [{ type: tunnel_type.TUNNEL_GRE, protocol: GRE, families: [4], ids: true }],
  ip6gre: [{ type: tunnel_type.TUNNEL_GRE, protocol: GRE, families: [6], ids: true }],
  ip6gretap: [{ type: tunnel_type.TUNNEL_GRE, protocol: GRE, families: [6], ids: true }],
}

/** The tunnels of those devices that are up; `hooked` says whether the device itself is captured. */
export function tunnelsOf(devices: Iterable<Interface>, hooked: (ifindex: number) => boolean): Tunnel[] {
  const tunnels: Tunnel[] = []
  for (const device of devices) {
    const kinds = Object.hasOwn(KINDS, device.kind) ? KINDS[device.kind] : undefined
    const settings = device.tunnel
    if (kinds === undefined || settings === undefined || !device.up) continue
    const outer = settings.local ?? settings.remote
    for (const kind of kinds) {
      const families = outer === undefined ? kind.families : [outer.length === 4 ? 4 : (6 as const)]
      for (const family of families)
        tunnels.push({
          port: kind.protocol === UDP ? settings.port : 0,
          protocol: kind.protocol,
          family: family === 4 ? 4 : 6,
          type: kind.type,
          ...(hooked(device.ifindex) ? { inside: true } : {}),
          ...(settings.local === undefined ? {} : { local: settings.local }),
          ...(settings.external || !kind.ids ? {} : { id: settings.id }),
        })
    }
  }
  return tunnels
}
