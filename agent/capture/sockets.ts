// Which process is behind an end that is a socket of this node: what the kernel told of sockets (agent/kernel/socket-watch),
// found again by the ends of a flow. Bounded; the oldest go first. A connection keeps what it found (connections.ts), so a
// socket that has gone leaves what was known.
//
// Two tables. By both ends: connections, told as they open and close; a socket's time has to fit the connection's, since
// ports are used again. By the local end alone: who listens, and UDP. A bound socket lies in a network namespace, and an
// address says which one as far as sockets were seen that had it.

import {
  socket_owner as O,
  socket_record as R,
  socket_flag,
  socket_kind,
} from '../kernel/socket-layout.gen.js'
import type { SocketSink } from '../kernel/socket-watch.js'
import { AgingIndex } from './aging-index.js'
import type { SocketOwner } from './flow-batch.js'
import { SocketOwners } from './socket-owners.js'
import { TupleIndex } from './tuple-index.js'
import { swap32, u64 } from './views.js'

/** Two addresses of four words, ports, protocol, namespace. */
const CONNECTED_WORDS = 11
/** An address, port and protocol, namespace. */
const BOUND_WORDS = 6
const MAX_CONNECTED = 32_768
const MAX_BOUND = 8_192
const MAX_ADDRESSES = 4_096
const MAX_LOCAL_ADDRESSES = 4_096
const PROTOCOL_TCP = 6
const PROTOCOL_UDP = 17
const IPV4_PREFIX = 0xffff
/** A TCP socket's record is made when its handshake ends: after the connection's first packet, but for clocks. */
const EARLY_US = 1_000
/** A UDP socket that a walk has found is taken to be there for so long. */
const UDP_TRUST_US = 60_000_000
/** An address that was seen in two namespaces belongs to neither until it has been in one alone for so long. */
const CONFLICT_US = 10_000_000

/** How sure it is who owns a socket: who listens where it was accepted, found by a walk, told as it happened. */
const Sure = { GONE: 0, INHERITED: 1, FOUND: 2, TOLD: 3 } as const

const OWNER = R.owner / 4

export class Sockets implements SocketSink {
  readonly owners: SocketOwners
  /** Sockets that walks have found and that were not known. */
  found = 0
  readonly #connected = new AgingIndex(CONNECTED_WORDS, MAX_CONNECTED)
  readonly #connectedOwner: (SocketOwner | undefined)[] = []
  /** Boot clock, microseconds. */
  readonly #connectedAt = new Float64Array(MAX_CONNECTED)
  readonly #connectedSure = new Uint8Array(MAX_CONNECTED)
  readonly #bound = new AgingIndex(BOUND_WORDS, MAX_BOUND)
  readonly #boundOwner: (SocketOwner | undefined)[] = []
  readonly #boundAt = new Float64Array(MAX_BOUND)
  readonly #boundSure = new Uint8Array(MAX_BOUND)
  readonly #addresses = new AgingIndex(4, MAX_ADDRESSES)
  readonly #addressNetns = new Uint32Array(MAX_ADDRESSES)
  readonly #addressConflict = new Float64Array(MAX_ADDRESSES)
  readonly #numbers = new Map<number, number>()
  #local = new TupleIndex(4, 1)
  readonly #ownNetns: number
  readonly #key = new Uint32Array(CONNECTED_WORDS)
  readonly #boundKey = new Uint32Array(BOUND_WORDS)
  readonly #addressKey = new Uint32Array(4)
  #walkUs = 0
  #nowUs = 0

  /**
   * `ownNetns`: inode number of the agent's network namespace. `groupForgotten` is called with the key of a control group
   * whose name had to make room.
   */
  constructor(ownNetns: number, groupForgotten: (key: string) => void) {
    this.#ownNetns = ownNetns
    this.owners = new SocketOwners(groupForgotten)
  }

  /** Sockets that are known now. */
  get size(): number {
    return this.#connected.size + this.#bound.size
  }

