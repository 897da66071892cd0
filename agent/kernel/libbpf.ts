// The functions of libbpf 1.x that vethflow uses, as they stand in bpf/libbpf.h and bpf/bpf.h. Loading and CO-RE are
// libbpf's work; maps and rings are read in TypeScript over what it opened. Functions that return int give a negative
// errno on failure (libbpf 1.0 and newer).

import { ExitCode, VethflowError } from '../errors.js'
import { koffi, type Pointer } from './ffi.js'
import { libc } from './libc.js'

/** Owned by whoever opened it; closed with bpf_object__close. */
export type ObjectPointer = bigint

export interface Libbpf {
  libbpf_set_print(print: Pointer): Pointer
  libbpf_num_possible_cpus(): number
  bpf_object__open_mem(bytes: Pointer, length: number, options: Pointer): ObjectPointer | null
  bpf_object__load(object: ObjectPointer): number
  bpf_object__close(object: ObjectPointer): void
  bpf_object__next_program(object: ObjectPointer, previous: Pointer): bigint | null
  bpf_program__name(program: bigint): string
  bpf_program__set_autoload(program: bigint, load: boolean): number
  bpf_program__fd(program: bigint): number
  bpf_object__find_map_by_name(object: ObjectPointer, name: string): bigint | null
  bpf_map__set_max_entries(map: bigint, count: number): number
  bpf_map__reuse_fd(map: bigint, fd: number): number
  bpf_map__fd(map: bigint): number
  bpf_map__key_size(map: bigint): number
  bpf_map__value_size(map: bigint): number
  bpf_map__max_entries(map: bigint): number
  bpf_map_create(
    type: number,
    name: string,
    keySize: number,
    valueSize: number,
    entries: number,
    options: Pointer,
  ): number
  bpf_prog_load(
    type: number,
    name: string,
    license: string,
    instructions: Pointer,
    count: number,
    options: Pointer,
  ): number
  bpf_map_lookup_elem(fd: number, key: Pointer, value: Pointer): number
  bpf_map_update_elem(fd: number, key: Pointer, value: Pointer, flags: number): number
  bpf_map_delete_elem(fd: number, key: Pointer): number
  bpf_map_get_next_key(fd: number, key: Pointer, next: Pointer): number
  bpf_map_lookup_batch(
    fd: number,
    from: Pointer,
    to: Pointer,
    keys: Pointer,
    values: Pointer,
    count: Pointer,
    options: Pointer,
  ): number
  bpf_map_delete_batch(fd: number, keys: Pointer, count: Pointer, options: Pointer): number
  bpf_link_create: AsideFunction<
    [programFd: number, ifindex: number, attachType: number, options: Pointer],
    number
  >
  bpf_prog_query(
    ifindex: number,
    attachType: number,
    flags: number,
    attachFlags: Pointer,
    ids: Pointer,
    count: Pointer,
  ): number
  bpf_obj_get_info_by_fd(fd: number, info: Pointer, length: Pointer): number
  bpf_prog_get_fd_by_id(id: number): number
  bpf_raw_tracepoint_open(name: Pointer, programFd: number): number
  bpf_iter_create(linkFd: number): number
}

/** A function that can also be called on a thread of libuv's (koffi's own word for it). */
export interface AsideFunction<Parameters extends unknown[], Result> {
  (...parameters: Parameters): Result
  async(...parameters: [...Parameters, callback: (error: Error | null, result: Result) => void]): void
}

/** enum bpf_map_type, bpf_prog_type and bpf_attach_type of linux/bpf.h. */
export const BPF_MAP_TYPE_HASH = 1
export const BPF_MAP_TYPE_RINGBUF = 27
export const BPF_PROG_TYPE_SCHED_CLS = 3
export const BPF_TCX_INGRESS = 46
export const BPF_TCX_EGRESS = 47
export const BPF_TRACE_ITER = 28

