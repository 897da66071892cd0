// The error of a program that the kernel's verifier refused: a summary first, the whole log on demand.

import { ExitCode, VethflowError } from '../errors.js'

/** Code VERIFIER (exit code 69). `log` is everything the verifier wrote; it can be megabytes. */
export class VerifierError extends VethflowError {
  readonly log: string

  constructor(log: string, cause: unknown) {
    super('VERIFIER', `the kernel's verifier refused a program: ${summary(log)}`, {
      cause,
      exitCode: ExitCode.UNAVAILABLE,
      hint: 'Report it with the kernel version (uname -r); VETHFLOW_DEBUG=1 prints the whole log of the verifier',
    })
    this.name = 'VerifierError'
    this.log = log
  }
}

/** The last line of a verifier log that speaks of the program and not of statistics. */
export function summary(log: string): string {
  const lines = log.split('\n').filter((line) => line.trim() !== '')
  const told = lines.filter(
    (line) => !/^(processed \d+ insns|verification time|stack depth|max_states)/.test(line),
  )
  return (told[told.length - 1] ?? 'it gave no reason').slice(0, 300)
}
