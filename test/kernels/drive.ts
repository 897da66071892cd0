// Runs the agent where it stands (a node's network namespace, in a guest or here) and follows its stream as a user's
// program would, while `stream` opens one connection on each road. Prints what it hears, a line each; judges nothing.
//
//   drive.js CLI     CLI is the agent's
//
// Lines: `run roads all -`, `status JSON`, `flow JSON`, `lost JSON`, the lines of stream, and `done` when all has ended
// well, else `error …`. Once more, as `run roads fallback -`, on a kernel with tcx or the conntrack kfunc.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { connect } from '../../ui-stream/client/index.js'
import { flowToJson, lostToJson } from '../../ui-stream/protocol/json.js'
import type { StatusJson } from '../../ui-stream/protocol/json-types.js'
import { ROADS, streamArguments } from './roads.js'

/** What the agent does without in the second round: then it works as on the oldest kernel. */
const NEWER = ['conntrack', 'tcx', 'atomic_fetch']
const SERVER = '127.0.0.1:4280'
/** Under emulation a process of Node takes seconds to start, on a loaded machine half a minute. */
const PATIENCE_MS = 400_000

function say(word: string, what: unknown): void {
  process.stdout.write(`${word} ${JSON.stringify(what)}\n`)
}

/** Resolves when the agent says that it captures. */
async function capturing(agent: ChildProcess): Promise<void> {
  if (agent.stderr === null) throw new Error('no stderr')
  const said: string[] = []
  for await (const line of createInterface({ input: agent.stderr })) {
    if (line.includes('"msg":"capturing"')) return
    said.push(line)
  }
  throw new Error(`the agent ended: ${said.join(' | ')}`)
}

async function openAll(): Promise<void> {
  for (const road of ROADS) {
    const stream = spawn('./stream', streamArguments(road), { stdio: ['ignore', 'inherit', 'inherit'] })
    const [code] = (await once(stream, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`stream ${road.name} ended with ${code}`)
  }
}

/** Follows the stream, opens all connections once it flows, and calls `end` when all are told as closed. */
async function follow(end: () => void): Promise<void> {
  const closed = new Set<number>()
  let opened: Promise<void> | undefined
  let told = false
  const feed = connect({ server: `ws://${SERVER}`, since: new Date(0), follow: true, reconnect: false })
  try {
    for await (const message of feed) {
      if (message.type === 'connected') {
        opened = openAll()
        opened.catch((error: unknown) => fail(error))
      }
      if (message.type === 'lost') say('lost', lostToJson(message.lost))
      else if (message.type === 'flows')
        for (const flow of message.flows) {
          const json = flowToJson(flow)
          say('flow', json)
          if (json.event === 'CLOSED' && json.protocol === 'TCP') closed.add(json.id ?? 0)
        }
      if (closed.size === ROADS.length && !told) {
        told = true
        await opened
        end()
      }
    }
  } catch (error) {
    // the server goes when it was told to; what it had to say then has come
    if (closed.size < ROADS.length) throw error
  }
}

/** One run of the agent, without some features. Gives what it said of itself. */
async function round(cli: string, without: readonly string[]): Promise<StatusJson> {
  const argv = [cli, 'agent', '--no-kubernetes', '--node-name', 'node']
  argv.push('--update-interval', '1s', '--listen', SERVER)
  for (const feature of without) argv.push('--disable-feature', feature)
  const agent = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(agent, 'exit') as Promise<[number | null]>
  try {
    await capturing(agent)
    const status = (await (await fetch(`http://${SERVER}/v1/status`)).json()) as StatusJson
    say('status', status)
    await follow(() => agent.kill('SIGTERM'))
    const [code] = await ended
    if (code !== 0) throw new Error(`the agent ended with ${code}`)
    process.stdout.write('done\n')
    return status
  } finally {
    agent.kill('SIGKILL')
  }
}

async function drive(cli: string): Promise<void> {
  process.stdout.write('run roads all -\n')
  const { features } = await round(cli, [])
  const has = (name: string): boolean => features.some((one) => one.name === name && one.enabled)
  if (!has('conntrack') && !has('tcx')) return
  process.stdout.write('run roads fallback -\n')
  await round(cli, NEWER)
}

function fail(error: unknown): never {
  process.stdout.write(`error drive: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}

const timer = setTimeout(() => fail(`not done after ${PATIENCE_MS} ms`), PATIENCE_MS)
drive(process.argv[2] ?? '').then(() => clearTimeout(timer), fail)
