// One agent as the gateway reads it: its stream, resumed when it breaks or when something else is wanted, without gaps or
// duplicates; its past; and what state it is in.

import { describeError } from '../../agent/errors.js'
import { wait } from '../client/backoff.js'
import { type ConnectOptions, connect, FeedControl } from '../client/index.js'
import type { FeedMessage } from '../client/messages.js'
import { formatCursor, parseCursor } from '../protocol/cursor.js'
import { type FlowMessage, type LostMessage, Stage, type StatusMessage, Unit } from '../protocol/messages.js'
import type { Wanted } from './demand.js'
import type { Runs } from './runs.js'

/** Waits between tries stay short: an agent that is back should not be missed for long. */
const MAX_RETRY_MS = 5000
/** After an error that a new try at once would not mend (a refusal, a frame that is none). */
const REFUSED_RETRY_MS = 15_000
/** What an agent made this long ago has been received by now, unless more of it is just coming. */
const RECEIVED_WITHIN_MS = 2000
const DOUBLE = 'another URL leads to the same agent'

/** Where an upstream's records go. */
export interface UpstreamSink {
  /** Flows of one frame, none of them passed on before. */
  flows(flows: readonly FlowMessage[]): void
  lost(lost: LostMessage): void
  /** The agent came ('') or went: why it is not there. */
  changed(upstream: Upstream, problem: string): void
}

/** An agent, and how to reach it. */
export interface AgentAddress {
  /** As it was given, or found. */
  readonly url: string
  /** Its node, where that is known beforehand. */
  readonly nodeName?: string
  /** Token, authority and certificate. */
  readonly credentials?: Partial<ConnectOptions>
}

/** Reads one agent until told to stop. */
export class Upstream {
  readonly url: string
  readonly #address: AgentAddress
  readonly #sink: UpstreamSink
  readonly #runs: Runs
  #wanted: Wanted
  readonly #control = new FeedControl()
  #connected = false
  #problem = 'not connected yet'
  #status: StatusMessage | undefined
  /** Which run of the agent this stream is of, and how far it has come. */
  #run = ''
  #sequence = 0
  /** Flows behind `#sequence` that were made before this are not wanted, since nobody wanted them then; microseconds. */
  #cutUs = 0
  /** The agent's clock before this machine's, microseconds. */
  #aheadUs = 0
  #lastFlowUs = 0
  #lastFlowMs = Number.NEGATIVE_INFINITY

  /** `runs` is shared by all upstreams of a gateway. */
  constructor(address: AgentAddress, wanted: Wanted, runs: Runs, sink: UpstreamSink) {
    this.url = address.url
    this.#address = address
    this.#wanted = wanted
    this.#runs = runs
    this.#sink = sink
  }

  /** True while a connection stands. */
  get connected(): boolean {
    return this.#connected
  }

  /** The agent's node, as far as it is known. */
  get nodeName(): string {
    return this.#status?.nodeName || this.#address.nodeName || ''
  }

  /**
   * Goes on with another subscription from where the stream stands now. What was wanted before goes on without a gap; of
   * what was not, the last seconds come, too.
   */
  want(wanted: Wanted): void {
    this.#wanted = wanted
    const now = Date.now() * 1000 + this.#aheadUs - RECEIVED_WITHIN_MS * 1000
    const coming = performance.now() - this.#lastFlowMs < RECEIVED_WITHIN_MS
    const cutUs = coming ? Math.min(now, this.#lastFlowUs) : now
    this.#cutUs = Math.floor(cutUs)
    // While no connection stands the next one asks for it, behind where this one ended.
    this.#control.change({ ...wanted, ...(this.#connected && { sinceUs: this.#cutUs }) })
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
      if (signal.aborted) break
      this.#disconnected(problem)
      await wait(REFUSED_RETRY_MS, signal)
    }
    this.#connected = false
    this.#runs.leave(this, this.#run)
  }

  /**
   * The agent's past up to where this stream stands when this is first read: no flow is in both, and none in neither.
   * In the order of the agent's stream. Throws as `connect` does.
   */
  async *past(options: Partial<ConnectOptions>): AsyncGenerator<readonly FlowMessage[], void, void> {
    const run = this.#run
    const sequence = this.#sequence
    const cutUs = this.#cutUs
    const feed = connect({
      ...this.#address.credentials,
      ...options,
      server: this.url,
      follow: false,
      reconnect: false,
    })
    for await (const message of feed) {
      if (message.type !== 'flows') continue
      const behind = run !== '' && parseCursor(message.cursor)?.agentId === run
      yield behind
        ? message.flows.filter((flow) => (flow.sequence ?? 0) <= sequence || (flow.timeUs ?? 0) < cutUs)
        : message.flows
    }
  }

  /** The agent's own words as far as they are known, and whether it is there now. */
  status(): StatusMessage {
    const own = this.#status?.problem ?? ''
    const problem = this.#problem === '' ? own : `${this.url}: ${this.#problem}`
    const { capturing, flowsPerSecond } = this.#status ?? {}
    return {
      ...(this.#address.nodeName && { nodeName: this.#address.nodeName }),
      ...this.#status,
      connected: this.#connected,
      capturing: this.#connected && (capturing ?? false),
      flowsPerSecond: this.#connected ? (flowsPerSecond ?? 0) : 0,
      problem,
    }
  }

  #connect(signal: AbortSignal): AsyncGenerator<FeedMessage, void, void> {
    const { filters, labels, own } = this.#wanted
    return connect({
      ...this.#address.credentials,
      server: this.url,
      follow: true,
      filters,
      labels,
      own,
      status: true,
      maxRetryMs: MAX_RETRY_MS,
      control: this.#control,
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
        if (message.status.timeUs) this.#aheadUs = message.status.timeUs - Date.now() * 1000
        this.#place(message.cursor)
        break
      case 'error':
        this.#say(message.error.message || 'the agent complains')
        break
      case 'gap':
        // How much was missed nobody knows.
        this.#sink.lost({
          nodeName: this.nodeName,
          stage: Stage.STAGE_GATEWAY,
          unit: Unit.UNIT_RECORDS,
          count: 0,
          sinceUs: message.sinceUs,
          untilUs: message.untilUs,
        })
        break
    }
  }

  /** Moves on to where a frame ends; false when it does not say where that is. */
  #place(text: string): boolean {
    const cursor = parseCursor(text)
    if (cursor === undefined) return false
    if (cursor.agentId !== this.#run) {
      this.#runs.leave(this, this.#run)
      this.#run = cursor.agentId
      this.#sequence = 0
      this.#runs.join(this, this.#run, 0)
    }
    this.#sequence = Math.max(this.#sequence, cursor.sequence)
    return true
  }

  #flows(flows: readonly FlowMessage[], cursor: string): void {
    this.#lastFlowMs = performance.now()
    this.#lastFlowUs = flows.at(-1)?.timeUs ?? 0
    if (!this.#place(cursor)) {
      this.#sink.flows(flows)
      return
    }
    if (!this.#runs.leads(this, this.#run)) this.#say(DOUBLE)
    else if (this.#problem === DOUBLE) this.#say('')
    const fresh = this.#runs.fresh(this.#run, flows, this.#sequence)
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
