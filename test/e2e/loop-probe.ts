// How long an agent's event loop was kept from turning, asked of the agent's own process: a module that it loads at the
// start measures (perf_hooks, 10 ms) and answers SIGUSR2 with the longest turn since the last answer.

import type { RunningAgent } from './agent.js'

const RESOLUTION_MS = 10
const MODULE = `
import { monitorEventLoopDelay } from 'node:perf_hooks'
const delay = monitorEventLoopDelay({ resolution: ${RESOLUTION_MS} })
delay.enable()
let answers = 0
process.on('SIGUSR2', () => {
  process.stdout.write('loop ' + ++answers + ': ' + delay.max / 1e6 + '\\n')
  delay.reset()
})`

/** What an agent must be started with to be asked. */
export const LOOP_PROBE = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(MODULE)}`,
} as const

const asked = new WeakMap<RunningAgent, number>()

/** Milliseconds of the longest turn of the loop since the last call (or the start). */
export async function longestTurn(agent: RunningAgent): Promise<number> {
  const number = (asked.get(agent) ?? 0) + 1
  asked.set(agent, number)
  agent.task.signal('SIGUSR2')
  const [, ms] = await agent.task.said(new RegExp(`^loop ${number}: ([\\d.]+)$`, 'm'), 10_000)
  return Math.max(0, Number(ms) - RESOLUTION_MS)
}
