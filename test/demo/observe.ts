// vethflow in the demo: an agent in each node's namespace, a gateway and a tail in this machine's own.

import { join } from 'node:path'
import { type Node, repository, type Task, type Testbed } from '../testbed/index.js'

export const GATEWAY_PORT = 4280
const CLI = join(repository, 'dist/ui-stream/cli.js')
const READY_MS = 30_000

/** A vethflow process that is there, and how to speak of it. */
export interface Service {
  readonly name: string
  readonly task: Task
}

/** Starts an agent on the node's own loopback; returns its URL as seen from this machine. */
export async function startAgent(
  bed: Testbed,
  node: Node,
  manifests: string,
  signal: AbortSignal,
): Promise<Service & { url: string }> {
  const task = await node.start([
    process.execPath,
    CLI,
    'agent',
    ...['--node-name', node.name, '--manifests', manifests, '--listen', `127.0.0.1:${GATEWAY_PORT}`],
  ])
  const service = { name: `the agent of ${node.name}`, task }
  const { port } = await bed.forward(node, `127.0.0.1:${GATEWAY_PORT}`)
  await ready(service, `http://127.0.0.1:${port}/readyz`, signal)
  return { ...service, url: `ws://127.0.0.1:${port}` }
}

export async function startGateway(
  bed: Testbed,
  agents: readonly string[],
  signal: AbortSignal,
): Promise<Service> {
  const task = await bed.start([
    process.execPath,
    CLI,
    'gateway',
    ...agents.flatMap((url) => ['--agent', url]),
    ...['--listen', `127.0.0.1:${GATEWAY_PORT}`],
  ])
  const service = { name: 'the gateway', task }
  await ready(service, `http://127.0.0.1:${GATEWAY_PORT}/readyz`, signal)
  return service
}

/** Tails into this process's own stdout and stderr. */
export function startTail(bed: Testbed, output: string): Promise<Task> {
  const argv = [
    process.execPath,
    CLI,
    'tail',
    '--server',
    `ws://127.0.0.1:${GATEWAY_PORT}`,
    '--output',
    output,
  ]
  return bed.start(argv, { stdout: 'inherit', stderr: 'inherit' })
}

/** Resolves when `url` answers 200; rejects when the process ends before, or after 30 s, with what it said. */
async function ready({ name, task }: Service, url: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + READY_MS
  let last = 'no answer'
  while (Date.now() < deadline) {
    signal.throwIfAborted()
    if (task.end !== undefined)
      throw new Error(`${name} ended with ${task.end.code ?? task.end.signal}: ${said(task)}`)
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(2_000) })
      if (response.status === 200) return
      last = `${response.status} ${(await response.text()).slice(0, 200)}`
    } catch {
      // Not listening yet.
    }
    // There is no event to wait for across processes but the answer itself.
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 50)), task.ended])
  }
  throw new Error(`${name} is not ready after ${READY_MS / 1000} s (${last}): ${said(task)}`)
}

/** The end of what a process said. */
export function said(task: Task): string {
  return `${task.stderr}${task.stdout}`.trim().slice(-1500) || 'it said nothing'
}
