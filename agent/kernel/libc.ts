// The few calls of the C library that Node does not offer: memory maps, netlink sockets, network namespaces, its heap. Names and
// meanings are those of the manual pages. Results are the calls' own; -1 is followed by errno().

import { koffi, type Pointer } from './ffi.js'

export interface Libc {
  mmap(
    address: Pointer,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ): bigint
  munmap(address: bigint, length: number): number
  getpagesize(): number
  fcntl(fd: number, command: number, value: number): number
  setns(fd: number, type: number): number
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, address: Pointer, length: number): number
  setsockopt(fd: number, level: number, name: number, value: Pointer, length: number): number
  send(fd: number, bytes: Pointer, length: number, flags: number): number
  recv(fd: number, bytes: Pointer, length: number, flags: number): number
  vsnprintf(buffer: Pointer, size: number, format: Pointer, list: Pointer): number
  /** glibc's own; absent with musl, whose heap gives back what is free without being told. */
  readonly malloc_trim: ((pad: number) => number) | undefined
  readonly mallopt: ((parameter: number, value: number) => number) | undefined
}

export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_SHARED = 1
/** mmap(2) returns it on failure; koffi gives addresses as unsigned. */
export const MAP_FAILED = 2n ** 64n - 1n
export const CLONE_NEWNET = 0x40000000
export const F_DUPFD_CLOEXEC = 1030

let loaded: Libc | undefined

/** The C library this process runs on, glibc or musl. */
export function libc(): Libc {
  if (loaded !== undefined) return loaded
  const library = koffi().load(null)
  const optional = (signature: string): ((...values: number[]) => number) | undefined => {
    try {
      return library.func(signature) as (...values: number[]) => number
    } catch {
      return undefined
    }
  }
  loaded = {
    mmap: library.func('void *mmap(void *, size_t, int, int, int, long)'),
    munmap: library.func('int munmap(void *, size_t)'),
    getpagesize: library.func('int getpagesize()'),
    fcntl: library.func('int fcntl(int, int, long)'),
    setns: library.func('int setns(int, int)'),
    socket: library.func('int socket(int, int, int)'),
    bind: library.func('int bind(int, void *, uint32_t)'),
    setsockopt: library.func('int setsockopt(int, int, int, void *, uint32_t)'),
    send: library.func('long send(int, void *, size_t, int)'),
    recv: library.func('long recv(int, void *, size_t, int)'),
    vsnprintf: library.func('int vsnprintf(void *, size_t, void *, void *)'),
    malloc_trim: optional('int malloc_trim(size_t)'),
    mallopt: optional('int mallopt(int, int)'),
  }
  return loaded
}
