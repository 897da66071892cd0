// What a gateway's clients want between them, as one subscription for the agents: never less than the union of what they
// ask for, and as little more as one subscription can say. Who has left is remembered for a while, so that somebody who
// comes back finds what came in between.

import type { FilterSpec } from '../protocol/filters.js'
import type { Subscription } from '../protocol/subscription.js'

/** What agents are asked for. */
export interface Wanted {
  readonly filters: readonly FilterSpec[]
  readonly labels: boolean
  readonly own: boolean
}

/** Nobody wants anything: a node of this name there cannot be (RFC 1123). */
export const NOTHING: Wanted = {
  filters: [{ name: 'node', values: ['-'], negate: false }],
  labels: false,
  own: false,
}
const LINGER_MS = 60_000
/** As many values as one filter takes. */
const MOST_VALUES = 256

export class GatewayDemand {
  readonly #clients = new Map<object, Subscription>()
  readonly #lingering = new Map<Subscription, NodeJS.Timeout>()
  readonly #changed: (wanted: Wanted) => void
  readonly #lingerMs: number
  #wanted = NOTHING
  #scheduled = false

  /** `changed` is called after `current` has become another. */
  constructor(changed: (wanted: Wanted) => void, lingerMs = LINGER_MS) {
    this.#changed = changed
    this.#lingerMs = lingerMs
  }

  get current(): Wanted {
    return this.#wanted
  }

  set(client: object, subscription: Subscription): void {
    this.#clients.set(client, subscription)
    this.#look()
  }

  delete(client: object): void {
    const subscription = this.#clients.get(client)
    this.#clients.delete(client)
    if (subscription === undefined) return
    // Only what was followed can be resumed.
    this.#lingering.set(
      subscription,
      setTimeout(() => {
        this.#lingering.delete(subscription)
        this.#look()
      }, this.#lingerMs).unref(),
    )
    if (this.#lingering.size <= 256) return
    for (const [oldest, timer] of this.#lingering) {
      clearTimeout(timer)
      this.#lingering.delete(oldest)
      break
    }
  }

  close(): void {
    for (const timer of this.#lingering.values()) clearTimeout(timer)
    this.#lingering.clear()
  }

  /** Applies what has changed at once. */
  apply(): void {
    const wanted = unionOf([...this.#clients.values(), ...this.#lingering.keys()])
    if (JSON.stringify(wanted) === JSON.stringify(this.#wanted)) return
    this.#wanted = wanted
    this.#changed(wanted)
  }

  /** Many who come at once are one change. */
  #look(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.apply()
    })
  }
}

/** The least that one subscription can say and that holds all of `subscriptions`. */
export function unionOf(subscriptions: readonly Subscription[]): Wanted {
  if (subscriptions.length === 0) return NOTHING
  const parts = subscriptions.map(({ filters }) => byName(filters))
  const filters: FilterSpec[] = []
  // A filter that all have in common narrows to the values of any; what all exclude is excluded.
  for (const [key, first] of parts[0]!) {
    const others = parts.map((part) => part.get(key))
    if (others.some((other) => other === undefined)) continue
    const { name, negate } = first
    const values = negate
      ? first.values.filter((value) => others.every((other) => other?.values.includes(value)))
      : [...new Set(others.flatMap((other) => other?.values ?? []))]
    if (values.length > 0 && values.length <= MOST_VALUES)
      filters.push({ name, values: values.sort(), negate })
  }
  filters.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
  return {
    filters,
    labels: subscriptions.some(
      ({ labels, filters, expression }) =>
        labels === true || expression !== undefined || filters.some(({ name }) => name.endsWith('label')),
    ),
    own: subscriptions.some(({ own }) => own === true),
  }
}

function keyOf({ name, negate }: FilterSpec): string {
  return `${negate ? 'not.' : ''}${name}`
}

/** Filters of one name put together, as they are or'ed. */
function byName(filters: readonly FilterSpec[]): Map<string, FilterSpec> {
  const named = new Map<string, FilterSpec>()
  for (const filter of filters) {
    const known = named.get(keyOf(filter))
    named.set(
      keyOf(filter),
      known === undefined ? filter : { ...known, values: [...known.values, ...filter.values] },
    )
  }
  return named
}
