// The small maps: counters of each attached hook, losses, and the tunnels of this node. It holds no file descriptor of
// its own.

import { Errno, kernelError } from './ffi.js'
import { hook_counters, loss, tunnel_device, tunnel_key } from './layout.gen.js'
import { libbpf } from './libbpf.js'

/** Counters of one hook since it was attached: what is not IP, and what was accounted nowhere. */
export interface HookCounters {
  otherPackets: number
  /** Without the Ethernet header. */
  otherBytes: number
  lostPackets: number
  lostBytes: number
}

/** Occurrences since the start (bpf/flow.h, enum loss). */
export interface Losses {
  /** Packets that found no room in the map; most of them went through the ring. */
  mapFull: number
  /** Packets accounted nowhere. */
  packets: number
  /** Events not told; the map tells what they were about. */
  ringFull: number
}

/** A tunnel that ends on this node: the key and value of the map `tunnels`. */
export interface Tunnel {
  /** UDP destination port; 0 for IPIP and GRE. */
  readonly port: number
  /** 17, 4, 41 or 47. */
  readonly protocol: number
  /** 4 or 6, of the outer addresses. */
  readonly family: 4 | 6
  /** TUNNEL_* of bpf/flow.h. */
  readonly type: number
  /** This node's outer address, 4 or 16 bytes; undefined: any. */
  readonly local?: Uint8Array
}

/** The map `hooks`. An entry says that the hook is alive. */
export class HookMap {
  private readonly fd: number
  private readonly key = new Uint32Array(1)
  private readonly value = new BigUint64Array(hook_counters.size / 8)

  constructor(fd: number) {
    this.fd = fd
  }

  /** Before attaching. Throws HOOKS_FULL when there are more hooks than the map holds. */
  insert(hook: number): void {
    this.key[0] = hook
    this.value.fill(0n)
    const result = libbpf().bpf_map_update_elem(this.fd, this.key, this.value, 0)
    if (result !== 0) throw kernelError('HOOKS_FULL', `note hook ${hook}`, result)
  }

  /** After detaching; nothing when it is not there. */
  delete(hook: number): void {
    this.key[0] = hook
    const result = libbpf().bpf_map_delete_elem(this.fd, this.key)
    if (result !== 0 && result !== -Errno.ENOENT) throw kernelError('HOOKS', `forget hook ${hook}`, result)
  }

  /** Undefined when the hook is not attached. */
  read(hook: number): HookCounters | undefined {
    this.key[0] = hook
    const result = libbpf().bpf_map_lookup_elem(this.fd, this.key, this.value)
    if (result === -Errno.ENOENT) return undefined
    if (result !== 0) throw kernelError('HOOKS', `read hook ${hook}`, result)
    const at = (offset: number): number => Number(this.value[offset / 8] ?? 0n)
    return {
      otherPackets: at(hook_counters.other_packets),
      otherBytes: at(hook_counters.other_bytes),
      lostPackets: at(hook_counters.lost_packets),
      lostBytes: at(hook_counters.lost_bytes),
    }
  }
}

/** Sums the per-CPU array `losses`. */
export function readLosses(fd: number): Losses {
  const key = new Uint32Array(1)
  const perCpu = new BigUint64Array(libbpf().libbpf_num_possible_cpus())
  const sum = (index: number): number => {
    key[0] = index
    const result = libbpf().bpf_map_lookup_elem(fd, key, perCpu)
    if (result !== 0) throw kernelError('LOSSES', 'read the losses', result)
    return Number(perCpu.reduce((total, count) => total + count, 0n))
  }
  return {
    mapFull: sum(loss.LOSS_MAP_FULL),
    packets: sum(loss.LOSS_PACKET),
    ringFull: sum(loss.LOSS_RING_FULL),
  }
}

/** Keeps the map `tunnels` equal to what it is told. */
export class TunnelMap {
  private readonly fd: number
  private present = new Map<string, Buffer>()

  constructor(fd: number) {
    this.fd = fd
  }

  /** Two devices with one port and different local addresses open it for any address. The first 64 are taken. */
  set(tunnels: readonly Tunnel[]): void {
    const wanted = new Map<string, Buffer>()
    for (const tunnel of tunnels) {
      const key = tunnelKey(tunnel).toString('hex')
      const value = tunnelValue(tunnel)
      const other = wanted.get(key)
      if (other !== undefined && !other.equals(value))
        value.fill(0, tunnel_device.local, tunnel_device.local + 16)
      if (wanted.size < MAX_TUNNELS || wanted.has(key)) wanted.set(key, value)
    }
    for (const key of this.present.keys()) {
      if (wanted.has(key)) continue
      const result = libbpf().bpf_map_delete_elem(this.fd, Buffer.from(key, 'hex'))
      if (result !== 0 && result !== -Errno.ENOENT) throw kernelError('TUNNELS', 'forget a tunnel', result)
    }
    for (const [key, value] of wanted) {
      if (this.present.get(key)?.equals(value)) continue
      const result = libbpf().bpf_map_update_elem(this.fd, Buffer.from(key, 'hex'), value, 0)
      if (result !== 0) throw kernelError('TUNNELS', 'note a tunnel', result)
    }
    this.present = wanted
  }
}

const MAX_TUNNELS = 64

function tunnelKey(tunnel: Tunnel): Buffer {
  const key = Buffer.alloc(tunnel_key.size)
  key.writeUInt16BE(tunnel.port, tunnel_key.port)
  key.writeUInt8(tunnel.protocol, tunnel_key.protocol)
  key.writeUInt8(tunnel.family, tunnel_key.family)
  return key
}

function tunnelValue(tunnel: Tunnel): Buffer {
  const value = Buffer.alloc(tunnel_device.size)
  if (tunnel.local !== undefined) value.set(tunnel.local.subarray(0, 16), tunnel_device.local)
  value.writeUInt8(tunnel.type, tunnel_device.type)
  return value
}
