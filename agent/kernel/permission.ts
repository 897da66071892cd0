// Turns a refusal by the kernel (EPERM, EACCES) into an error that names the capability which is lacking. It reads
// /proc/self/status and changes nothing.

import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { ExitCode, VethflowError } from '../errors.js'

/** Bit numbers of linux/capability.h. */
const CAPABILITY = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_PERFMON: 38, CAP_BPF: 39 } as const
export type Capability = keyof typeof CAPABILITY

/** What loading and attaching needs (kernel 5.8 and newer). */
export const NEEDED: readonly Capability[] = ['CAP_BPF', 'CAP_NET_ADMIN', 'CAP_PERFMON']

/** The effective capabilities in a text like /proc/self/status, as a bit set; 0n when it says nothing. */
export function effectiveCapabilities(status: string): bigint {
  const match = /^CapEff:\s*([\da-fA-F]+)$/m.exec(status)
  return match === null ? 0n : BigInt(`0x${match[1]}`)
}

/** Those of `needed` that the set lacks. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as in the kernel. */
export function missingCapabilities(needed: readonly Capability[], effective: bigint): Capability[] {
  const has = (name: Capability): boolean => ((effective >> BigInt(CAPABILITY[name])) & 1n) === 1n
  return needed.filter(
    (name) => !has(name) && !((name === 'CAP_BPF' || name === 'CAP_PERFMON') && has('CAP_SYS_ADMIN')),
  )
}

/**
 * Throws NO_PERMISSION when this process lacks what loading and attaching needs: before anything is tried, since where
 * there is no interface yet nothing would be refused. Where /proc says nothing of it, the kernel's refusals will.
 */
export function requireCapabilities(): void {
  const effective = ownCapabilities()
  if (effective === undefined || missingCapabilities(NEEDED, effective).length === 0) return
  throw permissionError('capture')
}

/** True when this process lacks a capability that loading and attaching needs. */
export function lacksCapability(): boolean {
  return missingCapabilities(NEEDED, ownCapabilities() ?? 0n).length > 0
}

/**
 * NO_PERMISSION (exit code 77) for a refused `action` ("load the BPF programs"), naming what this process lacks of
 * `needed`. When it lacks nothing, somebody else refused: a user namespace, a security module, lockdown.
 */
export function permissionError(
  action: string,
  needed: readonly Capability[] = NEEDED,
  cause?: unknown,
): VethflowError {
  const missing = missingCapabilities(needed, ownCapabilities() ?? 0n)
  const options = { exitCode: ExitCode.NO_PERMISSION, ...(cause === undefined ? {} : { cause }) }
  if (missing.length > 0)
    return new VethflowError(
      'NO_PERMISSION',
      `no permission to ${action}: ${list(missing)} ${missing.length === 1 ? 'is' : 'are'} lacking`,
      {
        ...options,
        hint: `Run as root, or grant ${list(needed)}`,
      },
    )
  const locked = lockedMemory(read('/proc/self/limits'), release())
  if (locked !== undefined)
    return new VethflowError('NO_PERMISSION', `no permission to ${action}: ${locked}`, {
      ...options,
      hint: 'Raise the limit (ulimit -l unlimited, LimitMEMLOCK=infinity), or grant CAP_SYS_RESOURCE',
    })
  return new VethflowError(
    'NO_PERMISSION',
    `no permission to ${action}, though ${list(needed)} ${needed.length === 1 ? 'is' : 'are'} there: a user namespace or a security module forbids it`,
    { ...options, hint: 'Run in the initial user namespace, and look for denials in the kernel log' },
  )
}

/**
 * Before Linux 5.11 BPF maps count as locked memory, and too little of it is refused like the lack of a permission. What
 * there is to say of that from a text like /proc/self/limits and a kernel release; undefined: nothing.
 */
export function lockedMemory(limits: string | undefined, kernel: string): string | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(kernel) ?? []
  if (major === undefined || Number(major) > 5 || (Number(major) === 5 && Number(minor) >= 11))
    return undefined
  const soft = /^Max locked memory\s+(\d+)\s/m.exec(limits ?? '')?.[1]
  if (soft === undefined) return undefined
  return `before Linux 5.11 maps are locked memory, of which this process may have ${Math.floor(Number(soft) / 1024)} KiB`
}

function ownCapabilities(): bigint | undefined {
  const status = read('/proc/self/status')
  return status === undefined ? undefined : effectiveCapabilities(status)
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

function list(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`
}
