// What the sessions of a server share. Types only.

import type { StatusMessage } from '../protocol/messages.js'
import type { Subscription } from '../protocol/subscription.js'
import type { QueueLimits } from './client-queue.js'
import type { FilterPool } from './filter-pool.js'
import type { History } from './history.js'
import type { StreamMetrics } from './metrics.js'
import type { QueueBudget } from './queue-budget.js'
import type { Turns } from './turns.js'

/** What sessions share. */
export interface SessionContext {
  readonly agentId: string
  readonly nodeName: string
  /** When this run began, microseconds, and as whose loss a gap before it is told. */
  readonly startedUs: number
  readonly stage: () => number
  readonly history: History
  readonly filters: FilterPool
  readonly turns: Turns
  readonly budget: QueueBudget
  readonly metrics: StreamMetrics
  readonly limits: QueueLimits
  readonly status: () => readonly StatusMessage[]
  /** Learns what is asked for, where that decides what comes in. */
  readonly demand?: Demand
}

/** Who asks for what. */
export interface Demand {
  set(client: object, subscription: Subscription): void
  delete(client: object): void
}
