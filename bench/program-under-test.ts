// Programs on the hook, one at a time, with what the kernel says they cost: bpf_enable_stats and run_time_ns of
// bpf_prog_info. Reading the clock around a program is part of that figure; the empty program says how much.

import { readFileSync } from 'node:fs'
import { Drain } from '../agent/kernel/drain.js'
import { errno, koffi } from '../agent/kernel/ffi.js'
import { key4, key6, view4, view6 } from '../agent/kernel/layout.gen.js'
import { libbpf, type ObjectPointer, withMessages } from '../agent/kernel/libbpf.js'
import { withNetns } from '../agent/kernel/netns.js'
import { BpfObject } from '../agent/kernel/object.js'
import { Ring } from '../agent/kernel/ring.js'
import { Settings } from '../agent/kernel/settings.js'
import { closeTcxLink, createTcxLink } from '../agent/kernel/tcx.js'

/** Entries of every map that is compared. */
export const ENTRIES = 131_072
const RING_BYTES = 8 * 1024 * 1024
/** Offsets in struct bpf_prog_info. */
const RUN_TIME_NS = 192
const RUN_COUNT = 200

export interface ProgramUnderTest {
  readonly name: string
  readonly fd: number
  /** Deletes every connection, reads the ring empty. */
  clear(): void
  /** Reads the ring empty. */
  settle(): void
  /** Connections that the maps hold. */
  entries(): number
}

export interface RunTime {
  readonly ns: bigint
  readonly count: bigint
}

/** Switches the kernel's program statistics on until the descriptor that it gives is closed. */
export function enableStatistics(): number {
  const enable = koffi().load('libbpf.so.1').func('int bpf_enable_stats(int)') as (type: number) => number
  const fd = enable(0)
  if (fd < 0) throw new Error(`no program statistics: ${fd}`)
  return fd
}

export function runTime(programFd: number): RunTime {
  const info = Buffer.alloc(256)
  const result = libbpf().bpf_obj_get_info_by_fd(programFd, info, new Uint32Array([info.length]))
  if (result !== 0) throw new Error(`the program's statistics cannot be read: ${result}`)
  return { ns: info.readBigUInt64LE(RUN_TIME_NS), count: info.readBigUInt64LE(RUN_COUNT) }
}

/** Attaches a program at the head of the hook for the time of `during`. */
export async function whileAttached<Result>(
  program: ProgramUnderTest | undefined,
  netns: string,
  ifindex: number,
  egress: boolean,
  during: () => Promise<Result>,
): Promise<Result> {
  if (program === undefined) return during()
  const link = withNetns(netns, () => createTcxLink(program.fd, ifindex, egress).now())
  if (link < 0) throw new Error(`${program.name} cannot be attached: ${link}`)
  try {
    return await during()
  } finally {
    closeTcxLink(link).now()
  }
}

/** An object of the yardstick's make: all its tc programs, none of vethflow's maps. Close it. */
export class Yardstick {
  readonly #object: ObjectPointer
  readonly #programs = new Map<string, number>()

  constructor(path: string) {
    const bytes = readFileSync(path)
    const { result, messages } = withMessages(() => {
      const object = libbpf().bpf_object__open_mem(bytes, bytes.length, null)
      if (object === null) return { object, failed: errno() }
      return { object, failed: libbpf().bpf_object__load(object) }
    })
    if (result.object === null || result.failed !== 0)
      throw new Error(`${path} cannot be loaded: ${result.failed} ${messages.join('; ')}`)
    this.#object = result.object
    for (
      let program = libbpf().bpf_object__next_program(this.#object, null);
      program !== null;
      program = libbpf().bpf_object__next_program(this.#object, program)
    )
      this.#programs.set(libbpf().bpf_program__name(program), libbpf().bpf_program__fd(program))
  }

  /** One of its programs with the map that it counts in, or none. */
  program(name: string, map?: string): ProgramUnderTest {
    const fd = this.#programs.get(name)
    if (fd === undefined) throw new Error(`no program ${name}`)
    const drains: Drain[] = []
    if (map !== undefined) {
      const found = libbpf().bpf_object__find_map_by_name(this.#object, map)
      if (found === null) throw new Error(`no map ${map}`)
      drains.push(
        new Drain({
          fd: libbpf().bpf_map__fd(found),
          keySize: libbpf().bpf_map__key_size(found),
          valueSize: libbpf().bpf_map__value_size(found),
          maxEntries: ENTRIES,
          batch: true,
        }),
      )
    }
    return {
      name,
      fd,
      clear: () => drains.forEach(empty),
      settle: () => undefined,
      entries: () => total(drains),
    }
  }

  close(): void {
    libbpf().bpf_object__close(this.#object)
  }
}

/** One program of vethflow with maps and a ring of its own. Close it. */
export class VethflowProgram implements ProgramUnderTest {
  readonly name: string
  readonly fd: number
  readonly #object: BpfObject
  readonly #ring: Ring
  readonly #drains: readonly Drain[]

  /** `hooks`: the hook numbers that are attached, as the agent would list them. */
  constructor(path: string, name: string, hooks: readonly number[], beside = false) {
    this.name = beside ? `${name} (beside)` : name
    this.#object = BpfObject.load({
      path,
      programs: [name],
      sizes: { views4: ENTRIES, views6: ENTRIES, events: RING_BYTES },
    })
    this.fd = this.#object.programFd(name) ?? -1
    this.#ring = Ring.open(this.#object.mapFd('events'), RING_BYTES)
    new Settings(this.#object.mapFd('settings')).tunnelPorts([])
    for (const hook of hooks)
      libbpf().bpf_map_update_elem(
        this.#object.mapFd('hooks'),
        new Uint32Array([hook]),
        new Uint8Array(32),
        0,
      )
    const drain = (map: 'views4' | 'views6', keySize: number, valueSize: number) =>
      new Drain({ fd: this.#object.mapFd(map), keySize, valueSize, maxEntries: ENTRIES, batch: true })
    this.#drains = [drain('views4', key4.size, view4.size), drain('views6', key6.size, view6.size)]
  }

  clear(): void {
    this.settle()
    this.#drains.forEach(empty)
  }

  settle(): void {
    while (this.#ring.read(() => undefined, 1 << 20) > 0);
  }

  entries(): number {
    return total(this.#drains)
  }

  close(): void {
    this.#ring.close()
    this.#object.close()
  }
}

function total(drains: readonly Drain[]): number {
  let sum = 0
  for (const drain of drains) sum += drain.read(() => undefined)
  return sum
}

/** Deletes all entries: keys are gathered first, since what is deleted while it is read moves the rest. */
function empty(drain: Drain): void {
  const keys: Uint32Array[] = []
  drain.read((words, _, count) => keys.push(words.slice(0, count * drain.keyWords)))
  for (const words of keys) drain.delete(words, words.length / drain.keyWords)
}
