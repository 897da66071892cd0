// rtnetlink's link and address messages (linux/rtnetlink.h, if_link.h, if_addr.h, if_tunnel.h) as values. It parses; it
// asks nothing.

import { attributes, stringOf, wordOf } from './netlink.js'

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22
export const AF_INET = 2
export const AF_INET6 = 10

/** ARP hardware types of linux/if_arp.h that we tell apart. */
export const ArpType = {
  ETHER: 1,
  TUNNEL: 768,
  TUNNEL6: 769,
  LOOPBACK: 772,
  SIT: 776,
  IPGRE: 778,
  NONE: 0xfffe,
} as const

const IFF_UP = 1
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  LINK: 5,
  MASTER: 10,
  LINKINFO: 18,
  STATS64: 23,
  LINK_NETNSID: 37,
} as const
const INFO_KIND = 1
const INFO_DATA = 2
const INFO_SLAVE_KIND = 4
const IFINFOMSG_SIZE = 16
const IFADDRMSG_SIZE = 8
const IFA_ADDRESS = 1
const IFA_LOCAL = 2

/** Counters of the interface itself (struct rtnl_link_stats64), from its own point of view. */
export interface LinkCounters {
  readonly rxPackets: number
  readonly txPackets: number
  /** With Ethernet headers. */
  readonly rxBytes: number
  readonly txBytes: number
}

/** What a tunnel device is set to. */
export interface TunnelSettings {
  /** VNI or key; 0 where there is none. */
  readonly id: number
  /** UDP destination port; 0 where there is none. */
  readonly port: number
  /** Outer addresses of 4 or 16 bytes; absent: any. */
  readonly local?: Uint8Array
  readonly remote?: Uint8Array
  /** Routes and BPF programs choose id and remote for each packet. */
  readonly external: boolean
}

export interface Link {
  readonly ifindex: number
  readonly name: string
  /** IFLA_INFO_KIND: veth, bridge, vxlan…; '' for hardware and loopback. */
  readonly kind: string
  /** Kind of the master it is enslaved to (bridge, bond…), ''. */
  readonly slaveKind: string
  /** ARPHRD_*, see ArpType. */
  readonly arpType: number
  readonly up: boolean
  /** Ethernet address, 'aa:bb:…', or ''. */
  readonly address: string
  /** ifindex of the bridge, bond… that it is a slave of; 0. */
  readonly master: number
  /** ifindex of the peer (veth) or of the device it lies on (vlan, macvlan, vxlan); 0. */
  readonly link: number
  /** True when `link` counts in another network namespace. */
  readonly linkElsewhere: boolean
  /** That namespace's number, as ours knows it (rtnetlink's nsid); absent unless linkElsewhere. */
  readonly linkNetnsid?: number
  readonly counters: LinkCounters
  readonly tunnel?: TunnelSettings
}

export interface Address {
  readonly ifindex: number
  readonly family: 4 | 6
  /** 4 or 16 bytes. */
  readonly address: Uint8Array
  readonly prefixLength: number
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. */
  readonly scope: number
}

/** The link of RTM_NEWLINK or RTM_DELLINK; undefined for messages of other families (a bridge's ports) and partial ones. */
export function parseLink(body: Buffer): Link | undefined {
  if (body.length < IFINFOMSG_SIZE || body.readUInt8(0) !== 0) return undefined
  const all = attributes(body, IFINFOMSG_SIZE)
  const name = stringOf(all.get(IFLA.IFNAME))
  if (name === '') return undefined
  const info = attributes(all.get(IFLA.LINKINFO))
  const kind = stringOf(info.get(INFO_KIND))
  const tunnel = parseTunnel(kind, info.get(INFO_DATA))
  const ifindex = body.readInt32LE(4)
  const link = wordOf(all.get(IFLA.LINK)) ?? 0
  const elsewhere = all.has(IFLA.LINK_NETNSID)
  return {
    ifindex,
    name,
    kind,
    slaveKind: stringOf(info.get(INFO_SLAVE_KIND)),
    arpType: body.readUInt16LE(2),
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    address: [...(all.get(IFLA.ADDRESS) ?? [])].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    master: wordOf(all.get(IFLA.MASTER)) ?? 0,
    link: link === ifindex && !elsewhere ? 0 : link,
    linkElsewhere: elsewhere,
    ...(elsewhere ? { linkNetnsid: wordOf(all.get(IFLA.LINK_NETNSID)) ?? 0 } : {}),
    counters: parseCounters(all.get(IFLA.STATS64)),
    ...(tunnel === undefined ? {} : { tunnel }),
  }
}

