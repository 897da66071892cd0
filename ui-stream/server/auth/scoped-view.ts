// What one user sees who may see some namespaces only: a stream of its own, made of masked flows. Filters, history,
// cursors, sequences and counts of such a client know nothing but what was masked before, so that none of them can say
// more. Everybody else's stream is not touched by it.
//
//   the server's history  --namespaces that are seen-->  mask  -->  a server of their own, without a listener

import { createHmac, randomBytes } from 'node:crypto'
import type { WebSocket } from 'ws'
import { type FlowMessage, type LostMessage, Stage, StreamMessage, Unit } from '../../protocol/messages.js'
import type { Subprotocol } from '../../protocol/names.js'
import type { EncodedBatch } from '../encoded-batch.js'
import { FlowFilter } from '../filter.js'
import type { HistoryPiece, ReadLimits } from '../history.js'
import type { Grant, Scope } from './grant.js'
import { maskFlow } from './mask-flow.js'

/** As much of the server's history as is needed here. */
export interface PastFlows {
  readonly firstSequence: number
  readonly nextSequence: number
  read(from: number, to: number, filter: FlowFilter, labels: boolean, limits: ReadLimits): HistoryPiece
}

/** The stream that a view feeds: a server without a listener. */
export interface ViewServer {
  publishFlows(flows: readonly FlowMessage[]): void
  publishLost(losses: readonly LostMessage[]): void
  adopt(socket: WebSocket, subprotocol: Subprotocol, query: URLSearchParams, grant: Grant): void
  readonly clients: number
  close(): Promise<void>
}

/** One step: records looked at, and masked. */
const STEP = { scan: 16_384, records: 1024 } as const

/** Stands for ids of connections, of which the numbers alone say how many there were. Of one run. */
const ALIAS_KEY = randomBytes(32)

function alias(agentId: string, id: number): number {
  const digest = createHmac('sha256', ALIAS_KEY).update(`${agentId}/${id}`).digest()
  return digest.readUIntBE(0, 6) + 1
}

/** Whoever makes it closes it. */
export class ScopedView {
  readonly server: ViewServer
  readonly #scope: Scope
  readonly #past: PastFlows
  readonly #namespaces: ReadonlySet<string>
  #position: number
  #filter: FlowFilter | undefined
  #allowed = ''
  #running: Promise<void> | undefined
  #closed = false

  /** `namespaces` are all that flows of the history speak of, and grow as it does. */
  constructor(scope: Scope, past: PastFlows, namespaces: ReadonlySet<string>, server: ViewServer) {
    this.#scope = scope
    this.#past = past
    this.#namespaces = namespaces
    this.#position = past.firstSequence
    this.server = server
  }

  /** Takes in what is new. Resolves when everything that was there when it was called has been taken in. */
  async catchUp(): Promise<void> {
    const to = this.#past.nextSequence
    while (!this.#closed && this.#position < to) {
      this.#running ??= this.#run().finally(() => {
        this.#running = undefined
      })
      await this.#running
    }
  }

  /** Tells its clients that something was lost, not what and how much: others' flows, as likely as theirs. */
  lost(losses: readonly LostMessage[]): void {
    const veiled = losses.map(({ stage, unit, sinceUs, untilUs }) => ({
      ...(stage && { stage }),
      ...(unit && { unit }),
      ...(sinceUs && { sinceUs }),
      ...(untilUs && { untilUs }),
      count: 0,
    }))
    this.server.publishLost(veiled)
  }

  /** History is about to drop a chunk: what was still to be taken in of it is lost to this view's clients. */
  evicted(chunk: Parameters<FlowFilter['select']>[0] & { readonly firstSequence: number }): void {
    const end = chunk.firstSequence + chunk.count
    if (this.#position >= end) return
    const from = Math.max(0, this.#position - chunk.firstSequence)
    this.#position = end
    const selected = this.#currentFilter()?.select(chunk, from, chunk.count) ?? []
    const count = selected === 'all' ? chunk.count - from : selected.length
    if (count === 0) return
    const nowUs = Date.now() * 1000
    this.server.publishLost([
      { stage: Stage.STAGE_CLIENT, unit: Unit.UNIT_RECORDS, count, sinceUs: nowUs, untilUs: nowUs },
    ])
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.server.close()
  }

  async #run(): Promise<void> {
    while (!this.#closed && this.#position < this.#past.nextSequence) {
      if ([...this.#namespaces].some((namespace) => this.#scope.sees(namespace) === undefined)) {
        await this.#scope.settled()
        continue
      }
      this.#step()
      // Others' turn.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #step(): void {
    const past = this.#past
    const to = past.nextSequence
    const filter = this.#currentFilter()
    if (filter === undefined) {
      this.#position = to
      return
    }
    const { batch, next } = past.read(this.#position, to, filter, true, STEP)
    this.#position = next
    if (batch === undefined) return
    const flows: FlowMessage[] = []
    for (const flow of decode(batch)) {
      const masked = maskFlow(flow, { sees: this.#sees, alias })
      if (masked !== undefined) flows.push(masked)
    }
    this.server.publishFlows(flows)
  }

  readonly #sees = (namespace: string): boolean => this.#scope.sees(namespace) === true

  /** Passes flows that touch a namespace that is seen; undefined when there is none. */
  #currentFilter(): FlowFilter | undefined {
    const allowed = [...this.#namespaces].filter(this.#sees)
    if (allowed.length === 0) return undefined
    const key = allowed.join(' ')
    if (this.#filter === undefined || key !== this.#allowed) {
      this.#allowed = key
      const filters = []
      // As many as one filter takes; those of the same name are or'ed.
      for (let i = 0; i < allowed.length; i += 256) {
        filters.push({ name: 'namespace', values: allowed.slice(i, i + 256), negate: false })
      }
      this.#filter = FlowFilter.compile({ filters, own: true })
    }
    return this.#filter
  }
}

function decode({ bytes }: EncodedBatch): FlowMessage[] {
  return StreamMessage.decode(bytes).flows
}
