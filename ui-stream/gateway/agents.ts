// All agents of a gateway: those that were named, and those that come and go with a service's endpoints.

import type { StatusMessage } from '../protocol/messages.js'
import { NOTHING, type Wanted } from './demand.js'
import { Runs } from './runs.js'
import { type AgentAddress, Upstream, type UpstreamSink } from './upstream.js'

/** Agents that one gateway reads; beyond that a bus is the better way. */
export const MOST_AGENTS = 1024

interface Reading {
  readonly upstream: Upstream
  readonly stop: AbortController
  readonly ended: Promise<void>
}

/** Whoever makes it closes it. */
export class Agents {
  readonly #sink: UpstreamSink
  readonly #runs = new Runs()
  readonly #reading = new Map<string, Reading>()
  #wanted = NOTHING

  constructor(sink: UpstreamSink) {
    this.#sink = sink
  }

  get all(): readonly Upstream[] {
    return [...this.#reading.values()].map(({ upstream }) => upstream)
  }

  get connected(): number {
    return this.all.filter((upstream) => upstream.connected).length
  }

  /** Reads exactly these from now on. Beyond MOST_AGENTS the rest is left out. */
  replace(addresses: readonly AgentAddress[]): void {
    const wanted = new Map(addresses.slice(0, MOST_AGENTS).map((address) => [keyOf(address), address]))
    for (const [key, { stop }] of this.#reading) {
      if (wanted.has(key)) continue
      stop.abort()
      this.#reading.delete(key)
    }
    for (const [key, address] of wanted) {
      if (this.#reading.has(key)) continue
      const upstream = new Upstream(address, this.#wanted, this.#runs, this.#sink)
      const stop = new AbortController()
      this.#reading.set(key, { upstream, stop, ended: upstream.run(stop.signal) })
    }
  }

  /** Asks all of them for something else. */
  want(wanted: Wanted): void {
    this.#wanted = wanted
    for (const upstream of this.all) upstream.want(wanted)
  }

  statuses(): StatusMessage[] {
    return this.all.map((upstream) => upstream.status())
  }

  async close(): Promise<void> {
    const reading = [...this.#reading.values()]
    for (const { stop } of reading) stop.abort()
    await Promise.all(reading.map(({ ended }) => ended))
  }
}

/** A pod's address may pass to one on another node. */
function keyOf({ url, nodeName }: AgentAddress): string {
  return `${url} ${nodeName ?? ''}`
}
