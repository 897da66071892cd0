// A process that goes on while the test does: its lines can be awaited, and it is ended by its id.
// Dies with the process that started it (PR_SET_PDEATHSIG), also when that one is killed.

import { type ChildProcess, spawn } from 'node:child_process'

/** What is kept of each stream; the rest of the front is dropped. */
const KEPT_CHARACTERS = 4 << 20

export interface TaskOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Written to stdin, which is closed after it; without it stdin is empty. */
  readonly input?: string
  /** Where output goes: kept and awaitable ('keep', the default), or to this process's own ('inherit'). */
  readonly stdout?: 'keep' | 'inherit'
  readonly stderr?: 'keep' | 'inherit'
}

export interface TaskEnd {
  /** null when a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

interface Waiter {
  readonly pattern: RegExp
  readonly resolve: (match: RegExpExecArray) => void
  readonly reject: (error: Error) => void
}

/** Whoever starts a task owns it; a Testbed ends all tasks of its namespaces when it closes. */
export class Task {
  readonly argv: readonly string[]
  readonly pid: number
  /** Resolves when the process ended and its output was read; never rejects. */
  readonly ended: Promise<TaskEnd>
  stdout = ''
  stderr = ''
  /** Set once it has ended. */
  end: TaskEnd | undefined
  readonly #child: ChildProcess
  readonly #waiters = new Set<Waiter>()

  private constructor(argv: readonly string[], child: ChildProcess, pid: number) {
    this.argv = argv
    this.#child = child
    this.pid = pid
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout = (this.stdout + text).slice(-KEPT_CHARACTERS)
      this.#look()
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-KEPT_CHARACTERS)
      this.#look()
    })
    this.ended = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        this.end = { code, signal }
        this.#look()
        for (const waiter of this.#waiters) waiter.reject(new Error(this.#describe('ended before it said')))
        this.#waiters.clear()
        resolve(this.end)
      })
    })
  }

  /** Starts `argv`. Rejects when it cannot be started at all. */
  static start(argv: readonly string[], options: TaskOptions = {}): Promise<Task> {
    // A session of its own: Ctrl-C in a terminal reaches the owner alone, who ends its tasks in order.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], {
      detached: true,
      stdio: [
        options.input === undefined ? 'ignore' : 'pipe',
        options.stdout === 'inherit' ? 'inherit' : 'pipe',
        options.stderr === 'inherit' ? 'inherit' : 'pipe',
      ],
      ...(options.env === undefined ? {} : { env: { ...process.env, ...options.env } }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    })
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('spawn', () => {
        child.off('error', reject)
        child.on('error', () => undefined) // a signal that found nobody
        child.stdin?.on('error', () => undefined)
        child.stdin?.end(options.input)
        resolve(new Task(argv, child, child.pid as number))
      })
    })
  }

  /**
   * Resolves with the first match of `pattern` (use the m flag for lines) in stdout or stderr, past or to come. Rejects
   * after timeoutMs, or when the process ends without having said it.
   */
  said(pattern: RegExp, timeoutMs = 10_000): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        pattern,
        resolve: (match) => {
          clearTimeout(timer)
          resolve(match)
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        reject(new Error(this.#describe(`did not say ${pattern} within ${timeoutMs} ms`)))
      }, timeoutMs)
      this.#waiters.add(waiter)
      this.#look()
      if (this.end !== undefined && this.#waiters.delete(waiter)) {
        waiter.reject(new Error(this.#describe(`ended before it said ${pattern}`)))
      }
    })
  }

  /** Sends a signal by id; false when the process has ended. */
  signal(name: NodeJS.Signals): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.#child.kill(name)
  }

  /** Asks it to end (SIGTERM unless given), and kills it after graceMs. Resolves when it is gone. */
  async stop(name: NodeJS.Signals = 'SIGTERM', graceMs = 3_000): Promise<TaskEnd> {
    const timer = setTimeout(() => this.signal('SIGKILL'), graceMs)
    this.signal(name)
    const end = await this.ended
    clearTimeout(timer)
    return end
  }

  /** Resolves with stdout when it ended by itself with exit code 0; rejects otherwise, or kills it after timeoutMs. */
  async done(timeoutMs = 60_000): Promise<string> {
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs)
    const end = await this.ended
    clearTimeout(timer)
    if (end.code !== 0) throw new Error(this.#describe(`ended with ${end.code ?? end.signal}`))
    return this.stdout
  }

  #look(): void {
    for (const waiter of this.#waiters) {
      const match = waiter.pattern.exec(this.stdout) ?? waiter.pattern.exec(this.stderr)
      if (match === null) continue
      this.#waiters.delete(waiter)
      waiter.resolve(match)
    }
  }

  #describe(what: string): string {
    const said = (this.stderr.trim() || this.stdout.trim()).slice(-1500)
    return `${this.argv.join(' ')}: ${what}${said === '' ? '' : `\n${said}`}`
  }
}
