// The small maps that programs count in: of each attached hook, and losses. It holds no file descriptor of its own.

import { Errno, kernelError } from './ffi.js'
import { hook_counters, loss } from './layout.gen.js'
import { libbpf } from './libbpf.js'

/** Counters of one hook since it was attached: what is not IP, and what was accounted nowhere. */
export interface HookCounters {
  otherPackets: number
  /** Without the Ethernet header. */
  otherBytes: number
  lostPackets: number
  lostBytes: number
  /** On the way into a tunnel whose device accounts them when they come out: first packets of connections. */
  tunnelPackets: number
  tunnelBytes: number
}

export function noCounters(): HookCounters {
  return { otherPackets: 0, otherBytes: 0, lostPackets: 0, lostBytes: 0, tunnelPackets: 0, tunnelBytes: 0 }
}

export function addCounters(to: HookCounters, more: HookCounters): void {
  for (const name of Object.keys(to) as (keyof HookCounters)[]) to[name] += more[name]
}

/** Occurrences since the start (bpf/flow.h, enum loss). */
export interface Losses {
  /** Packets that found no room in the map; most of them went through the ring. */
  mapFull: number
  /** Packets accounted nowhere. */
  packets: number
  /** Events not told; the map tells what they were about. */
  ringFull: number
  /** DNS messages that were not copied. */
  dns: number
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
      tunnelPackets: at(hook_counters.tunnel_packets),
      tunnelBytes: at(hook_counters.tunnel_bytes),
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
    dns: sum(loss.LOSS_DNS),
  }
}
