// One agent as the gateway reads it: its stream, resumed when it breaks, without duplicates, and what state it is in.

import { describeError } from '../../agent/errors.js'
import { wait } from '../client/backoff.js'
import { connect } from '../client/index.js'
import type { FeedMessage } from '../client/messages.js'
import { formatCursor, parseCursor } from '../protocol/cursor.js'
import { type FlowMessage, type LostMessage, Stage, type StatusMessage } from '../protocol/messages.js'
import type { Runs } from './runs.js'

/** Waits between tries stay short: an agent that is back should not be missed for long. */
const MAX_RETRY_MS = 5000
/** After an error that a new try at once would not mend (a refusal, a frame that is none). */
const REFUSED_RETRY_MS = 15_000
const DOUBLE = 'another --agent URL leads to the same agent'

/** Where an upstream's records go. */
export interface UpstreamSink {
  /** Flows of one frame, none of them passed on before. */
  flows(flows: readonly FlowMessage[]): void
  lost(lost: LostMessage): void
  /** The agent came ('') or went: why it is not there. */
  changed(upstream: Upstream, problem: string): void
}

/** Reads one agent until told to stop. */
export class Upstream {
  /** As it was given. */
  readonly url: string
  readonly #sink: UpstreamSink
  readonly #runs: Runs
  #connected = false
  #problem = 'not connected yet'
  #status: StatusMessage | undefined
  /** Which run of the agent this stream is of, and how far it has come. */
  #run = ''
  #sequence = 0

  /** `runs` is shared by all upstreams of a gateway. */
  constructor(url: string, runs: Runs, sink: UpstreamSink) {
    this.url = url
    this.#runs = runs
    this.#sink = sink
  }

  /** True while a connection stands. */
  get connected(): boolean {
    return this.#connected
  }

  /** Reads until `signal` says so. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let problem = 'the agent ended its stream'
      try {
        for await (const message of this.#connect(signal)) this.#take(message)
      } catch (error) {
        problem = describeError(error)
      }
      // Leaving by oneself is nothing to tell.
      if (signal.aborted) return
      this.#disconnected(problem)
      await wait(REFUSED_RETRY_MS, signal)
    }
  }

  /** The agent's own words as far as they are known, and whether it is there now. */
  status(): StatusMessage {
    const own = this.#status?.problem ?? ''
    const problem = this.#problem === '' ? own : `${this.url}: ${this.#problem}`
    const { capturing, flowsPerSecond } = this.#status ?? {}
    return {
      ...this.#status,
      connected: this.#connected,
      capturing: this.#connected && (capturing ?? false),
      flowsPerSecond: this.#connected ? (flowsPerSecond ?? 0) : 0,
      problem,
    }
  }

  #connect(signal: AbortSignal): AsyncGenerator<FeedMessage, void, void> {
    return connect({
      server: this.url,
      follow: true,
      // The gateway's own server decides what of this a client gets.
      own: true,
      labels: true,
      status: true,
      maxRetryMs: MAX_RETRY_MS,
      signal,
      ...(this.#run !== '' && { cursor: formatCursor(this.#run, this.#sequence) }),
    })
  }

  #take(message: FeedMessage): void {
    switch (message.type) {
      case 'connected':
        this.#connected = true
        if (this.#run !== '') this.#runs.join(this, this.#run, this.#sequence)
        this.#say('')
        break
      case 'disconnected':
        this.#disconnected(message.reason)
        break
      case 'flows':
        this.#flows(message.flows, message.cursor)
        break
      case 'lost':
        if (this.#runs.leads(this, this.#run)) this.#sink.lost(atGateway(message.lost))
        break
      case 'status':
        this.#status = message.status
        break
      case 'error':
        this.#say(message.error.message || 'the agent complains')
        break
      case 'gap':
        break
    }
  }

  #flows(flows: readonly FlowMessage[], text: string): void {
    const cursor = parseCursor(text)
    if (cursor === undefined) {
      this.#sink.flows(flows)
      return
    }
    if (cursor.agentId !== this.#run) {
      this.#runs.leave(this, this.#run)
      this.#run = cursor.agentId
      this.#sequence = 0
      this.#runs.join(this, this.#run, 0)
    }
    this.#sequence = Math.max(this.#sequence, cursor.sequence)
    if (!this.#runs.leads(this, this.#run)) this.#say(DOUBLE)
    else if (this.#problem === DOUBLE) this.#say('')
    const fresh = this.#runs.fresh(this.#run, flows, cursor.sequence)
    if (fresh.length > 0) this.#sink.flows(fresh)
  }

  #disconnected(problem: string): void {
    this.#connected = false
    this.#runs.leave(this, this.#run)
    this.#say(problem)
  }

  #say(problem: string): void {
    if (problem === this.#problem) return
    this.#problem = problem
    this.#sink.changed(this, problem)
  }
}

/** What an agent lost on the way to its client, which is this gateway, the gateway's clients lost at the gateway. */
function atGateway(lost: LostMessage): LostMessage {
  return lost.stage === Stage.STAGE_CLIENT ? { ...lost, stage: Stage.STAGE_GATEWAY } : lost
}
