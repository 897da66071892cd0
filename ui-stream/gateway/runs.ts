// Which runs of which agents a gateway reads, and how far: so that nothing counts twice when a stream is resumed, or when
// two URLs lead to one agent.

import type { FlowMessage } from '../protocol/messages.js'

/** One run of one agent, shared by everyone who reads it. */
interface Run {
  /** Of the last flow that was passed on. */
  sequence: number
  readonly readers: Set<object>
}

export class Runs {
  readonly #runs = new Map<string, Run>()

  /** `reader` reads `run` from behind `sequence`. */
  join(reader: object, run: string, sequence: number): void {
    const known = this.#runs.get(run)
    if (known === undefined) this.#runs.set(run, { sequence, readers: new Set([reader]) })
    else {
      known.sequence = Math.max(known.sequence, sequence)
      known.readers.add(reader)
    }
  }

  /** `reader` no longer reads `run`. */
  leave(reader: object, run: string): void {
    const known = this.#runs.get(run)
    known?.readers.delete(reader)
    if (known?.readers.size === 0) this.#runs.delete(run)
  }

  /** True for the one of several readers of a run whose word counts where flows cannot be told apart: the first. */
  leads(reader: object, run: string): boolean {
    const first = this.#runs.get(run)?.readers.values().next()
    return first === undefined || first.value === reader
  }

  /** Those of `flows` that nobody has passed on yet; `last` is the sequence behind them. */
  fresh(run: string, flows: readonly FlowMessage[], last: number): readonly FlowMessage[] {
    const known = this.#runs.get(run)
    if (known === undefined) return flows
    const read = known.sequence
    known.sequence = Math.max(read, last)
    const isNew = (flow: FlowMessage): boolean => (flow.sequence ?? 0) > read
    return flows.every(isNew) ? flows : flows.filter(isNew)
  }
}
