// The views of all users who may see some namespaces only: made when the first of them connects, kept for a while after the
// last has left so that cursors lead somewhere, and bounded in number.

import type { Name } from '../../../agent/identity/names.js'
import type { LostMessage } from '../../protocol/messages.js'
import type { Scope } from './grant.js'
import { type PastFlows, ScopedView, type ViewServer } from './scoped-view.js'

/** Different users at a time; each has a history of its own. */
const MOST_VIEWS = 32
/** What a view may keep of the past, as a part of the server's own history. */
export const VIEW_HISTORY_PART = 16
const LINGER_MS = 120_000
const LOOK_MS = 10_000
const MOST_NAMESPACES = 16_384

interface Entry {
  readonly view: ScopedView
  /** What the scope's `shrunk` was when the view was made: it holds nothing that is not seen as of then. */
  readonly shrunk: number
  /** When its last client was seen. */
  usedMs: number
  /** Connections that are being opened. */
  opening: number
}

export class ScopedViews {
  readonly #past: PastFlows
  readonly #make: () => ViewServer
  readonly #views = new Map<Scope, Entry>()
  /** Hold more than may be seen now; their clients are being cut off. */
  readonly #retired = new Set<ScopedView>()
  readonly #namespaces = new Set<string>()
  #names = new WeakSet<Name>()
  readonly #timer: NodeJS.Timeout

  /** `make` opens the stream of one view. */
  constructor(past: PastFlows, make: () => ViewServer) {
    this.#past = past
    this.#make = make
    this.#timer = setInterval(() => this.#sweep(), LOOK_MS).unref()
  }

  /**
   * Hands `scope`'s stream, which holds everything up to now, to `use`. False when there are too many users already.
   */
  async with(scope: Scope, use: (server: ViewServer) => void): Promise<boolean> {
    // A view that nobody used for a while may hold what may no longer be seen; if nobody can be asked, it is as it was.
    if (this.#views.has(scope)) await scope.holds().catch(() => undefined)
    let entry = this.#views.get(scope)
    if (entry !== undefined && entry.shrunk !== scope.shrunk) {
      this.#views.delete(scope)
      this.#retired.add(entry.view)
      entry = undefined
    }
    if (entry === undefined) {
      if (this.#count >= MOST_VIEWS) this.#sweep(0)
      if (this.#count >= MOST_VIEWS) return false
      const view = new ScopedView(scope, this.#past, this.#namespaces, this.#make())
      entry = { view, shrunk: scope.shrunk, usedMs: performance.now(), opening: 0 }
      this.#views.set(scope, entry)
    }
    entry.opening++
    try {
      await entry.view.catchUp()
      use(entry.view.server)
    } finally {
      entry.opening--
      entry.usedMs = performance.now()
    }
    return true
  }

  /** Notices the namespaces of flows that are about to be published. */
  note(names: readonly Name[], count: number): void {
    for (let row = 0; row < count; row++) {
      const name = names[row]!
      if (this.#names.has(name)) continue
      this.#names.add(name)
      if (name.namespace !== undefined && this.#namespaces.size < MOST_NAMESPACES) {
        this.#namespaces.add(name.namespace)
      }
    }
  }

  /** There is something new in history. */
  published(): void {
    for (const { view } of this.#views.values()) void view.catchUp()
  }

  lost(losses: readonly LostMessage[]): void {
    for (const { view } of this.#views.values()) view.lost(losses)
  }

  evicted(chunk: Parameters<ScopedView['evicted']>[0]): void {
    for (const { view } of this.#views.values()) view.evicted(chunk)
  }

  get clients(): number {
    let clients = 0
    for (const { view } of this.#views.values()) clients += view.server.clients
    for (const view of this.#retired) clients += view.server.clients
    return clients
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    const views = [...this.#retired, ...[...this.#views.values()].map(({ view }) => view)]
    await Promise.all(views.map((view) => view.close()))
  }

  get #count(): number {
    return this.#views.size + this.#retired.size
  }

  /** Closes the views that nobody has used for a while. */
  #sweep(lingerMs = LINGER_MS): void {
    const now = performance.now()
    for (const view of this.#retired) {
      if (view.server.clients > 0) continue
      this.#retired.delete(view)
      void view.close()
    }
    for (const [scope, entry] of this.#views) {
      if (entry.view.server.clients > 0 || entry.opening > 0) entry.usedMs = now
      else if (now - entry.usedMs >= lingerMs) {
        this.#views.delete(scope)
        void entry.view.close()
      }
    }
  }
}