  /** Addresses of this node's interfaces, as words of a FlowBatch. */
  setLocalAddresses(addresses: readonly ArrayLike<number>[]): void {
    this.#local = new TupleIndex(4, MAX_LOCAL_ADDRESSES)
    for (const address of addresses.slice(0, MAX_LOCAL_ADDRESSES)) {
      const words = Uint32Array.from(address)
      if (this.#local.find(words, 0) < 0) this.#local.insert(words, 0)
    }
  }

  /** True for an address of this node's own. */
  isLocal(words: Uint32Array, at: number): boolean {
    return this.#local.find(words, at) >= 0
  }

  /** Loopback addresses of flows with this namespace number belong to the namespace with this inode; undefined: none. */
  setNamespace(number: number, inode: number | undefined): void {
    if (inode === undefined) this.#numbers.delete(number)
    else this.#numbers.set(number, inode)
  }

  /** A walk begins: what it finds is newer than what the one before has found. */
  walkBegins(): void {
    this.#walkUs = this.#nowUs
  }

  cgroup(key: string, paths: readonly string[]): void {
    this.owners.named(key, paths)
  }

  socket(words: Uint32Array, at: number): void {
    const head = words[at + R.kind / 4]!
    const kind = head & 0xff
    const family = (head >>> 8) & 0xff
    if (family !== 4 && family !== 6) return
    const time = u64(words, at) / 1000
    this.#nowUs = Math.max(this.#nowUs, time)
    if (kind === socket_kind.SOCKET_CONNECTED) this.#connect(words, at, family, time)
    else if (kind === socket_kind.SOCKET_BOUND) this.#bind(words, at, family, time)
    else if (kind === socket_kind.SOCKET_UNBOUND) this.#unbind(words, at, family)
  }

  /**
   * Who is at a local end. Addresses are four words of `local` and `remote` from `at` on (FlowBatch); `netns` the number of
   * the namespace in which they mean something, 0 for the node's. `sinceUs`: the connection's first packet on the boot
   * clock; 0 when it may be older than what was seen of it.
   */
  find(
    local: Uint32Array,
    localPort: number,
    remote: Uint32Array,
    remotePort: number,
    at: number,
    protocol: number,
    netns: number,
    sinceUs: number,
  ): SocketOwner | undefined {
    const inode = netns === 0 ? 0 : this.#numbers.get(netns)
    if (inode === undefined) return undefined
    const key = this.#key
    for (let i = 0; i < 4; i++) {
      key[i] = local[at + i]!
      key[i + 4] = remote[at + i]!
    }
    key[8] = ((localPort << 16) | remotePort) >>> 0
    key[9] = protocol
    key[10] = inode
    const slot = this.#connected.find(key)
    if (slot >= 0) {
      const time = this.#connectedAt[slot]!
      if (protocol === PROTOCOL_TCP ? time >= sinceUs - EARLY_US : time > this.#nowUs - UDP_TRUST_US)
        return this.#connectedOwner[slot]
    }
    return this.#findBound(local, localPort, at, protocol, inode, sinceUs)
  }

  #connect(words: Uint32Array, at: number, family: number, time: number): void {
    const owner = this.owners.of(words, at + OWNER)
    if (owner === undefined) return
    const key = this.#key
    const head = words[at + R.kind / 4]!
    const netns = words[at + R.netns / 4]!
    const ports = words[at + R.local_port / 4]!
    writeAddress(words, at + R.local / 4, family, key, 0)
    writeAddress(words, at + R.remote / 4, family, key, 4)
    const loopback = isLoopback(key, 0) || isLoopback(key, 4)
    if (!loopback) this.#placeAddress(netns, time)
    key[8] = ((swap16(ports & 0xffff) << 16) | swap16(ports >>> 16)) >>> 0
    key[9] = (head >>> 16) & 0xff
    key[10] = loopback && netns !== this.#ownNetns ? netns : 0
    const known = this.#connected.find(key)
    const sure = sureness(head >>> 24)
    if (known >= 0 && sure === Sure.FOUND) {
      const at = this.#connectedAt[known]!
      // one of several that share it; or told before, and who opened it still has it
      if (
        this.#connectedSure[known] === Sure.FOUND
          ? at > this.#walkUs
          : this.#connectedSure[known] === Sure.TOLD
      )
        return
    }
    if (known < 0 && sure === Sure.FOUND) this.found++
    const slot = known >= 0 ? known : this.#connected.put(key)
    this.#connectedOwner[slot] = owner
    this.#connectedAt[slot] = time
    this.#connectedSure[slot] = sure
  }

  #bind(words: Uint32Array, at: number, family: number, time: number): void {
    const owner = this.owners.of(words, at + OWNER)
    if (owner === undefined) return
    const flags = words[at + R.kind / 4]! >>> 24
    const key = this.#writeBoundKey(words, at, family)
    const anyIpv6 = family === 6 && (key[0]! | key[1]! | key[2]! | key[3]!) === 0
    this.#put(owner, time, sureness(flags))
    if (!anyIpv6 || (flags & socket_flag.SOCKET_IPV6_ONLY) !== 0) return
    // takes IPv4 as well, where nobody is bound to that
    key[2] = IPV4_PREFIX
    const known = this.#bound.find(key)
    if (known < 0 || this.#boundSure[known] === Sure.GONE || this.#boundOwner[known] === owner)
      this.#put(owner, time, sureness(flags))
  }

  #put(owner: SocketOwner, time: number, sure: number): void {
    const known = this.#bound.find(this.#boundKey)
    if (known >= 0 && sure === Sure.FOUND && this.#boundSure[known] !== Sure.GONE) {
      if (this.#boundSure[known] === Sure.TOLD || this.#boundAt[known]! > this.#walkUs) return
    }
    if (known < 0 && sure === Sure.FOUND) this.found++
    const slot = known >= 0 ? known : this.#bound.put(this.#boundKey)
    this.#boundOwner[slot] = owner
    this.#boundAt[slot] = time
    this.#boundSure[slot] = sure
  }

  #unbind(words: Uint32Array, at: number, family: number): void {
    const pid = words[at + OWNER + O.pid / 4]!
    const key = this.#writeBoundKey(words, at, family)
    for (const prefix of family === 6 ? [key[2]!, IPV4_PREFIX] : [key[2]!]) {
      key[2] = prefix
      const slot = this.#bound.find(key)
      if (slot >= 0 && this.#boundOwner[slot]?.pid === pid) this.#boundSure[slot] = Sure.GONE
    }
  }

  #writeBoundKey(words: Uint32Array, at: number, family: number): Uint32Array {
    const key = this.#boundKey
    writeAddress(words, at + R.local / 4, family, key, 0)
    const port = swap16(words[at + R.local_port / 4]! & 0xffff)
    key[4] = ((port << 16) | ((words[at + R.kind / 4]! >>> 16) & 0xff)) >>> 0
    key[5] = words[at + R.netns / 4]!
    return key
  }

