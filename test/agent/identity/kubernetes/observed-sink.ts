// A sink that a test can wait on: resolves at the very call that makes a condition true.

import type { Kind, ObjectSink } from '../../../../agent/identity/source.js'

export class ObservedSink implements ObjectSink {
  readonly #sink: ObjectSink
  #waiting: { condition: () => boolean; resolve: () => void }[] = []
  /** Lists that ended. */
  commits = 0

  constructor(sink: ObjectSink) {
    this.#sink = sink
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      if (condition()) resolve()
      else this.#waiting.push({ condition, resolve })
    })
  }

  begin(kind: Kind): void {
    this.#sink.begin(kind)
  }

  upsert(kind: Kind, object: unknown): boolean {
    const kept = this.#sink.upsert(kind, object)
    this.#look()
    return kept
  }

  remove(kind: Kind, object: unknown): void {
    this.#sink.remove(kind, object)
    this.#look()
  }

  commit(kind: Kind): void {
    this.#sink.commit(kind)
    this.commits++
    this.#look()
  }

  count(kind: Kind): number {
    return this.#sink.count(kind)
  }

  #look(): void {
    this.#waiting = this.#waiting.filter(({ condition, resolve }) => {
      if (!condition()) return true
      resolve()
      return false
    })
  }
}
