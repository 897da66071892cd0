// Who held an address, and when. The one structure that identity asks for each record, so: no allocation, no strings.
//
// Each key (an address, or an address with a qualifier such as port and protocol) has a chain of holds, newest first.
// A hold is [from, until) in microseconds since the Unix epoch, as this agent learnt of it: the API server's clock plays
// no part. Ended holds stay as tombstones, so that a record is named by who held the address when its packets flew;
// they are bounded in number and the oldest go first.

import { type AddressWords, IPV4_PREFIX } from './address.js'
import { NONE, TupleTable, WordTable } from './word-table.js'

const FOREVER = Number.POSITIVE_INFINITY

/**
 * Packets fly before their address is known: a pod's first connection comes before its status. A time that lies in
 * nobody's hold, and at most this much before the next one, is given to that next one. Microseconds.
 */
export const LEAD_US = 10_000_000

/** Most ended holds that are remembered, unless told. */
export const MAX_TOMBSTONES = 16_384

/** What a holder's owner remembers of what it holds: numbers of the index, for `move` only. Most hold one thing. */
export type Holds = number | readonly number[]
export const NO_HOLDS: Holds = NONE

/** Somebody is to hold a key. */
export interface Claim<T> {
  readonly address: AddressWords
  /** 0 for a plain address. */
  readonly qualifier: number
  readonly holder: T
}

export class AddressIndex<T extends object> {
  /** Holds that have not ended. */
  current = 0
  /** Ended holds that are still remembered. */
  tombstones = 0
  /** Ended holds that were forgotten to stay within bounds. */
  forgotten = 0

  readonly #maxTombstones: number
  readonly #ipv4 = new WordTable()
  readonly #other = new TupleTable()
  #holder: (T | undefined)[] = []
  #from = new Float64Array(64)
  #until = new Float64Array(64)
  /** The hold of the same key before this one. */
  #older = new Int32Array(64)
  #words = new Uint32Array(64 * 5)
  #used = 0
  readonly #free: number[] = []
  /** Ended holds, oldest first from #graveHead. */
  #grave: number[] = []
  #graveHead = 0

  constructor(maxTombstones = MAX_TOMBSTONES) {
    this.#maxTombstones = maxTombstones
  }

