// The end of views and connections: their entries are deleted from the kernel, and TCP connections are remembered for a
// while for segments that come late. Bounded; the oldest are let go first.

import { C1, C4, C8, ConnectionState, MAX_VIEWS } from './connections.js'
import { EndReason } from './flow-batch.js'
import type { Tables } from './reading.js'
import { V1, V4, ViewFlag } from './views.js'

/** Deletes a key from the kernel's map of a family: `keys[at…]`. */
export type Forget = (family: 4 | 6, keys: Uint32Array, at: number) => void

const PROTOCOL_TCP = 6

export class Forgetting {
  readonly #tables: Tables
  readonly #forget: Forget
  /** Views that no connection reads any more. */
  readonly #evicted = new Set<number>()
  /** Connections (slot and id) that the kernel has forgotten: a ring, the oldest at #oldest. */
  readonly #slots: Int32Array
  readonly #ids: Float64Array
  #oldest = 0
  #count = 0
  /** Tuples kept though the kernel's map had no room for them. */
  spilled = 0

  /** @param remembered most connections that are remembered after the kernel has forgotten them */
  constructor(tables: Tables, forget: Forget, remembered: number) {
    this.#tables = tables
    this.#forget = forget
    this.#slots = new Int32Array(remembered)
    this.#ids = new Float64Array(remembered)
  }

  /** A view belongs to no connection any more and is to be deleted at the next drain. */
  evict(view: number): void {
    this.#evicted.add(view)
  }

  /** Deletes what was evicted. */
  forgetEvicted(): void {
    const { views } = this.#tables
    for (const view of this.#evicted) {
      if (views.connection[view * V4]! >= 0) continue
      this.#delete(view)
      this.#remove(view)
    }
    this.#evicted.clear()
  }

  /**
   * Deletes a closed connection's entries from the kernel. It is remembered where what comes on its tuple can still be
   * its own, else it is gone.
   */
  forget(c: number): void {
    const { connections, views } = this.#tables
    for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      this.#delete(view)
    }
    if (connections.is(c, ConnectionState.FORGOTTEN)) return
    connections.set(c, ConnectionState.FORGOTTEN)
    const late =
      views.protocol(connections.root[c * C4]!) === PROTOCOL_TCP &&
      connections.endReason[c * C1] !== EndReason.IDLE
    if (late && this.#slots.length > 0) this.#remember(c)
    else this.#release(c)
  }

  /** Makes room: lets go of the oldest eighth of what is remembered. False when nothing is. */
  makeRoom(): boolean {
    if (this.#count === 0) return false
    for (let left = Math.max(1, this.#count >> 3); left > 0; left--) this.#dropOldest()
    return true
  }

  #remember(c: number): void {
    const size = this.#slots.length
    if (this.#count === size) this.#dropOldest()
    const at = (this.#oldest + this.#count++) % size
    this.#slots[at] = c
    this.#ids[at] = this.#tables.connections.id[c * C8]!
  }

  #dropOldest(): void {
    const c = this.#slots[this.#oldest]!
    const id = this.#ids[this.#oldest]!
    this.#oldest = (this.#oldest + 1) % this.#slots.length
    this.#count--
    const { connections } = this.#tables
    if (connections.id[c * C8] === id && connections.is(c, ConnectionState.FORGOTTEN)) this.#release(c)
  }

  #release(c: number): void {
    const { connections, views } = this.#tables
    for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      if ((views.flags[view * V1]! & ViewFlag.IN_KERNEL) !== 0) {
        // came back to life meanwhile: it stays
        connections.clear(c, ConnectionState.FORGOTTEN)
        return
      }
    }
    for (let i = c * C4; i < c * C4 + MAX_VIEWS; i++) {
      const view = connections.views[i]!
      if (view < 0) break
      views.connection[view * V4] = -1
      this.#remove(view)
    }
    connections.free(c)
  }

  #delete(view: number): void {
    const { views } = this.#tables
    if ((views.flags[view * V1]! & ViewFlag.IN_KERNEL) === 0) return
    views.flags[view * V1]! &= ~ViewFlag.IN_KERNEL
    this.#forget(views.family(view), views.key, views.keyOffset(view))
  }

  #remove(view: number): void {
    const { views } = this.#tables
    if ((views.flags[view * V1]! & ViewFlag.SPILLED) !== 0) this.spilled--
    views.remove(view)
  }
}
