// Opens shared libraries through koffi and speaks of kernel error numbers. koffi is loaded at the first call, so that
// commands which never touch the kernel do not pay for it. koffi is loaded into the main thread alone, and calls are
// synchronous but for the one that waits (tcx.ts), one at a time.

import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { ExitCode, VethflowError } from '../errors.js'
import { type Capability, permissionError } from './permission.js'

type Koffi = typeof import('koffi')

/** What may be passed where C takes `void *`: an address, memory of ours, or NULL. */
export type Pointer = bigint | NodeJS.TypedArray | null

let loaded: Koffi | undefined

/** The koffi module. Throws FFI_MISSING (exit code 69) where it has no binary for this platform. */
export function koffi(): Koffi {
  if (loaded !== undefined) return loaded
  try {
    loaded = createRequire(import.meta.url)('koffi') as Koffi
    return loaded
  } catch (cause) {
    throw new VethflowError('FFI_MISSING', 'the native interface koffi cannot be loaded', {
      cause,
      exitCode: ExitCode.UNAVAILABLE,
      hint: 'Install with npm ci on this machine, with optional dependencies',
    })
  }
}

/** errno of the last call that failed, as a positive number. */
export function errno(): number {
  return koffi().errno()
}

/** The address of memory of ours. It is good for as long as the caller holds on to `memory`. */
export function address(memory: NodeJS.TypedArray): bigint {
  return koffi().address(memory)
}

export const Errno = {
  EPERM: constants.errno.EPERM,
  ENOENT: constants.errno.ENOENT,
  EINTR: constants.errno.EINTR,
  EAGAIN: constants.errno.EAGAIN,
  ENOMEM: constants.errno.ENOMEM,
  EACCES: constants.errno.EACCES,
  EBUSY: constants.errno.EBUSY,
  EEXIST: constants.errno.EEXIST,
  ENODEV: constants.errno.ENODEV,
  EINVAL: constants.errno.EINVAL,
  ENOSPC: constants.errno.ENOSPC,
  ERANGE: constants.errno.ERANGE,
  EOPNOTSUPP: constants.errno.EOPNOTSUPP,
  ENOBUFS: constants.errno.ENOBUFS,
  /** Inside the kernel only, and yet it comes out of bpf(2): "not supported". */
  ENOTSUPP: 524,
} as const

/** EINVAL, ENOENT… for a number; libbpf's own numbers from 4000 on by number. */
export function errnoName(number: number): string {
  if (number === Errno.ENOTSUPP) return 'ENOTSUPP'
  try {
    return getSystemErrorName(-number)
  } catch {
    return `error ${number}`
  }
}

/** True for numbers that say "the kernel does not know this". */
export function isUnsupported(number: number): boolean {
  return number === Errno.EINVAL || number === Errno.EOPNOTSUPP || number === Errno.ENOTSUPP
}

export interface KernelErrorOptions {
  hint?: string
  /** What a refusal would be for want of. */
  needs?: readonly Capability[]
  exitCode?: number
}

/**
 * An error for a kernel call that failed with `number` (positive or negative errno) while trying to `action`
 * ("attach to eth0"). A refusal becomes NO_PERMISSION.
 */
export function kernelError(
  code: string,
  action: string,
  number: number,
  options: KernelErrorOptions = {},
): VethflowError {
  const name = errnoName(Math.abs(number))
  const cause = new Error(name)
  if (name === 'EPERM' || name === 'EACCES') return permissionError(action, options.needs, cause)
  return new VethflowError(code, `cannot ${action}`, {
    cause,
    ...(options.hint === undefined ? {} : { hint: options.hint }),
    ...(options.exitCode === undefined ? {} : { exitCode: options.exitCode }),
  })
}
