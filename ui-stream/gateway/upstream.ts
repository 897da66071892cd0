// One agent as the gateway reads it: its stream, resumed when it breaks, without duplicates, and what state it is in.

import { describeError } from '../../agent/errors.js'
import { wait } from '../client/backoff.js'
import { connect } from '../client/index.js'
import { parseCursor } from '../protocol/cursor.js'
import { type FlowMessage, type LostMessage, Stage, type StatusMessage } from '../protocol/messages.js'

/** Waits between tries stay short: an agent that is back should not be missed for long. */
const MAX_RETRY_MS = 5000
/** After an error that no new try will mend by itself (a refusal), so that the gateway gets over it all the same. */
const REFUSED_RETRY_MS = 15_000

/** Where an upstream's records go. */
export interface UpstreamSink {
  /** Flows of one frame, none of them seen before. Resolves when more may come. */
  flows(flows: readonly FlowMessage[]): Promise<void> | void
  lost(lost: LostMessage): void
}

/** Reads one agent until `signal` says so. */
export class Upstream {
  /** As it was given. */
  readonly url: string
  readonly #sink: UpstreamSink
  readonly #runs: Map<string, Upstream>
  #connected = false
  #problem = 'not connected yet'
  #status: StatusMessage | undefined
  /** Which run of which server this stream is of, and how far it has been read. */
  #run = ''
  #sequence = 0

  /** `runs` is shared by all upstreams of a gateway: two URLs of one agent must not count twice. */
  constructor(url: string, runs: Map<string, Upstream>, sink: UpstreamSink) {
    this.url = url
    this.#runs = runs
    this.#sink = sink
  }

  /** Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#read(signal)
        this.#problem = 'the agent ended its stream'
      } catch (error) {
        this.#problem = describeError(error)
      }
      this.#release()
      if (!signal.aborted) await wait(REFUSED_RETRY_MS, signal)
    }
  }

  /** The agent's own words as far as they are known, and whether it is there now. */
  status(): StatusMessage {
    const problem = this.#problem === '' ? (this.#status?.problem ?? '') : `${this.url}: ${this.#problem}`
    return {
      ...this.#status,
      connected: this.#connected,
      capturing: this.#connected && (this.#status?.capturing ?? false),
      flowsPerSecond: this.#connected ? (this.#status?.flowsPerSecond ?? 0) : 0,
      ...(problem !== '' && { problem }),
    }
  }

  async #read(signal: AbortSignal): Promise<void> {
    const feed = connect({
      server: this.url,
      follow: true,
      // The gateway's own server decides what of this a client gets.
      own: true,
      labels: true,
      status: true,
      maxRetryMs: MAX_RETRY_MS,
      signal,
      ...(this.#run !== '' && { cursor: `${this.#run}:${this.#sequence}` }),
    })
    for await (const message of feed) {
      switch (message.type) {
        case 'connected':
          this.#connected = true
          this.#problem = ''
          break
        case 'disconnected':
          this.#release()
          this.#problem = message.reason
          break
        case 'flows': {
          const fresh = this.#fresh(message.flows, message.cursor)
          if (fresh.length > 0) await this.#sink.flows(fresh)
          break
        }
        case 'lost':
          if (!this.#isDouble()) this.#sink.lost(asSeenFromBelow(message.lost))
          break
        case 'status':
          this.#status = message.status
          break
        case 'error':
          this.#problem = message.error.message ?? ''
          break
        case 'gap':
          break
      }
    }
    this.#release()
  }

  #release(): void {
    this.#connected = false
    if (this.#runs.get(this.#run) === this) this.#runs.delete(this.#run)
  }

  /** True when another URL already reads the same agent. */
  #isDouble(): boolean {
    const other = this.#run === '' ? undefined : this.#runs.get(this.#run)
    return other !== undefined && other !== this
  }

  /** Those of `flows` that have not come before. */
  #fresh(flows: readonly FlowMessage[], text: string): readonly FlowMessage[] {
    const cursor = parseCursor(text)
    if (cursor === undefined) return flows
    if (cursor.agentId !== this.#run) {
      if (this.#runs.get(this.#run) === this) this.#runs.delete(this.#run)
      this.#run = cursor.agentId
      this.#sequence = 0
    }
    if (this.#isDouble()) {
      this.#problem = 'another --agent URL leads to the same agent'
      return []
    }
    this.#runs.set(this.#run, this)
    const read = this.#sequence
    this.#sequence = Math.max(read, cursor.sequence)
    return flows.every((flow) => (flow.sequence ?? 0) > read)
      ? flows
      : flows.filter((flow) => (flow.sequence ?? 0) > read)
  }
}

/** What an agent lost on the way to its client, which is this gateway, the gateway's clients lost at the gateway. */
function asSeenFromBelow(lost: LostMessage): LostMessage {
  return lost.stage === Stage.STAGE_CLIENT ? { ...lost, stage: Stage.STAGE_GATEWAY } : lost
}
