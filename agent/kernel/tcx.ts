// tcx (kernel 6.6 and newer): a program on one direction of an interface, held by a BPF link that goes with the file
// descriptor, so also when the process is killed. Always at the head of the chain: behind a program that ends it
// (TCX_PASS, a redirect) we would see nothing.

import { close, closeSync } from 'node:fs'
import { Errno, errnoName } from './ffi.js'
import { BPF_TCX_EGRESS, BPF_TCX_INGRESS, libbpf } from './libbpf.js'
import type { SlowCall } from './slow-call.js'

const BPF_F_BEFORE = 1 << 3
const MAX_CHAIN = 64
/** struct bpf_link_create_opts of libbpf 1.1. */
const LINK_CREATE_OPTIONS_SIZE = 64

/** The same for every call and never changed: it is read on another thread. */
const AT_HEAD = ((): Buffer => {
  const options = Buffer.alloc(LINK_CREATE_OPTIONS_SIZE)
  options.writeUInt32LE(LINK_CREATE_OPTIONS_SIZE, 0)
  options.writeUInt32LE(BPF_F_BEFORE, 8)
  return options
})()

/** Puts a program at the head. Gives the link's file descriptor, which the caller closes, or a negative errno. */
export function createTcxLink(programFd: number, ifindex: number, egress: boolean): SlowCall {
  const hook = hookOf(egress)
  return {
    now: () => libbpf().bpf_link_create(programFd, ifindex, hook, AT_HEAD),
    aside: () =>
      new Promise((resolve, reject) => {
        libbpf().bpf_link_create.async(programFd, ifindex, hook, AT_HEAD, (error, result) =>
          error === null ? resolve(result) : reject(error),
        )
      }),
  }
}

/** Closes a link, which takes the program off the hook. Gives 0. */
export function closeTcxLink(linkFd: number): SlowCall {
  return {
    now: () => {
      closeSync(linkFd)
      return 0
    },
    aside: () =>
      new Promise((resolve, reject) => close(linkFd, (error) => (error ? reject(error) : resolve(0)))),
  }
}

/** Ids of the programs on the hook in the order in which they run, the first 64; a negative errno when it cannot say. */
export function queryTcx(ifindex: number, egress: boolean): readonly number[] | number {
  const ids = new Uint32Array(MAX_CHAIN)
  const count = new Uint32Array([MAX_CHAIN])
  const result = libbpf().bpf_prog_query(ifindex, hookOf(egress), 0, null, ids, count)
  if (result !== 0 && result !== -Errno.ENOSPC) return result
  return [...ids.subarray(0, Math.min(count[0] ?? 0, MAX_CHAIN))]
}

/** Id of a loaded program. */
export function programId(programFd: number): number {
  // struct bpf_prog_info: type, then id.
  const info = new Uint32Array(64)
  const result = libbpf().bpf_obj_get_info_by_fd(programFd, info, new Uint32Array([info.byteLength]))
  if (result !== 0) throw new Error(`the program's id cannot be read: ${errnoName(-result)}`)
  return info[1] ?? 0
}

/** The name the kernel keeps for a program (15 characters); '' when it has gone, or without CAP_SYS_ADMIN. */
export function programName(id: number): string {
  const fd = libbpf().bpf_prog_get_fd_by_id(id)
  if (fd < 0) return ''
  try {
    const info = Buffer.alloc(256)
    if (libbpf().bpf_obj_get_info_by_fd(fd, info, new Uint32Array([info.length])) !== 0) return ''
    const name = info.subarray(PROGRAM_NAME_OFFSET, PROGRAM_NAME_OFFSET + 16)
    const end = name.indexOf(0)
    return name.toString('utf8', 0, end < 0 ? name.length : end)
  } finally {
    closeSync(fd)
  }
}

/** Of `name` in struct bpf_prog_info. */
const PROGRAM_NAME_OFFSET = 64

function hookOf(egress: boolean): number {
  return egress ? BPF_TCX_EGRESS : BPF_TCX_INGRESS
}