/** The address of RTM_NEWADDR or RTM_DELADDR; undefined for other families. */
export function parseAddress(body: Buffer): Address | undefined {
  if (body.length < IFADDRMSG_SIZE) return undefined
  const family = body.readUInt8(0)
  if (family !== AF_INET && family !== AF_INET6) return undefined
  const all = attributes(body, IFADDRMSG_SIZE)
  const address = all.get(IFA_LOCAL) ?? all.get(IFA_ADDRESS)
  if (address === undefined || address.length !== (family === AF_INET ? 4 : 16)) return undefined
  return {
    ifindex: body.readUInt32LE(4),
    family: family === AF_INET ? 4 : 6,
    address: Uint8Array.from(address),
    prefixLength: body.readUInt8(1),
    scope: body.readUInt8(3),
  }
}

/** struct rtnl_link_stats64; all zero for what is no such thing. */
export function parseCounters(stats: Buffer | undefined): LinkCounters {
  const at = (index: number): number =>
    stats !== undefined && stats.length >= 32 ? Number(stats.readBigUInt64LE(index * 8)) : 0
  return { rxPackets: at(0), txPackets: at(1), rxBytes: at(2), txBytes: at(3) }
}

/** Attribute numbers of the kinds of tunnels; 0 where a kind has none. */
interface TunnelAttributes {
  readonly id: number
  readonly port: number
  readonly local: number
  readonly local6: number
  readonly remote: number
  readonly remote6: number
  readonly external: number
  /** The id is a GRE key in network order. */
  readonly key?: boolean
}

const IPTUN: TunnelAttributes = { id: 0, port: 0, local: 2, local6: 0, remote: 3, remote6: 0, external: 19 }
const GRE: TunnelAttributes = {
  id: 5,
  port: 0,
  local: 6,
  local6: 0,
  remote: 7,
  remote6: 0,
  external: 18,
  key: true,
}
const TUNNEL_ATTRIBUTES: Readonly<Record<string, TunnelAttributes>> = {
  vxlan: { id: 1, port: 15, local: 4, local6: 17, remote: 2, remote6: 16, external: 25 },
  geneve: { id: 1, port: 5, local: 0, local6: 0, remote: 2, remote6: 7, external: 6 },
  ipip: IPTUN,
  sit: IPTUN,
  ip6tnl: IPTUN,
  gre: GRE,
  gretap: GRE,
  ip6gre: GRE,
  ip6gretap: GRE,
}

function parseTunnel(kind: string, data: Buffer | undefined): TunnelSettings | undefined {
  const numbers = Object.hasOwn(TUNNEL_ATTRIBUTES, kind) ? TUNNEL_ATTRIBUTES[kind] : undefined
  if (numbers === undefined) return undefined
  const all = attributes(data)
  const id = all.get(numbers.id)
  const port = all.get(numbers.port)
  const local = outerAddress(all, numbers.local, numbers.local6)
  const remote = outerAddress(all, numbers.remote, numbers.remote6)
  // The flag is an empty attribute, but a byte for vxlan.
  const external = all.get(numbers.external)
  return {
    id:
      id === undefined || id.length < 4 ? 0 : numbers.key === true ? id.readUInt32BE(0) : id.readUInt32LE(0),
    port: port === undefined || port.length < 2 ? 0 : port.readUInt16BE(0),
    ...(local === undefined ? {} : { local }),
    ...(remote === undefined ? {} : { remote }),
    external: external !== undefined && (external.length === 0 || external[0] !== 0),
  }
}

function outerAddress(all: Map<number, Buffer>, v4: number, v6: number): Uint8Array | undefined {
  const found = (v4 === 0 ? undefined : all.get(v4)) ?? (v6 === 0 ? undefined : all.get(v6))
  if (found === undefined || (found.length !== 4 && found.length !== 16)) return undefined
  return found.every((byte) => byte === 0) ? undefined : Uint8Array.from(found)
}
