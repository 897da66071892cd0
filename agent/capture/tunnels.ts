// The tunnels that flows were seen in, each once: records carry a number until they are made. Bounded.

import type { TunnelInfo } from './flow-batch.js'

const MAX_TUNNELS = 4_096

export class Tunnels {
  readonly #tunnels: TunnelInfo[] = []
  readonly #index = new Map<string, number>()

  /** The number of a tunnel, or -1 when there are too many. */
  intern(info: TunnelInfo): number {
    const key = `${info.type}/${info.id}/${info.source.join('.')}/${info.destination.join('.')}`
    let index = this.#index.get(key)
    if (index !== undefined) return index
    if (this.#tunnels.length >= MAX_TUNNELS) return -1
    index = this.#tunnels.push(info) - 1
    this.#index.set(key, index)
    return index
  }

  /** The same object for equal tunnels; undefined for -1. */
  get(index: number): TunnelInfo | undefined {
    return index < 0 ? undefined : this.#tunnels[index]
  }
}
