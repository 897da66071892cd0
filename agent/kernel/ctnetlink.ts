// What connection tracking tells of translated connections, through netlink: the way to join NAT on kernels whose programs
// cannot read a packet's conntrack entry. Notifications of new entries, and a dump of those that are there already.
//
// The kernel tells of an entry when its first packet is confirmed, which is before that packet reaches any egress hook
// behind the translation. Whoever reads the ring first and this socket second knows every translation that the ring speaks of.

import { NetlinkSocket } from './netlink.js'

/**
 * A translated connection: the client's tuple and what it became, as keys of the maps (bpf/flow.h; 4 or 10 words from
 * offset 0, valid during the call), and the dir of forward packets in each. One that was there before anybody listened
 * comes also when it is not translated: with the same tuple twice, it says who opened it.
 */
export type TranslationSink = (
  family: 4 | 6,
  root: Uint32Array,
  rootForward: number,
  alias: Uint32Array,
  aliasForward: number,
) => void

/** include/uapi/linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_compat.h, nfnetlink_conntrack.h */
const NETLINK_NETFILTER = 12
const NFNLGRP_CONNTRACK_NEW = 1
const IPCTNL_MSG_CT_NEW = 0x100
const IPCTNL_MSG_CT_GET = 0x101
const NFGENMSG_SIZE = 4
const CTA_TUPLE_ORIG = 1
const CTA_TUPLE_REPLY = 2
const CTA_STATUS = 3
const CTA_TUPLE_IP = 1
const CTA_TUPLE_PROTO = 2
/** enum ip_conntrack_status: source or destination was translated. */
const IPS_NAT_MASK = 0x30
const TYPE_MASK = 0x3fff
/** Notifications taken by one read; the rest waits for the next. */
const READ_LIMIT = 8192
const BUFFER_BYTES = 8 * 1024 * 1024

const PROTOCOL_ICMP = 1
const PROTOCOL_ICMP6 = 58

interface Tuple {
  /** Words as the programs load them. */
  readonly source: Uint32Array
  readonly destination: Uint32Array
  sport: number
  dport: number
  protocol: number
  icmpType: number
}

/** Opened inside the network namespace that it is about; one thread. Close it. */
export class ConntrackEvents {
  readonly #requests: NetlinkSocket
  readonly #notifications: NetlinkSocket
  readonly #tuples = [newTuple(), newTuple()] as const
  readonly #root = new Uint32Array(10)
  readonly #alias = new Uint32Array(10)
  #dumped = false
  /** Times that the kernel had to drop notifications; what was missed is found by a dump. */
  overruns = 0

  private constructor(requests: NetlinkSocket, notifications: NetlinkSocket) {
    this.#requests = requests
    this.#notifications = notifications
  }

  /** Throws where the kernel has no ctnetlink, or NO_PERMISSION. */
  static open(): ConntrackEvents {
    const requests = NetlinkSocket.open(NETLINK_NETFILTER)
    try {
      const notifications = NetlinkSocket.subscribe([NFNLGRP_CONNTRACK_NEW], BUFFER_BYTES, NETLINK_NETFILTER)
      const events = new ConntrackEvents(requests, notifications)
      try {
        // asks once, so that a kernel that cannot answer is known at once
        events.#dump(() => undefined)
      } catch (error) {
        notifications.close()
        throw error
      }
      return events
    } catch (error) {
      requests.close()
      throw error
    }
  }

  /** Gives every translated connection told since the last call, and at first those that were there. */
  read(sink: TranslationSink): void {
    if (!this.#dumped) {
      this.#dumped = true
      this.#dump(sink)
    }
    const state = this.#notifications.receive(READ_LIMIT, (type, body) => this.#take(type, body, sink))
    if (state === 'lost') {
      this.overruns++
      this.#dumped = false
    }
  }

  close(): void {
    this.#requests.close()
    this.#notifications.close()
  }