  /**
   * Who held the key at `timeUs`; undefined when nobody did, or nobody is known. `qualifier` is 0 for a plain address.
   */
  get(w0: number, w1: number, w2: number, w3: number, qualifier: number, timeUs: number): T | undefined {
    let hold =
      qualifier === 0 && w2 === IPV4_PREFIX && w0 === 0 && w1 === 0
        ? this.#ipv4.get(w3)
        : this.#other.get(w0, w1, w2, w3, qualifier)
    let next = NONE
    while (hold !== NONE) {
      if (timeUs >= this.#from[hold]!) {
        if (timeUs < this.#until[hold]!) return this.#holder[hold]
        break
      }
      next = hold
      hold = this.#older[hold]!
    }
    if (next !== NONE && timeUs >= this.#from[next]! - LEAD_US) return this.#holder[next]
    return undefined
  }

  /** True when anybody holds or held the key, as far as is remembered. */
  has(w0: number, w1: number, w2: number, w3: number, qualifier: number): boolean {
    return this.#find(w0, w1, w2, w3, qualifier) !== NONE
  }

  /**
   * `holder` holds the key from `fromUs` on (0: nobody knows since when). Whoever held it until now, no longer does.
   * Saying the same again changes nothing. The hold's number.
   */
  claim(address: AddressWords, qualifier: number, holder: T, fromUs: number): number {
    const [w0, w1, w2, w3] = address
    const head = this.#find(w0, w1, w2, w3, qualifier)
    if (head !== NONE && this.#until[head] === FOREVER) {
      if (this.#holder[head] === holder) return head
      this.#end(head, fromUs)
    }
    // Ending it may have forgotten the oldest tombstone, which may have been of this chain: look again.
    const older = this.#find(w0, w1, w2, w3, qualifier)
    const hold = this.#take()
    this.#holder[hold] = holder
    this.#from[hold] = older === NONE ? fromUs : Math.max(fromUs, this.#until[older]!)
    this.#until[hold] = FOREVER
    this.#older[hold] = older
    this.#words.set(address, hold * 5)
    this.#words[hold * 5 + 4] = qualifier
    this.#point(hold, hold)
    this.current++
    return hold
  }

  /** `holder` gave the key up at `untilUs`. Does nothing when somebody else holds it by now. */
  release(address: AddressWords, qualifier: number, holder: T, untilUs: number): void {
    const head = this.#find(address[0], address[1], address[2], address[3], qualifier)
    if (head === NONE || this.#until[head] !== FOREVER || this.#holder[head] !== holder) return
    this.#end(head, untilUs)
  }

  /**
   * Lets somebody go from holding `held` to holding `wanted`, and nothing else; `mine` says of a holder whether it is
   * theirs. `fromUs` dates what is new, `nowUs` what is given up. What somebody else has taken meanwhile is not taken
   * back by saying it again. What is held now.
   */
  move(
    held: Holds,
    wanted: readonly Claim<T>[],
    mine: (holder: T) => boolean,
    fromUs: number,
    nowUs: number,
  ): Holds {
    const before: readonly number[] = typeof held === 'number' ? (held === NONE ? [] : [held]) : held
    const kept = new Array<number>(wanted.length).fill(NONE)
    for (const hold of before) {
      const holder = this.#holder[hold]
      // Forgotten since, and perhaps given to others.
      if (holder === undefined || !mine(holder)) continue
      const place = wanted.findIndex((claim) => this.#is(hold, claim))
      if (place >= 0) kept[place] = hold
      else if (this.#until[hold] === FOREVER) this.#end(hold, nowUs)
    }
    for (let i = 0; i < wanted.length; i++) {
      const { address, qualifier, holder } = wanted[i]!
      if (kept[i] === NONE) kept[i] = this.claim(address, qualifier, holder, fromUs)
    }
    return kept.length === 0 ? NO_HOLDS : kept.length === 1 ? kept[0]! : kept
  }

  /** The keys' addresses of what `holder` holds by these numbers; what was forgotten since is left out. */
  addressesOf(held: Holds, holder: T): AddressWords[] {
    const holds: readonly number[] = typeof held === 'number' ? (held === NONE ? [] : [held]) : held
    return holds
      .filter((hold) => this.#holder[hold] === holder)
      .map((hold) => {
        const words = this.#words.subarray(hold * 5, hold * 5 + 4)
        return [words[0]!, words[1]!, words[2]!, words[3]!]
      })
  }

  #is(hold: number, { address, qualifier, holder }: Claim<T>): boolean {
    const k = hold * 5
    const words = this.#words
    return (
      this.#holder[hold] === holder &&
      words[k + 3] === address[3] &&
      words[k + 4] === qualifier &&
      words[k + 2] === address[2] &&
      words[k + 1] === address[1] &&
      words[k] === address[0]
    )
  }

  #end(hold: number, untilUs: number): void {
    this.#until[hold] = Math.max(untilUs, this.#from[hold]!)
    this.current--
    this.tombstones++
    this.#grave.push(hold)
    while (this.tombstones > this.#maxTombstones) this.#forgetOldest()
  }

  #forgetOldest(): void {
    const hold = this.#grave[this.#graveHead++]!
    if (this.#graveHead > 1024 && this.#graveHead * 2 > this.#grave.length) {
      this.#grave = this.#grave.slice(this.#graveHead)
      this.#graveHead = 0
    }
    this.tombstones--
    this.forgotten++
    // Holds of one key end in order, so the oldest grave is the last of its chain.
    const k = hold * 5
    const words = this.#words
    let newer = this.#find(words[k]!, words[k + 1]!, words[k + 2]!, words[k + 3]!, words[k + 4]!)
    if (newer === hold) this.#point(hold, NONE)
    else {
      while (this.#older[newer] !== hold) newer = this.#older[newer]!
      this.#older[newer] = NONE
    }
    this.#holder[hold] = undefined
    this.#free.push(hold)
  }

  #find(w0: number, w1: number, w2: number, w3: number, qualifier: number): number {
    return qualifier === 0 && w2 === IPV4_PREFIX && w0 === 0 && w1 === 0
      ? this.#ipv4.get(w3)
      : this.#other.get(w0, w1, w2, w3, qualifier)
  }

  /** Lets the key of `hold` begin with `head`. */
  #point(hold: number, head: number): void {
    const k = hold * 5
    const words = this.#words
    const w0 = words[k]!
    const w1 = words[k + 1]!
    const w2 = words[k + 2]!
    const w3 = words[k + 3]!
    const q = words[k + 4]!
    if (q === 0 && w2 === IPV4_PREFIX && w0 === 0 && w1 === 0) {
      if (head === NONE) this.#ipv4.delete(w3)
      else this.#ipv4.set(w3, head)
    } else if (head === NONE) this.#other.delete(w0, w1, w2, w3, q)
    else this.#other.set(w0, w1, w2, w3, q, head)
  }

  #take(): number {
    const free = this.#free.pop()
    if (free !== undefined) return free
    const hold = this.#used++
    if (hold === this.#from.length) {
      this.#from = grown(this.#from, Float64Array)
      this.#until = grown(this.#until, Float64Array)
      this.#older = grown(this.#older, Int32Array)
      this.#words = grown(this.#words, Uint32Array)
    }
    return hold
  }
}

function grown<A extends Float64Array | Int32Array | Uint32Array>(
  old: A,
  make: new (length: number) => A,
): A {
  const bigger = new make(old.length * 2)
  bigger.set(old)
  return bigger
}
