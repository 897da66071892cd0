// Turns a refusal by the kernel (EPERM, EACCES) into an error that names the capability which is lacking. It reads
// /proc/self/status and changes nothing.

import { readFileSync } from 'node:fs'
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

/** True when this process lacks a capability that loading and attaching needs. */
export function lacksCapability(): boolean {
  return missingCapabilities(NEEDED, ownCapabilities()).length > 0
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
  const missing = missingCapabilities(needed, ownCapabilities())
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
  return new VethflowError(
    'NO_PERMISSION',
    `no permission to ${action}, though ${list(needed)} ${needed.length === 1 ? 'is' : 'are'} there: a user namespace or a security module forbids it`,
    { ...options, hint: 'Run in the initial user namespace, and look for denials in the kernel log' },
  )
}

function ownCapabilities(): bigint {
  try {
    return effectiveCapabilities(readFileSync('/proc/self/status', 'utf8'))
  } catch {
    return 0n
  }
}

function list(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`
}
