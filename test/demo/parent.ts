// A SIGINT that reaches make alone (a supervisor's kill, not a terminal's Ctrl-C): make does not pass it on, it waits for
// its recipe. While it does, it no longer catches the signal, which /proc tells (proc_pid_status(5), SigCgt).

import { readFileSync } from 'node:fs'

const SIGINT_BIT = 1n << 1n
const LOOK_EVERY_MS = 200

/** Calls `interrupted` once make, if it is what started this process, got a SIGINT. Returns a function that stops looking. */
export function onParentInterrupted(interrupted: () => void): () => void {
  const parent = process.ppid
  if (statusOf(parent, 'Name') !== 'make' || !catchesInterrupt(parent)) return () => undefined
  const timer = setInterval(() => {
    // When make is gone altogether its end arrives as a signal of its own (PR_SET_PDEATHSIG).
    if (process.ppid !== parent || catchesInterrupt(parent)) return
    clearInterval(timer)
    interrupted()
  }, LOOK_EVERY_MS)
  timer.unref()
  return () => clearInterval(timer)
}

function catchesInterrupt(pid: number): boolean {
  const mask = statusOf(pid, 'SigCgt')
  return mask !== undefined && (BigInt(`0x${mask}`) & SIGINT_BIT) !== 0n
}

function statusOf(pid: number, field: string): string | undefined {
  try {
    return new RegExp(`^${field}:\\s*(\\S+)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}
