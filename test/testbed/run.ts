// Runs a command to its end and says what it printed. May not leave a process behind: whatever outlives its time is
// killed by its id.

import { spawn, spawnSync } from 'node:child_process'

export interface RunOptions {
  /** Written to stdin, which is closed after it. */
  readonly input?: string
  /** Killed after this; 30 s unless given. */
  readonly timeoutMs?: number
  /** Exit codes that are no failure; [0] unless given. */
  readonly accept?: readonly number[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface RunResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A command that failed; the message holds the command, the exit code and the end of what it said. */
export class RunError extends Error {
  readonly result: RunResult
  constructor(argv: readonly string[], result: RunResult, why: string) {
    const said = (result.stderr.trim() || result.stdout.trim()).slice(-2000)
    super(`${argv.join(' ')}: ${why}${said === '' ? '' : `\n${said}`}`)
    this.name = 'RunError'
    this.result = result
  }
}

/** Runs `argv` and resolves when it ended. Throws RunError for an exit code that is not accepted, or after timeoutMs. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file, ...rest] = argv
  if (file === undefined) throw new Error('run needs a command')
  return new Promise((resolve, reject) => {
    const child = spawn(file, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.env === undefined ? {} : { env: { ...process.env, ...options.env } }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    })
    let stdout = ''
    let stderr = ''
    let late = false
    const timeoutMs = options.timeoutMs ?? 30_000
    const timer = setTimeout(() => {
      late = true
      child.kill('SIGKILL')
    }, timeoutMs)
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.stdin.on('error', () => undefined) // a command that does not read its input
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(new RunError(argv, { code: -1, stdout, stderr }, error.message))
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      const result = { code: code ?? -1, stdout, stderr }
      if (late) reject(new RunError(argv, result, `not done after ${timeoutMs} ms`))
      else if (code !== null && (options.accept ?? [0]).includes(code)) resolve(result)
      else reject(new RunError(argv, result, code === null ? `ended by ${signal}` : `exit code ${code}`))
    })
    child.stdin.end(options.input ?? '')
  })
}

/** The same, blocking: for the way out of a process, where nothing can be awaited. Never throws. */
export function runNow(argv: readonly string[], input = ''): RunResult {
  const [file, ...rest] = argv
  const { status, stdout, stderr } = spawnSync(file ?? '', rest, { input, encoding: 'utf8', timeout: 30_000 })
  return { code: status ?? -1, stdout: stdout ?? '', stderr: stderr ?? '' }
}