  #findBound(
    local: Uint32Array,
    localPort: number,
    at: number,
    protocol: number,
    inode: number,
    sinceUs: number,
  ): SocketOwner | undefined {
    const netns = inode === 0 ? this.#netnsOf(local, at) : inode
    if (netns === undefined) return undefined
    const key = this.#boundKey
    for (let i = 0; i < 4; i++) key[i] = local[at + i]!
    key[4] = ((localPort << 16) | protocol) >>> 0
    key[5] = netns
    const exact = this.#trusted(protocol, sinceUs)
    if (exact !== undefined) return exact
    if (key[2] !== IPV4_PREFIX || key[0] !== 0 || key[1] !== 0) key[2] = 0
    key[0] = 0
    key[1] = 0
    key[3] = 0
    return this.#trusted(protocol, sinceUs)
  }

  #trusted(protocol: number, sinceUs: number): SocketOwner | undefined {
    const slot = this.#bound.find(this.#boundKey)
    if (slot < 0 || this.#boundSure[slot] === Sure.GONE) return undefined
    const time = this.#boundAt[slot]!
    if (protocol === PROTOCOL_UDP) {
      if (time < this.#nowUs - UDP_TRUST_US) return undefined
    } else if (this.#boundSure[slot] === Sure.TOLD && sinceUs > 0 && time > sinceUs + EARLY_US) {
      // began to listen when the connection had begun already: that was refused
      return undefined
    }
    return this.#boundOwner[slot]
  }

  /** The namespace that an address is in, by its inode; undefined when that is not known for certain. */
  #netnsOf(words: Uint32Array, at: number): number | undefined {
    if (isLoopback(words, at) || this.isLocal(words, at)) return this.#ownNetns
    const slot = this.#addresses.findAt(words, at)
    if (slot < 0 || this.#addressConflict[slot]! > this.#nowUs - CONFLICT_US) return undefined
    return this.#addressNetns[slot]
  }

  /** The local address of #key was seen in a namespace. */
  #placeAddress(netns: number, time: number): void {
    for (let i = 0; i < 4; i++) this.#addressKey[i] = this.#key[i]!
    const known = this.#addresses.find(this.#addressKey)
    if (known < 0) {
      const slot = this.#addresses.put(this.#addressKey)
      this.#addressNetns[slot] = netns
      this.#addressConflict[slot] = Number.NEGATIVE_INFINITY
    } else if (this.#addressNetns[known] !== netns) {
      this.#addressNetns[known] = netns
      this.#addressConflict[known] = time
    }
  }
}

function sureness(flags: number): number {
  if ((flags & socket_flag.SOCKET_FOUND) !== 0) return Sure.FOUND
  return (flags & socket_flag.SOCKET_INHERITED) !== 0 ? Sure.INHERITED : Sure.TOLD
}

/** An address of a socket_record as four words of a FlowBatch. */
function writeAddress(words: Uint32Array, at: number, family: number, out: Uint32Array, to: number): void {
  if (family === 4) {
    out[to] = 0
    out[to + 1] = 0
    out[to + 2] = IPV4_PREFIX
    out[to + 3] = swap32(words[at]!)
    return
  }
  for (let i = 0; i < 4; i++) out[to + i] = swap32(words[at + i]!)
}

function isLoopback(words: Uint32Array, at: number): boolean {
  if (words[at] !== 0 || words[at + 1] !== 0) return false
  const low = words[at + 3]!
  return (words[at + 2] === IPV4_PREFIX && low >>> 24 === 127) || (words[at + 2] === 0 && low === 1)
}

function swap16(port: number): number {
  return ((port & 0xff) << 8) | (port >>> 8)
}
