// Slows down those who guess: each address may fail a few times, and then once in a while. Successes cost nothing.

import { isIPv6 } from 'node:net'

/** Failures at once, and how long until one more is allowed. */
const BURST = 10
const REFILL_MS = 6000
/** Addresses that are remembered; the one that failed longest ago is forgotten first. */
const MOST_ADDRESSES = 4096

interface Failures {
  count: number
  /** When `count` was true. */
  atMs: number
}

export class FailureLimit {
  readonly #failures = new Map<string, Failures>()
  readonly #nowMs: () => number

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** How long `address` has to wait before it may try again, ms; 0: not at all. */
  waitMs(address: string): number {
    const known = this.#failures.get(networkOf(address))
    if (known === undefined) return 0
    const over = known.count - (this.#nowMs() - known.atMs) / REFILL_MS - (BURST - 1)
    return over <= 0 ? 0 : Math.ceil(over * REFILL_MS)
  }

  /** `address` showed something that is not accepted. */
  failed(address: string): void {
    const key = networkOf(address)
    const now = this.#nowMs()
    const known = this.#failures.get(key)
    const left = known === undefined ? 0 : Math.max(0, known.count - (now - known.atMs) / REFILL_MS)
    this.#failures.delete(key)
    if (this.#failures.size >= MOST_ADDRESSES) {
      for (const oldest of this.#failures.keys()) {
        this.#failures.delete(oldest)
        break
      }
    }
    this.#failures.set(key, { count: Math.min(BURST, left + 1), atMs: now })
  }

  get size(): number {
    return this.#failures.size
  }
}

/** IPv6 hosts have whole /64 networks to choose from: those count as one. */
function networkOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '')
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = plain.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const behind = tail === '' ? 0 : tail.split(':').length
    while (groups.length < 8 - behind) groups.push('0')
    if (behind > 0) groups.push(...tail.split(':'))
  }
  return `${groups.slice(0, 4).join(':')}::/64`
}
