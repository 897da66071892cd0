// Addresses that are not known here and may be known to the API server: asked for one at a time, at a bounded rate, and
// remembered whether somebody was found or not.
//
// In the local mode an agent watches the pods of its own node only. A record whose end nobody holds says so here (`want`,
// on the path of every record: no allocation, one probe of a table), and the name comes with a later record. Who was
// found is lent for a while: in use it is asked for again before that is over, otherwise it is nobody's name any more.

import { describeError } from '../errors.js'
import { NONE, TupleTable } from './word-table.js'

/** How long an answer is good for, in microseconds: asked again after the first, not believed after the second. */
const RENEW_US = 300_000_000
const BELIEVE_US = 600_000_000
/** After nobody was found, asked again no sooner than this; doubled each time in a row. */
const ABSENT_FIRST_MS = 30_000
const ABSENT_MOST_MS = 1_800_000
/** After the server could not say. */
const FAILED_MS = 10_000
const MOST_ADDRESSES = 16_384
const MOST_WAITING = 1024
const MOST_AT_ONCE = 4

const QUEUED = 1
const ASKING = 2
const ABSENT = 3
const LENT = 4
/** The server could not say. */
const FAILED = 5

/** What a holder that was looked up carries. Times are those of records: microseconds since the Unix epoch. */
export interface Lease {
  readonly slot: number
  renewUs: number
  untilUs: number
}

/** What asking for an address comes to. `release` gives back what was lent. */
export interface Found {
  /** The same object for the same holder. */
  readonly who: object
  readonly lend: (lease: Lease) => void
  readonly release: () => void
}

export interface StrangersOptions {
  /** Who has this address: undefined when nobody does. Throws when the server cannot say. `cost` in tokens. */
  readonly ask: (address: readonly [number, number, number, number]) => Promise<Found | undefined>
  /** Tokens that a question takes. */
  readonly cost: (address: readonly [number, number, number, number]) => number
  readonly tokensPerSecond: number
  readonly burst: number
  /** Microseconds since the Unix epoch, on the clock that dates records. */
  readonly nowUs: () => number
}

export interface StrangersState {
  readonly lent: number
  readonly waiting: number
  readonly asked: number
  /** Not asked for because too many others were waiting. */
  readonly refused: number
  readonly lastError: string | undefined
}

export class Strangers {
  readonly #options: StrangersOptions
  readonly #table = new TupleTable()
  readonly #words = new Uint32Array(MOST_ADDRESSES * 4)
  readonly #state = new Uint8Array(MOST_ADDRESSES)
  /** performance.now() before which it is not asked again. */
  readonly #askAt = new Float64Array(MOST_ADDRESSES)
  readonly #absences = new Uint8Array(MOST_ADDRESSES)
  readonly #found: (Found | undefined)[] = []
  readonly #waiting = new Int32Array(MOST_WAITING)
  #first = 0
  #count = 0
  #hand = 0
  #lent = 0
  #asked = 0
  #asking = 0
  #refused = 0
  #tokens: number
  #tokensAt = performance.now()
  #timer: NodeJS.Timeout | undefined
  #lastError: string | undefined
  #closed = false

  constructor(options: StrangersOptions) {
    this.#options = options
    this.#tokens = options.burst
  }

