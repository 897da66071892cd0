// Runs the built command as people do: a process of its own. Builds once a test run, when the sources are newer.

import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const CLI = `${ROOT}dist/ui-stream/cli.js`

/**
 * Compiles the sources when one is newer than what was built from it. Type errors are the type checker's business and
 * do not stop it.
 */
export function build(): void {
  const built = statSync(CLI, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const newest = ['agent', 'ui-stream', 'proto'].reduce(
    (most, folder) => Math.max(most, newestIn(ROOT + folder)),
    0,
  )
  if (newest > built) spawnSync('npm', ['run', 'build'], { cwd: ROOT, stdio: 'ignore' })
}

/** When the last change in a folder's sources was, ms since the epoch. */
function newestIn(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(ts|proto)$/.test(path) && !path.endsWith('.d.ts'))
    .reduce((most, path) => Math.max(most, statSync(`${folder}/${path}`).mtimeMs), 0)
}

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running `vethflow`. */
export interface Running {
  readonly pid: number
  /** Resolves once stdout and stderr together contain `text`; rejects when the process ends before. */
  says(text: string): Promise<void>
  /** What stdout has held so far. */
  stdout(): string
  kill(signal: NodeJS.Signals): void
  readonly done: Promise<Finished>
}

/** Starts `vethflow`; no VETHFLOW_* variable of this process comes along. */
export function start(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  return spawned(process.execPath, [CLI, ...argv], env)
}

/** Runs bash with `vethflow` as a command; with `reader`, the script's stdout goes through that. */
export function shell(script: string, reader?: string): Promise<Finished> {
  const command = reader === undefined ? script : `{ ${script}; } | { ${reader}; }`
  // exec: a job's pid is the command's own.
  const path = `vethflow() { exec "${process.execPath}" "${CLI}" "$@"; }; export -f vethflow`
  return spawned('bash', ['-c', `${path}; ${command}`], { SHELL: '/bin/bash' }).done
}

function spawned(file: string, args: readonly string[], env: Readonly<Record<string, string>>): Running {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('VETHFLOW_'))
  const child = spawn(file, args, {
    cwd: ROOT,
    env: { ...Object.fromEntries(inherited), TZ: 'UTC', TERM: 'xterm', NO_COLOR: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  let ended = false
  const waiting = new Set<() => void>()
  const look = (): void => {
    for (const one of waiting) one()
  }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
    look()
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
    look()
  })
  const done = new Promise<Finished>((resolve) => {
    child.on('close', (code, signal) => {
      ended = true
      look()
      resolve({ code, signal, stdout, stderr })
    })
  })
  return {
    pid: child.pid ?? 0,
    says: (text) =>
      new Promise((resolve, reject) => {
        const one = (): void => {
          if ((stdout + stderr).includes(text)) resolve()
          else if (ended) reject(new Error(`ended without saying ${text}:\n${stdout}\n${stderr}`))
          else return
          waiting.delete(one)
        }
        waiting.add(one)
        one()
      }),
    stdout: () => stdout,
    kill: (signal) => {
      child.kill(signal)
    },
    done,
  }
}

/** Runs `vethflow` to its end. */
export function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Finished> {
  return start(argv, env).done
}
