// One BPF object loaded into the kernel: checks its layout, selects programs, sets sizes and constants, loads through
// libbpf, hands out file descriptors. It attaches nothing.

import { closeSync, readFileSync } from 'node:fs'
import { ExitCode, VethflowError } from '../errors.js'
import { returnFreeMemory } from './c-heap.js'
import { type Elf, readElf } from './elf.js'
import { address, Errno, errno, errnoName, kernelError } from './ffi.js'
import { checkLayout, mismatch } from './layout/check.js'
import { hook_counters, key4, key6, settings, tunnel_device, tunnel_key, view4, view6 } from './layout.gen.js'
import { libbpf, type ObjectPointer, withMessages } from './libbpf.js'
import { F_DUPFD_CLOEXEC, libc } from './libc.js'
import { lacksCapability, permissionError } from './permission.js'
import { VerifierError } from './verifier.js'

/** The maps that user space touches. */
export type MapName = 'views4' | 'views6' | 'events' | 'hooks' | 'losses' | 'tunnels' | 'settings' | 'dns'

/** Key and value sizes in bytes, where the map has them. */
const MAP_SIZES: Readonly<Record<MapName, readonly [number, number]>> = {
  views4: [key4.size, view4.size],
  views6: [key6.size, view6.size],
  events: [0, 0],
  hooks: [4, hook_counters.size],
  losses: [4, 8],
  tunnels: [tunnel_key.size, tunnel_device.size],
  settings: [4, settings.size],
  dns: [0, 0],
}

/** All maps of the object; those not named by MapName are the kernel side's own, and shared all the same. */
const SHARED_MAPS: readonly string[] = [...Object.keys(MAP_SIZES), 'fragments']

export interface ObjectOptions {
  /** Path of the object file. */
  readonly path: string
  /** Names of the programs to load; all others are left out. */
  readonly programs: readonly string[]
  /** Entries (bytes for the ring) by map name. */
  readonly sizes?: Readonly<Partial<Record<MapName, number>>>
  /** The constant `netns_number`; 0 unless given. */
  readonly netnsNumber?: number
  /**
   * The kernel has no type information: do without. Programs that read the kernel's own structures (conntrack) must not
   * be among `programs` then.
   */
  readonly withoutBtf?: boolean
  /** The constant `capture_dns`: copies of DNS messages go to the ring `dns`. */
  readonly dns?: boolean
  /** Use this object's maps instead of making new ones. */
  readonly shareMapsOf?: BpfObject
}

/** Room for the verifier's log; the most that kernels before 5.16 accept. Memory is touched only when it is written. */
export const LOG_SIZE = 0xffffff

/**
 * A loaded object: its programs and maps as file descriptors. Whoever loads it closes it, and them with it. libbpf's own
 * picture of it (sections, relocations, the kernel's types) is let go as soon as it is loaded.
 */
export class BpfObject {
  readonly path: string
  private readonly programs = new Map<string, number>()
  private readonly maps = new Map<string, number>()

  private constructor(path: string) {
    this.path = path
  }

  /**
   * Loads `options.programs` of the file. Throws OBJECT_MISSING, OBJECT_INVALID, LAYOUT_MISMATCH, NO_PERMISSION,
   * VerifierError or BPF_LOAD; nothing stays in the kernel then.
   */
  static load(options: ObjectOptions): BpfObject {
    const object = new BpfObject(options.path)
    try {
      object.open(options)
      return object
    } catch (error) {
      object.close()
      throw error
    }
  }

  /** File descriptor of a program; undefined when it was not loaded. */
  programFd(name: string): number | undefined {
    return this.programs.get(name)
  }

  /** File descriptor of a map. */
  mapFd(name: string): number {
    const fd = this.maps.get(name)
    if (fd === undefined) throw mismatch(`map ${name} is missing`)
    return fd
  }

  /** Lets go of programs and maps. What is attached by a link of its own stays until that is closed. */
  close(): void {
    for (const fds of [this.programs, this.maps]) {
      for (const fd of fds.values()) closeSync(fd)
      fds.clear()
    }
  }

  private open(options: ObjectOptions): void {
    const bytes = readObject(options.path)
    const elf = readElf(bytes)
    checkLayout(elf)
    setConstant(elf, 'netns_number', options.netnsNumber ?? 0)
    setConstant(elf, 'capture_dns', options.dns === true ? 1 : 0)

    const log = Buffer.alloc(LOG_SIZE)
    const { result, messages } = withMessages(() => {
      const opened = openMemory(bytes, log, options.withoutBtf === true ? options.path : undefined)
      if (opened === null) return -errno()
      try {
        const programs = selectPrograms(opened, options.programs)
        this.prepareMaps(opened, options)
        const loaded = libbpf().bpf_object__load(opened)
        if (loaded === 0) this.takeOver(opened, programs)
        return loaded
      } finally {
        libbpf().bpf_object__close(opened)
        returnFreeMemory()
      }
    })
    if (result !== 0) throw loadError(options.path, result, log, messages)
  }

  /** Makes what is loaded its own: libbpf closes its descriptors with the object. */
  private takeOver(object: ObjectPointer, programs: ReadonlyMap<string, bigint>): void {
    for (const [name, program] of programs)
      this.programs.set(name, duplicate(libbpf().bpf_program__fd(program)))
    for (const name of SHARED_MAPS) {
      const map = libbpf().bpf_object__find_map_by_name(object, name)
      if (map !== null) this.maps.set(name, duplicate(libbpf().bpf_map__fd(map)))
    }
  }

