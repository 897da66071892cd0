// A real agent as a process of its own with its shipped defaults, what it uses (proc(5)), and a client that counts what
// it tells.

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Namespace, Task } from '../test/testbed/index.js'
import { HOST_DEVICE } from './bed.js'
import type { Seen } from './client.js'

const CLI = fileURLToPath(new URL('../ui-stream/cli.js', import.meta.url))
const CLIENT = fileURLToPath(new URL('./client.js', import.meta.url))
const BASELINE = fileURLToPath(new URL('./baseline.js', import.meta.url))
const URL_INSIDE = 'ws://127.0.0.1:4280'

/** CPU time of all threads of a process so far, seconds (schedstat, nanoseconds). */
export function cpuSeconds(pid: number): number {
  let ns = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0])
    } catch {
      // A thread that has just ended.
    }
  }
  return ns / 1e9
}

/** Resident memory of a process, bytes. */
export function residentBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
  return Number(kilobytes) * 1024
}

/** The agent's process; capturing when this resolves. The bed ends it at the latest. */
export async function startAgent(node: Namespace, flags: readonly string[] = []): Promise<Task> {
  const task = await node.start([
    ...[process.execPath, CLI, 'agent', '--node-name', 'bench', '--interface', HOST_DEVICE],
    ...(flags.includes('--manifests') ? [] : ['--no-kubernetes']),
    ...flags,
  ])
  await task.said(/"msg":"capturing"/, 30_000)
  return task
}

/** Memory of a process with the agent's imports and `touched` bytes on top. */
export async function baselineBytes(node: Namespace, touched: number): Promise<number> {
  const task = await node.start([process.execPath, BASELINE, String(touched)])
  try {
    await task.said(/^READY$/m, 30_000)
    await pause(500)
    return residentBytes(task.pid)
  } finally {
    await task.stop()
  }
}

/** Counts what an agent tells; see client.ts. */
export class CountingClient {
  readonly #task: Task

  private constructor(task: Task) {
    this.#task = task
  }

  static async start(node: Namespace, times = false): Promise<CountingClient> {
    const task = await node.start([process.execPath, CLIENT, URL_INSIDE, ...(times ? ['--times'] : [])])
    await task.said(/^READY$/m, 30_000)
    return new CountingClient(task)
  }

  /** The last that it has said; undefined before it has said anything. */
  seen(): Seen | undefined {
    const line = this.#task.stdout
      .split('\n')
      .slice(-3)
      .reverse()
      .find((text) => text.startsWith('{') && text.endsWith('}'))
    return line === undefined ? undefined : (JSON.parse(line) as Seen)
  }

  /** Looks at what it has seen until `enough`, or until `limitMs` have passed; gives the last. */
  async until(enough: (seen: Seen) => boolean, limitMs: number): Promise<Seen> {
    const end = performance.now() + limitMs
    for (;;) {
      const seen = this.seen()
      if (seen !== undefined && (enough(seen) || performance.now() > end)) return seen
      if (performance.now() > end + 10_000) throw new Error('the client says nothing')
      await pause(100)
    }
  }

  async stop(): Promise<Seen | undefined> {
    await this.#task.stop()
    return this.seen()
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, ms))
}
