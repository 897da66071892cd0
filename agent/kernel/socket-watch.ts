// Whose sockets they are, as records: those that open and close come through a ring as they do, those that are there (and
// UDP's) through walks over all open files. A walk is read by the thread pool, a piece at a time: it never holds up the
// event loop. It keeps nothing of what it tells.

import { close as closeFile, read as readFile, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Errno } from './ffi.js'
import { libbpf } from './libbpf.js'
import { Ring } from './ring.js'
import {
  CGROUP_LEVELS,
  CGROUP_NAME,
  cgroup_record as G,
  socket_record as R,
  socket_kind,
} from './socket-layout.gen.js'
import { SocketPrograms } from './socket-programs.js'

/** Takes what is told. The memory is good for the time of the call. */
export interface SocketSink {
  /** A struct socket_record (socket-layout.gen.ts), its first word at `words[at]`. */
  socket(words: Uint32Array, at: number): void
  /**
   * The name of a control group whose key was, or will be, that of a socket_owner: its paths on the unified hierarchy and
   * on that of the memory controller where that is another one, from the root down, cut at the front when they are long.
   */
  cgroup(key: string, paths: readonly string[]): void
}

export interface SocketWatchOptions {
  /** Folder of socket.bpf.o. */
  readonly objectDir: string
  readonly loopback?: boolean
}

const RING_BYTES = 512 * 1024
/** More than the kernel gives with one read (kernel/bpf/bpf_iter.c: eight pages). */
const WALK_BYTES = 64 * 1024
/** Records taken by one read of the ring. */
const READ_LIMIT = 16_384
/** include/linux/proc_ns.h: PROC_PID_INIT_INO. */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]'

const read = promisify(readFile)
const close = promisify(closeFile)

/** A key as SocketSink has it, of the two words at `words[at]`. */
export function cgroupKey(words: Uint32Array, at: number): string {
  return `${words[at + 1]}:${words[at]}`
}

/** True when a walk sees the processes of the whole node, and not just those of a container. */
export function seesAllProcesses(): boolean {
  try {
    return readlinkSync('/proc/self/ns/pid') === INITIAL_PID_NAMESPACE
  } catch {
    return false
  }
}

/** Used from the main thread. Close it. */
export class SocketWatch {
  readonly ownNetns: number
  /** Of the last walk: milliseconds from its beginning to its end, and sockets found. */
  lastWalk = { ms: 0, sockets: 0 }
  readonly #programs: SocketPrograms
  readonly #ring: Ring
  #walking: Promise<void> | undefined
  #closed = false

  private constructor(programs: SocketPrograms, ring: Ring) {
    this.#programs = programs
    this.#ring = ring
    this.ownNetns = programs.ownNetns
  }

  /** Throws what SocketPrograms throws, and RING_MAP. */
  static open(options: SocketWatchOptions): SocketWatch {
    const programs = new SocketPrograms({
      path: join(options.objectDir, 'socket.bpf.o'),
      loopback: options.loopback ?? false,
    })
    try {
      return new SocketWatch(programs, Ring.open(programs.mapFd('socket_events'), RING_BYTES))
    } catch (error) {
      programs.close()
      throw error
    }
  }

  /** Gives what has been told since the last call. No system call. */
  read(sink: SocketSink): void {
    this.#ring.read((words, at, length) => this.#take(words, at, length, sink), READ_LIMIT)
  }

  /**
   * Walks over all open files and gives their sockets; nothing when a walk is under way. Resolves when it is done, and
   * rejects where the kernel does not let us.
   */
  async walk(sink: SocketSink): Promise<void> {
    if (this.#walking !== undefined || this.#closed) return
    this.#walking = this.#walk(sink)
    try {
      await this.#walking
    } finally {
      this.#walking = undefined
    }
  }

  /** Lets the kernel tell the name of a control group again, once it is spoken of. */
  forgetCgroup(key: string): void {
    const [high, low] = key.split(':').map(Number)
    libbpf().bpf_map_delete_elem(
      this.#programs.mapFd('socket_cgroups'),
      new Uint32Array([low ?? 0, high ?? 0]),
    )
  }

  /** Records that found the ring full, since the start. */
  lost(): number {
    const perCpu = new BigUint64Array(libbpf().libbpf_num_possible_cpus())
    const fd = this.#programs.mapFd('socket_losses')
    if (libbpf().bpf_map_lookup_elem(fd, new Uint32Array(1), perCpu) !== 0) return 0
    return Number(perCpu.reduce((sum, count) => sum + count, 0n))
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#ring.close()
    this.#programs.close()
  }

  async #walk(sink: SocketSink): Promise<void> {
    const fd = this.#programs.startWalk()
    const bytes = Buffer.alloc(WALK_BYTES)
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, WALK_BYTES / 4)
    const began = performance.now()
    let sockets = 0
    let held = 0
    try {
      while (!this.#closed) {
        let length: number
        try {
          length = (await read(fd, bytes, held, WALK_BYTES - held, null)).bytesRead
        } catch (error) {
          // a million files without a socket among them: the kernel wants to be asked again
          if (isTryAgain(error)) continue
          throw error
        }
        if (length === 0) break
        held += length
        const whole = held - (held % R.size)
        for (let at = 0; at < whole; at += R.size) sink.socket(words, at / 4)
        sockets += whole / R.size
        bytes.copyWithin(0, whole, held)
        held -= whole
      }
    } finally {
      await close(fd)
    }
    this.lastWalk = { ms: performance.now() - began, sockets }
  }

  #take(words: Uint32Array, at: number, length: number, sink: SocketSink): void {
    const kind = (words[at + R.kind / 4] ?? 0) & 0xff
    if (kind === socket_kind.SOCKET_CGROUP) {
      if (length < G.size) return
      const bytes = Buffer.from(words.buffer, words.byteOffset + at * 4, length)
      const paths = [pathOf(bytes, G.unified), pathOf(bytes, G.memory)].filter((path) => path !== '')
      sink.cgroup(cgroupKey(words, at + G.key / 4), paths)
    } else if (length >= R.size) sink.socket(words, at)
  }
}

/** The names of a chain as a path; '' for the root. */
function pathOf(bytes: Buffer, from: number): string {
  let path = ''
  for (let level = 0; level < CGROUP_LEVELS; level++) {
    const start = from + level * CGROUP_NAME
    const end = bytes.indexOf(0, start)
    if (end === start) break
    path = `/${bytes.toString('utf8', start, end < 0 ? start + CGROUP_NAME : Math.min(end, start + CGROUP_NAME))}${path}`
  }
  return path
}

function isTryAgain(error: unknown): boolean {
  return (error as { errno?: number }).errno === -Errno.EAGAIN
}
