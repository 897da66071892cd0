// Reads what capture, stream and drive printed back into numbers. Judges nothing.

import { event, key4, key6, view as layout } from '../../agent/kernel/layout.gen.js'
import type { FlowJson, StatusJson } from '../../ui-stream/protocol/json-types.js'
import { type Count, directionName } from './script.js'

export interface ProgramResult {
  readonly name: string
  /** The error number's refusal and the verifier's last line, or what the verifier needed. */
  readonly refused?: string
  readonly instructions: number
  readonly states: number
  readonly milliseconds: number
}

/** One view, by the names of its two directions. */
export interface ViewResult {
  readonly family: 4 | 6
  readonly names: readonly [string, string]
  readonly counts: readonly [Count, Count]
  readonly marks: number
  readonly generation: number
  readonly owners: readonly [number, number]
  readonly seen: readonly number[]
  /** Name of the peer tuple's direction 0, when the marks say that there is one. */
  readonly peer: readonly [string, string]
}

/** Segments, and bytes of payload with those that were sent twice. */
export interface SocketResult {
  readonly sent: number
  readonly received: number
  readonly bytes: number
}

export interface RunResult {
  readonly what: string
  readonly object: string
  readonly way: string
  readonly programs: ProgramResult[]
  readonly devices: number[]
  readonly views: ViewResult[]
  /** By hook number: packets and bytes that are not IP, packets lost. */
  readonly hooks: Map<number, Count & { lost: number }>
  readonly events: Map<number, number>
  readonly losses: number[]
  readonly errors: string[]
  /** What the sockets say, by end (client, server), in the order of the connections. */
  readonly sockets: Map<string, SocketResult[]>
  /** What the agent told, in its order. */
  readonly flows: FlowJson[]
  readonly lost: unknown[]
  status?: StatusJson
  /** What made the rules of service.iptables. */
  rules?: string
  conntrack: boolean
  unsupported: boolean
  batch: boolean
  sent: number
  done: boolean
}

/** Everything that one kernel said. */
export interface KernelResult {
  readonly release: string
  readonly runs: readonly RunResult[]
  /** Lines that nobody knows. */
  readonly unknown: readonly string[]
}

function newRun(what: string, object: string, way: string): RunResult {
  return {
    what,
    object,
    way,
    programs: [],
    devices: [],
    views: [],
    hooks: new Map(),
    events: new Map(),
    losses: [],
    errors: [],
    sockets: new Map(),
    flows: [],
    lost: [],
    conntrack: false,
    unsupported: false,
    batch: false,
    sent: 0,
    done: false,
  }
}

function names(key: Buffer, family: 4 | 6): [string, string] {
  const at = family === 4 ? key4 : key6
  const size = family === 4 ? 4 : 16
  const end = (index: number): { address: Buffer; port: number } => ({
    address: key.subarray(at.address + index * size, at.address + (index + 1) * size),
    port: key.readUInt16BE(at.port + index * 2),
  })
  const protocol = key.readUInt8(at.protocol)
  const kind = key.readUInt8(at.kind)
  return [directionName(protocol, kind, end(0), end(1)), directionName(protocol, kind, end(1), end(0))]
}

function readView(family: 4 | 6, key: Buffer, value: Buffer): ViewResult {
  const count = (dir: number): Count => ({
    packets: value.readUInt32LE(layout.packets + dir * 4),
    bytes: Number(value.readBigUInt64LE(layout.bytes + dir * 8)),
  })
  return {
    family,
    names: names(key, family),
    counts: [count(0), count(1)],
    marks: value.readUInt32LE(layout.marks),
    generation: value.readUInt8(layout.generation),
    owners: [value.readUInt32LE(layout.owner), value.readUInt32LE(layout.owner + 4)],
    seen: [0, 1, 2, 3, 4, 5]
      .map((index) => value.readUInt32LE(layout.seen + index * 4))
      .filter((hook) => hook !== 0),
    peer: names(value.subarray(layout.size), family),
  }
}

function readLine(run: RunResult, word: string, rest: readonly string[]): boolean {
  const [first = '', second = '', third = ''] = rest
  const hex = (text: string): Buffer => Buffer.from(text, 'hex')
  switch (word) {
    case 'program':
      run.programs.push(
        second === 'loaded'
          ? {
              name: first,
              instructions: Number(third),
              states: Number(rest[3]),
              milliseconds: Number(rest[4]),
            }
          : { name: first, refused: rest.slice(2).join(' '), instructions: 0, states: 0, milliseconds: 0 },
      )
      return true
    case 'device':
      run.devices.push(Number(second))
      return true
    case 'conntrack':
      run.conntrack = first === '1'
      return true
    case 'attached':
    case 'ring':
      return true
    case 'unsupported':
      run.unsupported = true
      return true
    case 'sent':
      run.sent = Number(first)
      return true
    case 'view4':
      run.views.push(readView(4, hex(first), hex(second)))
      return true
    case 'view6':
      run.views.push(readView(6, hex(first), hex(second)))
      return true
    case 'hook':
      run.hooks.set(hex(first).readUInt32LE(), {
        packets: Number(hex(second).readBigUInt64LE(0)),
        bytes: Number(hex(second).readBigUInt64LE(8)),
        lost: Number(hex(second).readBigUInt64LE(16)),
      })
      return true
    case 'event': {
      const kind = hex(first).readUInt8(event.kind)
      run.events.set(kind, (run.events.get(kind) ?? 0) + 1)
      return true
    }
    case 'loss':
      run.losses.push(Number(second))
      return true
    case 'batch':
      run.batch = first === '1'
      return true
    case 'tcp': {
      const list = run.sockets.get(first) ?? []
      list.push({ sent: Number(second), received: Number(third), bytes: Number(rest[3]) })
      run.sockets.set(first, list)
      return true
    }
    case 'rules':
      run.rules = first
      return true
    case 'status':
      run.status = JSON.parse(rest.join(' ')) as StatusJson
      return true
    case 'flow':
      run.flows.push(JSON.parse(rest.join(' ')) as FlowJson)
      return true
    case 'lost':
      run.lost.push(JSON.parse(rest.join(' ')))
      return true
    case 'error':
      run.errors.push(rest.join(' '))
      return true
    case 'done':
      run.done = true
      return true
    default:
      return false
  }
}

/** Reads the whole of scenario.sh's output. */
export function readResult(text: string): KernelResult {
  const runs: RunResult[] = []
  const unknown: string[] = []
  let release = ''
  for (const line of text.split(/\r?\n/)) {
    const [word = '', ...rest] = line.split(' ')
    const run = runs[runs.length - 1]
    if (line === '') continue
    if (word === 'kernel') release = rest.join(' ')
    else if (word === 'run') runs.push(newRun(rest[0] ?? '', rest[1] ?? '', rest[2] ?? ''))
    else if (run === undefined || !readLine(run, word, rest)) unknown.push(line)
  }
  return { release, runs, unknown }
}
