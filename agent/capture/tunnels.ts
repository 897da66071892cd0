// The tunnels that flows were seen in, each once: records carry a number until they are made. Bounded: when there is no
// room, those that no connection is in any more are forgotten.

import type { TunnelInfo } from './flow-batch.js'

/** At most so many at a time. */
export const MAX_TUNNELS = 4_096
/** Looking for those that are not in use costs a walk over all connections: not again before so many were refused. */
const REFUSED_BETWEEN = 1_024

export class Tunnels {
  readonly #inUse: (use: (index: number) => void) => void
  readonly #tunnels: (TunnelInfo | undefined)[] = []
  readonly #keys: string[] = []
  readonly #index = new Map<string, number>()
  #free: number[] = []
  #refused = REFUSED_BETWEEN

  /** `inUse` calls what it is given with the number of the tunnel of every connection. */
  constructor(inUse: (use: (index: number) => void) => void) {
    this.#inUse = inUse
  }

  /** The number of a tunnel, or -1 when there are too many. */
  intern(info: TunnelInfo): number {
    const key = `${info.type}/${info.id}/${info.source.join('.')}/${info.destination.join('.')}`
    const known = this.#index.get(key)
    if (known !== undefined) return known
    const index = this.#room()
    if (index < 0) return -1
    this.#tunnels[index] = info
    this.#keys[index] = key
    this.#index.set(key, index)
    return index
  }

  /** The same object for equal tunnels as long as one is in use; undefined for -1. */
  get(index: number): TunnelInfo | undefined {
    return index < 0 ? undefined : this.#tunnels[index]
  }

  /** How many are known. */
  get size(): number {
    return this.#index.size
  }

  #room(): number {
    if (this.#free.length > 0) return this.#free.pop() as number
    if (this.#tunnels.length < MAX_TUNNELS) return this.#tunnels.push(undefined) - 1
    if (this.#refused++ < REFUSED_BETWEEN) return -1
    this.#refused = 0
    this.#forgetUnused()
    if (this.#free.length === 0) return -1
    this.#refused = REFUSED_BETWEEN
    return this.#free.pop() as number
  }

  #forgetUnused(): void {
    const used = new Uint8Array(MAX_TUNNELS)
    this.#inUse((index) => {
      if (index >= 0) used[index] = 1
    })
    for (let index = 0; index < this.#tunnels.length; index++) {
      if (used[index] === 1 || this.#tunnels[index] === undefined) continue
      this.#index.delete(this.#keys[index] ?? '')
      this.#tunnels[index] = undefined
      this.#free.push(index)
    }
  }
}