const LIBRARY = 'libbpf.so.1'
const SIGNATURES: Record<keyof Libbpf, string> = {
  libbpf_set_print: 'void *libbpf_set_print(void *)',
  libbpf_num_possible_cpus: 'int libbpf_num_possible_cpus()',
  bpf_object__open_mem: 'void *bpf_object__open_mem(void *, size_t, void *)',
  bpf_object__load: 'int bpf_object__load(void *)',
  bpf_object__close: 'void bpf_object__close(void *)',
  bpf_object__next_program: 'void *bpf_object__next_program(void *, void *)',
  bpf_program__name: 'str bpf_program__name(void *)',
  bpf_program__set_autoload: 'int bpf_program__set_autoload(void *, bool)',
  bpf_program__fd: 'int bpf_program__fd(void *)',
  bpf_object__find_map_by_name: 'void *bpf_object__find_map_by_name(void *, str)',
  bpf_map__set_max_entries: 'int bpf_map__set_max_entries(void *, uint32_t)',
  bpf_map__reuse_fd: 'int bpf_map__reuse_fd(void *, int)',
  bpf_map__fd: 'int bpf_map__fd(void *)',
  bpf_map__key_size: 'uint32_t bpf_map__key_size(void *)',
  bpf_map__value_size: 'uint32_t bpf_map__value_size(void *)',
  bpf_map__max_entries: 'uint32_t bpf_map__max_entries(void *)',
  bpf_map_create: 'int bpf_map_create(int, str, uint32_t, uint32_t, uint32_t, void *)',
  bpf_prog_load: 'int bpf_prog_load(int, str, str, void *, size_t, void *)',
  bpf_map_lookup_elem: 'int bpf_map_lookup_elem(int, void *, void *)',
  bpf_map_update_elem: 'int bpf_map_update_elem(int, void *, void *, uint64_t)',
  bpf_map_delete_elem: 'int bpf_map_delete_elem(int, void *)',
  bpf_map_get_next_key: 'int bpf_map_get_next_key(int, void *, void *)',
  bpf_map_lookup_batch: 'int bpf_map_lookup_batch(int, void *, void *, void *, void *, void *, void *)',
  bpf_map_delete_batch: 'int bpf_map_delete_batch(int, void *, void *, void *)',
  bpf_link_create: 'int bpf_link_create(int, int, int, void *)',
  bpf_prog_query: 'int bpf_prog_query(int, int, uint32_t, void *, void *, void *)',
  bpf_obj_get_info_by_fd: 'int bpf_obj_get_info_by_fd(int, void *, void *)',
  bpf_prog_get_fd_by_id: 'int bpf_prog_get_fd_by_id(uint32_t)',
  bpf_raw_tracepoint_open: 'int bpf_raw_tracepoint_open(void *, int)',
  bpf_iter_create: 'int bpf_iter_create(int)',
}

let loaded: Libbpf | undefined

/** libbpf. Throws LIBBPF_MISSING (exit code 69) where it is not installed or too old. `name` is for tests. */
export function libbpf(name: string = LIBRARY): Libbpf {
  if (loaded !== undefined && name === LIBRARY) return loaded
  try {
    const library = koffi().load(name)
    const functions = Object.fromEntries(
      Object.entries(SIGNATURES).map(([symbol, signature]) => [symbol, library.func(signature)]),
    ) as unknown as Libbpf
    functions.libbpf_set_print(printer())
    if (name === LIBRARY) loaded = functions
    return functions
  } catch (cause) {
    if (cause instanceof VethflowError) throw cause
    throw new VethflowError('LIBBPF_MISSING', `the library ${name} cannot be used`, {
      cause,
      exitCode: ExitCode.UNAVAILABLE,
      hint: 'Install libbpf 1.0 or newer (Debian and Ubuntu: libbpf1; Fedora: libbpf; Alpine: libbpf)',
    })
  }
}

const MESSAGE_SIZE = 1024
const MAX_MESSAGES = 50
let messages: string[] | undefined
let callback: bigint | undefined

/**
 * Runs `load` and returns with its result what libbpf had to say (warnings only, the first 50). Otherwise libbpf is
 * silent: it would write to stderr.
 */
export function withMessages<T>(load: () => T): { result: T; messages: string[] } {
  const gathered: string[] = []
  messages = gathered
  try {
    return { result: load(), messages: gathered }
  } finally {
    messages = undefined
  }
}

/** libbpf's print function, made once: `int (*)(enum libbpf_print_level, const char *, va_list)`. */
function printer(): bigint {
  if (callback !== undefined) return callback
  const buffer = Buffer.alloc(MESSAGE_SIZE)
  // A va_list travels as a pointer: an array on x86-64, a structure passed by reference on arm64.
  const type = koffi().proto('int vethflow_print(int, void *, void *)')
  callback = koffi().register((level: number, format: bigint, list: bigint): number => {
    if (level !== 0 || messages === undefined || messages.length >= MAX_MESSAGES) return 0
    const length = Math.min(libc().vsnprintf(buffer, MESSAGE_SIZE, format, list), MESSAGE_SIZE - 1)
    if (length > 0) messages.push(buffer.toString('utf8', 0, length).trim())
    return 0
  }, koffi().pointer(type))
  return callback
}
