// Compiled filters, one for all clients that ask for the same: a batch is filtered and cut for them once.

import type { Subscription } from '../protocol/subscription.js'
import { FlowFilter } from './filter.js'

interface Entry {
  readonly key: string
  readonly filter: FlowFilter
  users: number
}

export class FilterPool {
  readonly #entries = new Map<string, Entry>()
  readonly #byFilter = new Map<FlowFilter, Entry>()

  /** How many different filters are in use. */
  get size(): number {
    return this.#entries.size
  }

  /** The filter of a subscription, compiled if nobody else has it. Throws as FlowFilter.compile. Give it back. */
  take(subscription: Subscription): FlowFilter {
    const { filters, expression, own, sinceUs, untilUs } = subscription
    const key = JSON.stringify([filters, expression ?? '', own ?? false, sinceUs, untilUs])
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = { key, filter: FlowFilter.compile(subscription), users: 0 }
      this.#entries.set(key, entry)
      this.#byFilter.set(entry.filter, entry)
    }
    entry.users++
    return entry.filter
  }

  /** One user less. */
  give(filter: FlowFilter): void {
    const entry = this.#byFilter.get(filter)
    if (entry === undefined || --entry.users > 0) return
    this.#entries.delete(entry.key)
    this.#byFilter.delete(filter)
  }
}
