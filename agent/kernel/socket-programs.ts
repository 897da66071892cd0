// The socket programs (bpf/socket.bpf.c) in the kernel: loads them, hangs them on their tracepoints, makes walks over open
// files. What they tell is read by socket-watch.ts.

import { closeSync, statSync } from 'node:fs'
import { returnFreeMemory } from './c-heap.js'
import { readElf } from './elf.js'
import { Errno, errno, kernelError } from './ffi.js'
import { checkLayout, mismatch } from './layout/check.js'
import { BPF_TRACE_ITER, libbpf, type ObjectPointer, withMessages } from './libbpf.js'
import {
  duplicate,
  LOG_SIZE,
  loadError,
  openMemory,
  readObject,
  selectPrograms,
  setConstant,
} from './object.js'
import { layout } from './socket-layout.gen.js'

const TRACEPOINTS = ['socket_state', 'socket_retransmit'] as const
const WALK = 'socket_walk'
const MAPS = ['socket_events', 'socket_losses', 'socket_cgroups'] as const

export interface SocketProgramsOptions {
  /** Path of socket.bpf.o. */
  readonly path: string
  /** Tell of connections over loopback addresses, too. */
  readonly loopback: boolean
}

/** Loaded and attached. Closed by whoever opened it; a killed process leaves nothing. */
export class SocketPrograms {
  /** Inode number of the network namespace that this thread was in when it was opened. */
  readonly ownNetns: number
  readonly #maps = new Map<string, number>()
  /** Descriptors to be closed: maps and attachments. */
  readonly #fds: number[] = []
  #walk = -1

  /** Throws OBJECT_MISSING, LAYOUT_MISMATCH, NO_PERMISSION, VerifierError, BPF_LOAD or SOCKET_WATCH. */
  constructor(options: SocketProgramsOptions) {
    const bytes = readObject(options.path)
    const elf = readElf(bytes)
    checkLayout(elf, layout)
    this.ownNetns = statSync('/proc/thread-self/ns/net').ino
    setConstant(elf, 'own_netns', this.ownNetns)
    setConstant(elf, 'with_loopback', options.loopback ? 1 : 0)
    const log = Buffer.alloc(LOG_SIZE)
    try {
      const { result, messages } = withMessages(() => {
        const object = openMemory(bytes, log)
        if (object === null) return -errno()
        try {
          const programs = selectPrograms(object, [...TRACEPOINTS, WALK])
          const loaded = libbpf().bpf_object__load(object)
          if (loaded === 0) this.#takeOver(object, programs)
          return loaded
        } finally {
          // what is attached and what is duplicated stays
          libbpf().bpf_object__close(object)
          returnFreeMemory()
        }
      })
      if (result !== 0) throw loadError(options.path, result, log, messages)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** File descriptor of a map, closed with this. */
  mapFd(name: (typeof MAPS)[number]): number {
    const fd = this.#maps.get(name)
    if (fd === undefined) throw mismatch(`map ${name} is missing`)
    return fd
  }

  /** A file whose content is one walk over all open files: whoever asks for it reads it to its end and closes it. */
  startWalk(): number {
    const fd = libbpf().bpf_iter_create(this.#walk)
    if (fd < 0) throw kernelError('SOCKET_WATCH', 'walk over the open files', fd)
    return fd
  }

  /** Idempotent. A walk that is under way goes on to its end. */
  close(): void {
    for (const fd of this.#fds.splice(0)) closeSync(fd)
    this.#maps.clear()
    this.#walk = -1
  }

  #takeOver(object: ObjectPointer, programs: ReadonlyMap<string, bigint>): void {
    for (const name of MAPS) {
      const map = libbpf().bpf_object__find_map_by_name(object, name)
      if (map === null) throw mismatch(`map ${name} is missing`)
      const fd = duplicate(libbpf().bpf_map__fd(map))
      this.#fds.push(fd)
      this.#maps.set(name, fd)
    }
    const programFd = (name: string): number => {
      const program = programs.get(name)
      return program === undefined ? -Errno.ENOENT : libbpf().bpf_program__fd(program)
    }
    this.#walk = libbpf().bpf_link_create(programFd(WALK), 0, BPF_TRACE_ITER, null)
    if (this.#walk < 0) throw kernelError('SOCKET_WATCH', 'prepare walks over the open files', this.#walk)
    this.#fds.push(this.#walk)
    for (const name of TRACEPOINTS) {
      const fd = libbpf().bpf_raw_tracepoint_open(null, programFd(name))
      if (fd < 0) throw kernelError('SOCKET_WATCH', `watch sockets by ${name}`, fd)
      this.#fds.push(fd)
    }
  }
}
