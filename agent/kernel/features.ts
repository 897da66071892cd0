// Finds out, one by one and by trying, what this kernel can do. No kernel version is compared. Each feature can be
// switched off by name (tests; an operator who meets a kernel bug), which is reported like one that is missing.

import { accessSync, closeSync, constants } from 'node:fs'
import { ExitCode, VethflowError } from '../errors.js'
import { Errno, errnoName } from './ffi.js'
import {
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_RINGBUF,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_TCX_INGRESS,
  libbpf,
} from './libbpf.js'
import { permissionError } from './permission.js'

/**
 * What hangs on each:
 * btf              conntrack
 * ring_buffer      events at once; without it flows are found when the maps are drained
 * boot_clock       everything (5.8): without it there is nothing to load
 * atomic_fetch     flow.bpf.o and flow-5.12.bpf.o; without it flow-5.10.bpf.o
 * batch            draining and deleting in batches; without it key by key
 * tcx              links at the head of the chain that go with the process; without it clsact
 * clsact           the fallback for tcx
 * conntrack        the programs that read the packet's conntrack entry; without them ctnetlink
 * ctnetlink        the fallback for conntrack: its notifications; without both translated tuples are not joined
 * sockets          processes, and host-network pods, at this node's ends: BTF tracepoints; without it they are not told
 * socket_walk      the same for sockets older than the agent and for UDP: a walk over all open files
 */
export const FEATURES = [
  'btf',
  'ring_buffer',
  'boot_clock',
  'atomic_fetch',
  'batch',
  'tcx',
  'clsact',
  'conntrack',
  'ctnetlink',
  'sockets',
  'socket_walk',
] as const
export type FeatureName = (typeof FEATURES)[number]

export interface Feature {
  readonly name: FeatureName
  readonly enabled: boolean
  /** Why it is off, or how it was found to be there. */
  readonly reason: string
}

/** The features of this kernel. `conntrack` is decided by loading: see setFeature. */
export class Features {
  private readonly byName = new Map<FeatureName, Feature>()

  /** Probes all. Throws NO_PERMISSION when the kernel lets us try nothing, KERNEL_TOO_OLD without the clock. */
  static probe(disable: ReadonlySet<string> = new Set()): Features {
    const features = new Features()
    const probes: Record<FeatureName, () => string | undefined> = {
      btf: probeBtf,
      ring_buffer: probeRing,
      boot_clock: probeClock,
      atomic_fetch: probeAtomics,
      batch: probeBatch,
      tcx: probeTcx,
      clsact: () => undefined,
      conntrack: () => (features.enabled('btf') ? undefined : 'needs btf'),
      ctnetlink: () => undefined,
      sockets: () =>
        features.enabled('btf') && features.enabled('ring_buffer') ? undefined : 'needs btf and ring_buffer',
      socket_walk: () => (features.enabled('sockets') ? undefined : 'needs sockets'),
    }
    for (const name of FEATURES) {
      const reason = disable.has(name) ? 'switched off' : probes[name]()
      features.set(
        name,
        reason === undefined,
        reason ?? (name === 'clsact' ? 'tried when it is needed' : 'tried'),
      )
    }
    if (!features.enabled('boot_clock') && !disable.has('boot_clock')) throw tooOld(features.list())
    return features
  }

  enabled(name: FeatureName): boolean {
    return this.byName.get(name)?.enabled ?? false
  }

  /** Records what a later try showed. */
  set(name: FeatureName, enabled: boolean, reason: string): void {
    this.byName.set(name, { name, enabled, reason })
  }

  list(): Feature[] {
    return [...this.byName.values()]
  }
}

function tooOld(features: readonly Feature[]): VethflowError {
  const missing = features.filter((feature) => !feature.enabled).map((feature) => feature.name)
  return new VethflowError('KERNEL_TOO_OLD', `this kernel lacks ${missing.join(', ')}`, {
    exitCode: ExitCode.UNAVAILABLE,
    hint: 'Run on Linux 5.10 or newer',
  })
}

/** A probe gives undefined when the feature is there, else the reason why not. */
type Probed = string | undefined

function probeBtf(): Probed {
  try {
    accessSync('/sys/kernel/btf/vmlinux', constants.R_OK)
    return undefined
  } catch {
    return 'no /sys/kernel/btf/vmlinux'
  }
}

function probeRing(): Probed {
  return closed(libbpf().bpf_map_create(BPF_MAP_TYPE_RINGBUF, 'vf_probe', 0, 0, 65536, null))
}

function probeClock(): Probed {
  return closed(loadProgram([call(125 /* bpf_ktime_get_boot_ns, 5.8 */), ...RETURN_0]))
}

function probeAtomics(): Probed {
  return closed(
    loadProgram([
      instruction(0xb7, 1, 0, 0, 1), // r1 = 1
      instruction(0x7a, 10, 0, -8, 0), // *(u64 *)(r10 - 8) = 0
      instruction(0xdb, 10, 1, -8, 1), // r1 = atomic_fetch_add((u64 *)(r10 - 8), r1), 5.12
      ...RETURN_0,
    ]),
  )
}

function probeBatch(): Probed {
  const fd = libbpf().bpf_map_create(BPF_MAP_TYPE_HASH, 'vf_probe', 4, 4, 1, null)
  if (fd < 0) return refused(fd)
  try {
    const cell = (): Uint32Array => new Uint32Array(2)
    const result = libbpf().bpf_map_lookup_batch(fd, null, cell(), cell(), cell(), new Uint32Array([1]), null)
    return result === 0 || result === -Errno.ENOENT ? undefined : refused(result)
  } finally {
    closeSync(fd)
  }
}

/** Asks who is on the loopback's hook: a kernel without tcx does not know the hook. ifindex 1 is always loopback. */
function probeTcx(): Probed {
  const count = new Uint32Array(1)
  const result = libbpf().bpf_prog_query(1, BPF_TCX_INGRESS, 0, null, null, count)
  return result === 0 ? undefined : refused(result)
}

function instruction(
  code: number,
  destination: number,
  source: number,
  offset: number,
  immediate: number,
): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt8(code, 0)
  bytes.writeUInt8((source << 4) | destination, 1)
  bytes.writeInt16LE(offset, 2)
  bytes.writeInt32LE(immediate, 4)
  return bytes
}

function call(helper: number): Buffer {
  return instruction(0x85, 0, 0, 0, helper)
}

const RETURN_0 = [instruction(0xb7, 0, 0, 0, 0), instruction(0x95, 0, 0, 0, 0)]

function loadProgram(instructions: readonly Buffer[]): number {
  const bytes = Buffer.concat(instructions)
  return libbpf().bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, 'vf_probe', 'GPL', bytes, instructions.length, null)
}

function closed(fd: number): Probed {
  if (fd < 0) return refused(fd)
  closeSync(fd)
  return undefined
}

function refused(result: number): string {
  if (result === -Errno.EPERM) throw permissionError('try what this kernel can do')
  return `refused with ${errnoName(-result)}`
}
