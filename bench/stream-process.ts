// A stream server under load in a process of its own, told by its parent what to do, one command after the other.

import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Traffic, trafficInterface } from '../test/ui-stream/server/traffic.js'
import { StreamServer } from '../ui-stream/server/server.js'

/** Source ports of the traffic begin here; ranges of so many stand for one in twenty of its records. */
export const FIRST_PORT = 32_768
export const PORTS = 1400
export const RANGES = 20

export type Command =
  | { readonly type: 'open'; readonly historyBytes?: number; readonly maxClients?: number }
  /** Publishes at a rate, records a second. */
  | { readonly type: 'load'; readonly rate: number; readonly seconds: number }
  /** Publishes so many records that were made one a millisecond, as fast as it can. */
  | { readonly type: 'fill'; readonly records: number }
  /** Begins to watch how long the event loop is held up. */
  | { readonly type: 'watch' }
  | { readonly type: 'state' }
  | { readonly type: 'close' }

export interface State {
  readonly address: string
  readonly clients: number
  readonly rss: number
  readonly descriptors: number
  readonly historyBytes: number
  readonly historyRecords: number
  /** Longest hold-up of the event loop since `watch`, ms. */
  readonly blockedMs: number
}

/** What a load came to. */
export interface Emitted {
  readonly records: number
  /** By range of source ports. */
  readonly byRange: readonly number[]
  readonly seconds: number
  readonly cpuSeconds: number
}

const BATCH = 1000
const STEP_MS = 5

let server: StreamServer | undefined
const traffic = new Traffic(BATCH)
const delay = monitorEventLoopDelay({ resolution: 1 })

async function run(command: Command): Promise<unknown> {
  switch (command.type) {
    case 'open':
      server = await StreamServer.open({
        listen: '127.0.0.1:0',
        nodeName: 'node-0',
        agentId: '0123456789ab',
        version: '0',
        status: () => ({}),
        ready: () => true,
        hookInterface: trafficInterface,
        log: { info() {}, warn() {}, debug() {} },
        ...(command.historyBytes !== undefined && { historyBytes: command.historyBytes }),
        ...(command.maxClients !== undefined && { maxClients: command.maxClients }),
      })
      return server.address
    case 'load':
      return load(command.rate, command.seconds)
    case 'fill':
      for (let at = 0; at < command.records; at += BATCH) {
        server!.publish(traffic.next(BATCH, 1.79e15 + at * 1000))
        if (at % 10_000 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      return undefined
    case 'watch':
      delay.enable()
      delay.reset()
      return undefined
    case 'state':
      return state()
    case 'close':
      await server!.close()
      return undefined
  }
}

async function load(rate: number, seconds: number): Promise<Emitted> {
  const byRange = new Array<number>(RANGES).fill(0)
  const cpu = process.cpuUsage()
  const began = performance.now()
  const total = rate * seconds
  let done = 0
  while (done < total) {
    const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * rate))
    while (done < due) {
      const count = Math.min(BATCH, due - done)
      // Made now, all of them: how late they arrive is measured by it.
      const named = traffic.next(count, (performance.timeOrigin + performance.now()) * 1000, 0)
      for (let row = 0; row < count; row++) {
        byRange[Math.floor((named.flows.sourcePort[row]! - FIRST_PORT) / PORTS)]!++
      }
      server!.publish(named)
      done += count
    }
    await new Promise((resolve) => setTimeout(resolve, STEP_MS))
  }
  const { user, system } = process.cpuUsage(cpu)
  return {
    records: done,
    byRange,
    seconds: (performance.now() - began) / 1000,
    cpuSeconds: (user + system) / 1e6,
  }
}

async function state(): Promise<State> {
  globalThis.gc?.()
  const records = await server!.registry.getSingleMetric('vethflow_history_records')!.get()
  return {
    address: server!.address,
    clients: server!.clients,
    rss: process.memoryUsage().rss,
    descriptors: readdirSync('/proc/self/fd').length,
    historyBytes: server!.historyBytes,
    historyRecords: records.values[0]!.value,
    blockedMs: delay.max / 1e6,
  }
}

if (process.send !== undefined) {
  process.on('message', (command: Command) => {
    run(command).then(
      (value) => process.send!({ value }),
      (error: unknown) => process.send!({ error: String(error) }),
    )
  })
}