  state(): StrangersState {
    return {
      lent: this.#lent,
      waiting: this.#count + this.#asking,
      asked: this.#asked,
      refused: this.#refused,
      lastError: this.#lastError,
    }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  /** Somebody would like to know who has this address. True when the server has said that nobody does. */
  want(w0: number, w1: number, w2: number, w3: number): boolean {
    let slot = this.#table.get(w0, w1, w2, w3, 0)
    if (slot === NONE) {
      if (this.#count === MOST_WAITING) this.#refused++
      else {
        slot = this.#take(w0, w1, w2, w3)
        if (slot !== NONE) this.#queue(slot)
      }
      return false
    }
    const state = this.#state[slot]!
    const absent = this.#absences[slot]! > 0
    if (state !== QUEUED && state !== ASKING && performance.now() >= this.#askAt[slot]!) this.#queue(slot)
    return absent
  }

  /** A holder that was lent is in use, and its lease is due. */
  renew(lease: Lease): void {
    const { slot } = lease
    if (this.#state[slot] === LENT && performance.now() >= this.#askAt[slot]!) this.#queue(slot)
  }

  /** Something has happened to this address: what was found out about it may be wrong by now. */
  doubt(w0: number, w1: number, w2: number, w3: number): void {
    const slot = this.#table.get(w0, w1, w2, w3, 0)
    if (slot === NONE) return
    this.#askAt[slot] = 0
    this.#absences[slot] = 0
    if (this.#state[slot] === LENT) this.#queue(slot)
  }

  #queue(slot: number): void {
    if (this.#closed) return
    if (this.#count === MOST_WAITING) {
      this.#refused++
      return
    }
    this.#state[slot] = QUEUED
    this.#waiting[(this.#first + this.#count++) % MOST_WAITING] = slot
    this.#pump()
  }

  /** Asks what may be asked now, and comes back when there is a token for the next. */
  #pump(): void {
    if (this.#timer !== undefined || this.#closed) return
    const { tokensPerSecond, burst, cost } = this.#options
    while (this.#count > 0 && this.#asking < MOST_AT_ONCE) {
      const now = performance.now()
      this.#tokens = Math.min(burst, this.#tokens + ((now - this.#tokensAt) / 1000) * tokensPerSecond)
      this.#tokensAt = now
      const slot = this.#waiting[this.#first]!
      const price = Math.min(cost(this.#address(slot)), burst)
      if (this.#tokens < price) {
        const wait = ((price - this.#tokens) / tokensPerSecond) * 1000
        this.#timer = setTimeout(() => {
          this.#timer = undefined
          this.#pump()
        }, wait)
        this.#timer.unref()
        return
      }
      this.#tokens -= price
      this.#first = (this.#first + 1) % MOST_WAITING
      this.#count--
      this.#asking++
      this.#asked++
      this.#state[slot] = ASKING
      this.#ask(slot).finally(() => {
        this.#asking--
        this.#pump()
      })
    }
  }

  async #ask(slot: number): Promise<void> {
    let found: Found | undefined
    let failed: unknown
    try {
      found = await this.#options.ask(this.#address(slot))
      this.#lastError = undefined
    } catch (error) {
      failed = error
      this.#lastError = describeError(error)
    }
    const before = this.#found[slot]
    const now = performance.now()
    if (failed !== undefined) {
      // What was found before is believed as long as it was to be.
      this.#state[slot] = before === undefined ? FAILED : LENT
      this.#askAt[slot] = now + FAILED_MS
      return
    }
    this.#found[slot] = found
    if (before !== undefined) {
      this.#lent--
      if (found?.who !== before.who) before.release()
    }
    if (found === undefined) {
      const absences = this.#absences[slot]!
      this.#state[slot] = ABSENT
      this.#askAt[slot] = now + Math.min(ABSENT_MOST_MS, ABSENT_FIRST_MS * 2 ** absences)
      this.#absences[slot] = Math.min(absences + 1, 16)
      return
    }
    this.#state[slot] = LENT
    this.#absences[slot] = 0
    // One that stays unknown all the same (its address is claimed by somebody else) is not asked for in a circle.
    this.#askAt[slot] = now + FAILED_MS
    this.#lent++
    const at = this.#options.nowUs()
    found.lend({ slot, renewUs: at + RENEW_US, untilUs: at + BELIEVE_US })
  }

  #address(slot: number): readonly [number, number, number, number] {
    const words = this.#words
    const at = slot * 4
    return [words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!]
  }

  /** A slot for a new address: the one that has been there longest and is not under way. */
  #take(w0: number, w1: number, w2: number, w3: number): number {
    for (let tries = 0; tries <= MOST_WAITING + MOST_AT_ONCE; tries++) {
      const slot = this.#hand
      this.#hand = (this.#hand + 1) % MOST_ADDRESSES
      const state = this.#state[slot]!
      if (state === QUEUED || state === ASKING) continue
      if (state !== 0) {
        const [o0, o1, o2, o3] = this.#address(slot)
        this.#table.delete(o0, o1, o2, o3, 0)
      }
      const before = this.#found[slot]
      if (before !== undefined) {
        this.#lent--
        before.release()
        this.#found[slot] = undefined
      }
      this.#words.set([w0, w1, w2, w3], slot * 4)
      this.#table.set(w0, w1, w2, w3, 0, slot)
      this.#absences[slot] = 0
      this.#askAt[slot] = 0
      return slot
    }
    return NONE
  }
}
