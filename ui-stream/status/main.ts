// `vethflow status`: what /v1/status tells, for people or as it came.

import { VethflowError } from '../../agent/errors.js'
import { parseFlags } from '../../agent/flags.js'
import type { StatusJson } from '../protocol/json-types.js'
import { Path } from '../protocol/names.js'
import { paintFor } from '../tail/colour.js'
import { tokenSource, trustedCa } from '../tail/flags.js'
import { LineOutput } from '../tail/output.js'
import { safeJson } from '../tail/text.js'
import { fetchJson } from './fetch.js'
import { statusFlags } from './flags.js'
import { statusLines } from './table.js'

/** Streams and surroundings of the command. */
export interface StatusSurroundings {
  readonly stdout: NodeJS.WriteStream
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signal: AbortSignal
}

/** Runs `vethflow status`. Resolves with the exit code. */
export async function runStatus(argv: readonly string[], surroundings: StatusSurroundings): Promise<number> {
  const { stdout, env, signal } = surroundings
  const { values } = parseFlags('vethflow status', statusFlags, argv, { env })
  const answer = await fetchJson({
    server: values.server,
    path: Path.STATUS,
    token: tokenSource(values.tokenFile, argv, env)?.(),
    ca: trustedCa(values.caFile),
    signal,
  })
  const out = new LineOutput(stdout, () => undefined)
  if (values.output === 'json') out.write(safeJson(JSON.stringify(answer)))
  else {
    const paint = paintFor('auto', stdout.isTTY === true, env)
    for (const line of statusLines(statusesOf(answer), paint)) out.write(line)
  }
  await out.end(5000)
  return 0
}

/** The agents in an answer: an agent speaks of itself, a gateway of each of its agents in `agents`. */
function statusesOf(answer: unknown): StatusJson[] {
  const list =
    typeof answer === 'object' && answer !== null && 'agents' in answer && Array.isArray(answer.agents)
      ? (answer.agents as unknown[])
      : [answer]
  return list.map(complete)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Checks what a server of another version may leave out. */
function complete(value: unknown): StatusJson {
  if (!isObject(value)) {
    throw new VethflowError('PROTOCOL', 'The server tells its status in a form that is not known here')
  }
  const empty: StatusJson = {
    capturing: false,
    connected: false,
    interfaces: [],
    features: [],
    lost: [],
    flowsPerSecond: 0,
    connections: 0,
    maxConnections: 0,
    resources: [],
    uncoveredPods: [],
    clients: 0,
    uptimeMs: 0,
    historyBytes: 0,
  }
  const status: Record<string, unknown> = { ...empty }
  for (const [key, given] of Object.entries(value)) {
    const expected = status[key]
    const fits =
      expected === undefined
        ? typeof given === 'string'
        : Array.isArray(expected)
          ? Array.isArray(given)
          : typeof given === typeof expected
    if (fits) status[key] = Array.isArray(given) ? given.filter(isObject) : given
  }
  return status as unknown as StatusJson
}