  private prepareMaps(object: ObjectPointer, options: ObjectOptions): void {
    for (const name of SHARED_MAPS) {
      const map = libbpf().bpf_object__find_map_by_name(object, name)
      const sizes = MAP_SIZES[name as MapName]
      if (map === null) {
        if (sizes === undefined) continue
        throw mismatch(`map ${name} is missing`)
      }
      if (sizes !== undefined) {
        const key = libbpf().bpf_map__key_size(map)
        const value = libbpf().bpf_map__value_size(map)
        if (key !== sizes[0] || value !== sizes[1])
          throw mismatch(
            `map ${name} has keys of ${key} and values of ${value} bytes instead of ${sizes[0]} and ${sizes[1]}`,
          )
      }
      if (options.shareMapsOf !== undefined) {
        const failed = libbpf().bpf_map__reuse_fd(map, options.shareMapsOf.mapFd(name))
        if (failed !== 0) throw kernelError('BPF_LOAD', `share the map ${name}`, failed)
        continue
      }
      const entries = options.sizes?.[name as MapName]
      if (entries !== undefined) libbpf().bpf_map__set_max_entries(map, entries)
    }
  }
}

/** A descriptor of our own for what libbpf's object holds: it stays when that is closed. */
export function duplicate(fd: number): number {
  const own = libc().fcntl(fd, F_DUPFD_CLOEXEC, 0)
  if (own < 0) throw kernelError('BPF_LOAD', 'duplicate a file descriptor', errno())
  return own
}

/** The bytes of an object file. Throws OBJECT_MISSING. */
export function readObject(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new VethflowError('OBJECT_MISSING', `the BPF object ${path} cannot be read`, {
      cause,
      exitCode: ExitCode.UNAVAILABLE,
      hint: 'Install vethflow again, or run make bpf',
    })
  }
}

/** Writes a 32-bit constant of the section .rodata into the file's bytes, before libbpf sees them. */
export function setConstant(elf: Elf, name: string, value: number): void {
  const symbol = elf.symbols.find((candidate) => candidate.name === name)
  const section = symbol === undefined ? undefined : elf.sections[symbol.section]
  if (symbol === undefined || section?.name !== '.rodata' || symbol.size !== 4)
    throw mismatch(`the constant ${name} is missing`)
  if (symbol.value + 4 > section.bytes.byteLength) throw mismatch(`the constant ${name} lies outside .rodata`)
  new DataView(section.bytes.buffer, section.bytes.byteOffset).setUint32(symbol.value, value, true)
}

/**
 * Opens with struct bpf_object_open_opts: the object's name (visible in `bpftool map`), the verifier's log, and a file
 * whose type information stands for the kernel's. libbpf asks for the kernel's if a single program of the file needs it,
 * also one that is not loaded: the file's own is as good as any for those that need none.
 */
export function openMemory(bytes: Buffer, log: Buffer, btfPath?: string): ObjectPointer | null {
  const name = Buffer.from('vethflow\0')
  const btf = btfPath === undefined ? undefined : Buffer.from(`${btfPath}\0`)
  const options = Buffer.alloc(80)
  options.writeBigUInt64LE(BigInt(options.length), 0) // sz
  options.writeBigUInt64LE(address(name), 8) // object_name
  if (btf !== undefined) options.writeBigUInt64LE(address(btf), 48) // btf_custom_path
  options.writeBigUInt64LE(address(log), 56) // kernel_log_buf
  options.writeBigUInt64LE(BigInt(log.length), 64) // kernel_log_size
  return libbpf().bpf_object__open_mem(bytes, bytes.length, options)
}

/** Switches autoload on for `wanted` and off for all others. */
export function selectPrograms(object: ObjectPointer, wanted: readonly string[]): Map<string, bigint> {
  const found = new Map<string, bigint>()
  for (
    let program = libbpf().bpf_object__next_program(object, null);
    program !== null;
    program = libbpf().bpf_object__next_program(object, program)
  ) {
    const name = libbpf().bpf_program__name(program)
    const load = wanted.includes(name)
    libbpf().bpf_program__set_autoload(program, load)
    if (load) found.set(name, program)
  }
  const missing = wanted.find((name) => !found.has(name))
  if (missing !== undefined) throw mismatch(`program ${missing} is missing`)
  return found
}

/** What a load that failed with `result` comes to: a permission, the verifier's word, or BPF_LOAD. */
export function loadError(
  path: string,
  result: number,
  log: Buffer,
  messages: readonly string[],
): VethflowError {
  const number = Math.abs(result)
  const end = log.indexOf(0)
  const text = log.toString('utf8', 0, end < 0 ? log.length : end)
  const said = messages.filter((message) => !message.includes('BEGIN PROG LOAD LOG'))
  const cause = new Error([errnoName(number), ...said.slice(0, 3)].join('; '))
  // The verifier says EACCES for a program it does not like, and also for what CAP_PERFMON would allow; the lack of
  // another capability is EPERM and leaves no log.
  const refused = number === Errno.EPERM || (number === Errno.EACCES && lacksCapability())
  if (refused) return permissionError('load the BPF programs', undefined, cause)
  if (text.trim() !== '') return new VerifierError(text, cause)
  return new VethflowError('BPF_LOAD', `cannot load the BPF object ${path}`, {
    cause,
    exitCode: ExitCode.UNAVAILABLE,
    ...hintOf(number, messages),
  })
}

function hintOf(number: number, messages: readonly string[]): { hint?: string } {
  if (number === Errno.ENOMEM) return { hint: 'Lower --max-connections' }
  if (messages.some((message) => message.includes('vmlinux BTF')))
    return { hint: 'Run on a kernel with type information (CONFIG_DEBUG_INFO_BTF)' }
  return {}
}
