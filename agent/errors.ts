// The one error that people see: a stable code, a clear sentence, the cause, and what to do about it.
// Part of the shared vocabulary; every stage may import it.

/** Exit codes of the `vethflow` command (docs/contract.md). */
export const ExitCode = {
  DONE: 0,
  FAILED: 1,
  USAGE: 2,
  NOT_REACHABLE: 3,
  UNAVAILABLE: 69,
  NO_PERMISSION: 77,
} as const

export interface VethflowErrorOptions {
  /** What lies beneath; its message is appended when the error is printed. */
  cause?: unknown
  /** What a person can do about it, as an imperative sentence. */
  hint?: string
  /** Exit code when this ends the process; FAILED unless given. */
  exitCode?: number
}

/** An error with a stable upper-snake-case `code`. `message` is one sentence without a trailing period. */
export class VethflowError extends Error {
  readonly code: string
  readonly hint: string | undefined
  readonly exitCode: number

  constructor(code: string, message: string, options: VethflowErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'VethflowError'
    this.code = code
    this.hint = options.hint
    this.exitCode = options.exitCode ?? ExitCode.FAILED
  }
}

/** A usage error: names the flag or the value and what would be accepted. Exit code 2. */
export function usageError(message: string, hint?: string): VethflowError {
  return new VethflowError('USAGE', message, {
    exitCode: ExitCode.USAGE,
    ...(hint === undefined ? {} : { hint }),
  })
}

/** One line for a terminal or a log: `CODE: message: cause. Hint.` Never a stack trace. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = error instanceof VethflowError ? `${error.code}: ` : ''
  const causes: string[] = []
  for (let cause = error.cause, depth = 0; cause !== undefined && depth < 4; depth++) {
    const text = cause instanceof Error ? cause.message : String(cause)
    if (text !== '' && !error.message.includes(text)) causes.push(text)
    cause = cause instanceof Error ? cause.cause : undefined
  }
  const hint = error instanceof VethflowError && error.hint !== undefined ? `. ${error.hint}` : ''
  return `${code}${[error.message, ...causes].join(': ')}${hint}`.replaceAll(/\s*\n\s*/g, ' ')
}

const FILE_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'a part of its path is no directory',
  EISDIR: 'it is a directory',
  EACCES: 'this user may not read it',
  EPERM: 'this user may not read it',
  ELOOP: 'its links lead round in a circle',
  ENAMETOOLONG: 'its name is too long',
}

/** Why a file could not be read, in words. */
export function fileProblem(cause: unknown): string {
  const code: unknown = cause instanceof Error ? Reflect.get(cause, 'code') : undefined
  const known = typeof code === 'string' ? FILE_PROBLEMS[code] : undefined
  if (known !== undefined) return known
  return cause instanceof Error ? (cause.message.split('\n', 1)[0] ?? '') : String(cause)
}