  #dump(sink: TranslationSink): void {
    this.#requests.dump(
      'list the tracked connections',
      IPCTNL_MSG_CT_GET,
      Buffer.alloc(NFGENMSG_SIZE),
      () => undefined,
      (type, body) => this.#take(type, body, sink, true),
    )
  }

  #take(type: number, body: Buffer, sink: TranslationSink, all = false): void {
    if (type !== IPCTNL_MSG_CT_NEW || body.length < NFGENMSG_SIZE) return
    const family = body[0] === 2 ? 4 : body[0] === 10 ? 6 : 0
    if (family === 0) return
    let status = 0
    const [original, reply] = this.#tuples
    let seen = 0
    eachAttribute(body, NFGENMSG_SIZE, body.length, (kind, from, to) => {
      if (kind === CTA_STATUS && to - from >= 4) status = body.readUInt32BE(from)
      else if (kind === CTA_TUPLE_ORIG) seen |= readTuple(body, from, to, family, original) ? 1 : 0
      else if (kind === CTA_TUPLE_REPLY) seen |= readTuple(body, from, to, family, reply) ? 2 : 0
    })
    const translated = (status & IPS_NAT_MASK) !== 0
    if (!(translated || all) || seen !== 3) return
    const rootForward = writeKey(this.#root, family, original, false)
    if (!translated) {
      sink(family, this.#root, rootForward, this.#root, rootForward)
      return
    }
    // behind the translation a forward packet is the reply turned round
    const aliasForward = writeKey(this.#alias, family, reply, true)
    sink(family, this.#root, rootForward, this.#alias, aliasForward)
  }
}

function newTuple(): Tuple {
  return {
    source: new Uint32Array(4),
    destination: new Uint32Array(4),
    sport: 0,
    dport: 0,
    protocol: 0,
    icmpType: 0,
  }
}

/** Calls `each` with type and payload of every attribute in bytes[from, to). Stops at one that lies about its length. */
function eachAttribute(
  bytes: Buffer,
  from: number,
  to: number,
  each: (type: number, from: number, to: number) => void,
): void {
  for (let at = from; at + 4 <= to; ) {
    const length = bytes.readUInt16LE(at)
    if (length < 4 || at + length > to) return
    each(bytes.readUInt16LE(at + 2) & TYPE_MASK, at + 4, at + length)
    at += (length + 3) & ~3
  }
}

/** enum ctattr_ip, enum ctattr_l4proto. */
function readTuple(bytes: Buffer, from: number, to: number, family: 4 | 6, tuple: Tuple): boolean {
  let addresses = 0
  tuple.sport = 0
  tuple.dport = 0
  tuple.protocol = 0
  tuple.icmpType = 0
  eachAttribute(bytes, from, to, (kind, inner, end) => {
    if (kind === CTA_TUPLE_IP)
      eachAttribute(bytes, inner, end, (which, at, last) => {
        const words = family === 4 ? 1 : 4
        if (which !== (family === 4 ? 1 : 3) && which !== (family === 4 ? 2 : 4)) return
        if (last - at < words * 4) return
        const target = which % 2 === 1 ? tuple.source : tuple.destination
        for (let i = 0; i < words; i++) target[i] = bytes.readUInt32LE(at + i * 4)
        addresses++
      })
    else if (kind === CTA_TUPLE_PROTO)
      eachAttribute(bytes, inner, end, (which, at, last) => {
        const size = last - at
        if (which === 1 && size >= 1) tuple.protocol = bytes[at]!
        else if (which === 2 && size >= 2) tuple.sport = bytes.readUInt16LE(at)
        else if (which === 3 && size >= 2) tuple.dport = bytes.readUInt16LE(at)
        else if ((which === 4 || which === 7) && size >= 2) {
          tuple.sport = bytes.readUInt16LE(at)
          tuple.dport = tuple.sport
        } else if ((which === 5 || which === 8) && size >= 1) tuple.icmpType = bytes[at]!
      })
  })
  return addresses === 2 && tuple.protocol !== 0
}

/** Writes a tuple as a key (key4 or key6) and gives the dir of its packets; `turned` for the opposite direction. */
function writeKey(key: Uint32Array, family: 4 | 6, tuple: Tuple, turned: boolean): number {
  const source = turned ? tuple.destination : tuple.source
  const destination = turned ? tuple.source : tuple.destination
  const sport = turned ? tuple.dport : tuple.sport
  const dport = turned ? tuple.sport : tuple.dport
  const words = family === 4 ? 1 : 4
  let order = 0
  for (let i = 0; i < words && order === 0; i++)
    order = source[i]! === destination[i]! ? 0 : source[i]! > destination[i]! ? 1 : -1
  const dir = order > 0 || (order === 0 && sport > dport) ? 1 : 0
  const [low, high] = dir === 0 ? [source, destination] : [destination, source]
  for (let i = 0; i < words; i++) {
    key[i] = low[i]!
    key[words + i] = high[i]!
  }
  key[words * 2] = (dir === 0 ? sport | (dport << 16) : dport | (sport << 16)) >>> 0
  key[words * 2 + 1] = tuple.protocol | (icmpKind(tuple.protocol, tuple.icmpType) << 8)
  return dir
}

/** As bpf/packet.h: echo replies belong to the flow of their requests. */
function icmpKind(protocol: number, type: number): number {
  if (protocol === PROTOCOL_ICMP) return type === 0 ? 8 : type
  if (protocol === PROTOCOL_ICMP6) return type === 129 ? 128 : type
  return 0
}
