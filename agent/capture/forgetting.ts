// The end of views and connections: their entries are deleted from the kernel, and connections are remembered for a while
// for segments that come late. Bounded; the oldest are let go first.

import { MAX_VIEWS } from './connections.js'
import type { Tables } from './reading.js'
import { ViewFlag } from './views.js'

/** Deletes a key from the kernel's map of a family: `keys[at…]`. */
export type Forget = (family: 4 | 6, keys: Uint32Array, at: number) => void

/** Most connections that are remembered after the kernel has forgotten them, for late segments. */
export const MAX_REMEMBERED = 16_384

export class Forgetting {
  readonly #tables: Tables
  /** Views that no connection reads any more. */
  readonly #evicted: number[] = []
  /** Connections (slot, id) that the kernel has forgotten, the oldest first. */
  readonly #remembered: number[] = []
  /** Tuples kept though the kernel's map had no room for them. */
  spilled = 0

  constructor(tables: Tables) {
    this.#tables = tables
  }

  /** A view belongs to no connection any more and is to be deleted at the next drain. */
  evict(view: number): void {
    this.#evicted.push(view)
  }

  /** Deletes what was evicted. */
  forgetEvicted(forget: Forget): void {
    const { views } = this.#tables
    for (const view of this.#evicted.splice(0)) {
      if (views.connection[view]! >= 0) continue
      if ((views.flags[view]! & ViewFlag.IN_KERNEL) !== 0)
        forget(views.family(view), views.keys(view), views.keyOffset(view))
      this.#remove(view)
    }
  }

  /** Deletes a closed connection's entries from the kernel and remembers it. `full`: let go of most that are remembered. */
  forget(c: number, forget: Forget, full: boolean): void {
    const { connections, views } = this.#tables
    let inKernel = false
    for (let i = c * MAX_VIEWS; i < (c + 1) * MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      if ((views.flags[view]! & ViewFlag.IN_KERNEL) === 0) continue
      inKernel = true
      forget(views.family(view), views.keys(view), views.keyOffset(view))
      views.flags[view]! &= ~ViewFlag.IN_KERNEL
    }
    if (!inKernel && connections.toldBoot[c]! < 0) return
    connections.toldBoot[c] = -1
    this.#remembered.push(c, connections.id[c]!)
    this.#trim(full ? MAX_REMEMBERED / 8 : MAX_REMEMBERED)
  }

  #trim(limit: number): void {
    let from = 0
    while (this.#remembered.length - from > limit * 2) {
      const c = this.#remembered[from]!
      if (this.#tables.connections.id[c] === this.#remembered[from + 1]) this.#release(c)
      from += 2
    }
    if (from > 0) this.#remembered.splice(0, from)
  }

  #release(c: number): void {
    const { connections, views } = this.#tables
    for (let i = c * MAX_VIEWS; i < (c + 1) * MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      if ((views.flags[view]! & ViewFlag.IN_KERNEL) !== 0) {
        // came back to life meanwhile: it stays
        connections.toldBoot[c] = 0
        return
      }
    }
    for (let i = c * MAX_VIEWS; i < (c + 1) * MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      views.connection[view] = -1
      this.#remove(view)
    }
    connections.free(c)
  }

  #remove(view: number): void {
    const { views } = this.#tables
    if ((views.flags[view]! & ViewFlag.SPILLED) !== 0) this.spilled--
    views.remove(view)
  }
}
