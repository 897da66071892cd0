// Tickets: what a browser shows in place of a token, since it cannot set headers on a WebSocket. Good once, for half a
// minute, and only for a page of the origin that fetched it, so that one in a log is worth nothing.

import { createHash, randomBytes } from 'node:crypto'
import type { Grant } from './grant.js'

/** From fetching to connecting. */
export const TICKET_MS = 30_000
/** Tickets that wait; the oldest go first. */
const MOST_TICKETS = 1024

interface Ticket {
  readonly grant: Grant
  readonly origin: string | undefined
  readonly untilMs: number
}

export class Tickets {
  readonly #waiting = new Map<string, Ticket>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** A ticket for `grant`; `origin` is that of the page, undefined for what is no browser. */
  issue(grant: Grant, origin: string | undefined): string {
    const now = this.#nowMs()
    for (const [key, { untilMs }] of this.#waiting) {
      if (untilMs > now && this.#waiting.size < MOST_TICKETS) break
      this.#waiting.delete(key)
    }
    const text = randomBytes(32).toString('base64url')
    this.#waiting.set(keyOf(text), { grant, origin, untilMs: now + TICKET_MS })
    return text
  }

  /** What `text` was issued for; undefined when it was not, not here, not for this origin, or is no longer good. */
  redeem(text: string, origin: string | undefined): Grant | undefined {
    const key = keyOf(text)
    const ticket = this.#waiting.get(key)
    // Whoever shows it has used it, whatever comes of it.
    this.#waiting.delete(key)
    if (ticket === undefined || ticket.untilMs <= this.#nowMs() || ticket.origin !== origin) return undefined
    return ticket.grant
  }

  get size(): number {
    return this.#waiting.size
  }
}

/** Looking up a digest tells nothing by the time that it takes. */
function keyOf(text: string): string {
  return createHash('sha256').update(text).digest('base64')
}
