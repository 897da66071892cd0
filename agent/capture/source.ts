// What capture needs of the kernel stage, so that tests can feed it bytes. agent/kernel's Datapath is one.

import type { Losses } from '../kernel/counters.js'
import type { TranslationSink } from '../kernel/ctnetlink.js'
import type { EntrySink } from '../kernel/drain.js'
import type { RecordSink } from '../kernel/ring.js'
import type { SocketSink } from '../kernel/socket-watch.js'

export interface DrainSource {
  /** Gives waiting ring records to `sink`, at most `max`; returns how many. */
  readRing(sink: RecordSink, max: number): number
  /** Gives every view of a family to `sink`, in batches. */
  drain(family: 4 | 6, sink: EntrySink): number
  /** Words of a key and of a value in what drain() gives. */
  strides(family: 4 | 6): { readonly keyWords: number; readonly valueWords: number }
  /** Deletes views by keys that stand one after another. */
  deleteViews(family: 4 | 6, keys: Uint32Array, count: number): number
  losses(): Losses
  /** Gives what conntrack told of translations, where the programs do not see them. Called after readRing. */
  readTranslations?(sink: TranslationSink): void
  /** Gives what was told of sockets since the last call. */
  readSockets?(sink: SocketSink): void
  /** Gives the sockets that are open now, by and by; resolves with what it took, in milliseconds. */
  walkSockets?(sink: SocketSink): Promise<number>
}
