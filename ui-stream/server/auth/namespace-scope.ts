// The namespaces that one user may see. Each is asked about when the first flow touches it, and again from time to time;
// nothing is shown of a namespace before the answer is there.

import type { Scope } from './grant.js'
import type { ReviewTimes } from './kubernetes.js'

/** More namespaces than a cluster has; the one asked about longest ago goes first. */
const MOST_NAMESPACES = 16_384
/** A no is asked again less often: who may see less is urgent, who may see more is not. */
const REFUSED_FACTOR = 6

interface Answer {
  readonly allowed: boolean
  readonly atMs: number
}

export class NamespaceScope implements Scope {
  readonly #ask: (namespace: string) => Promise<boolean>
  readonly #times: ReviewTimes
  readonly #answers = new Map<string, Answer>()
  readonly #asking = new Map<string, Promise<void>>()
  shrunk = 0

  /** `ask` rejects when nobody can be asked. */
  constructor(ask: (namespace: string) => Promise<boolean>, times: ReviewTimes) {
    this.#ask = ask
    this.#times = times
  }

  sees(namespace: string): boolean | undefined {
    const answer = this.#answers.get(namespace)
    if (answer === undefined) {
      void this.#review(namespace)
      return undefined
    }
    // A yes is asked again by `holds`.
    if (!answer.allowed && performance.now() - answer.atMs > this.#times.refused * REFUSED_FACTOR) {
      void this.#review(namespace)
    }
    return answer.allowed
  }

  async settled(): Promise<void> {
    while (this.#asking.size > 0) await Promise.all(this.#asking.values())
  }

  async holds(): Promise<boolean> {
    const now = performance.now()
    const due = [...this.#answers].filter(
      ([, { allowed, atMs }]) => allowed && now - atMs > this.#times.accepted / 2,
    )
    const answers = await Promise.all(
      due.map(async ([namespace]) => {
        const allowed = await this.#ask(namespace)
        this.#keep(namespace, allowed)
        return allowed
      }),
    )
    return answers.every((allowed) => allowed)
  }

  #review(namespace: string): Promise<void> {
    let asking = this.#asking.get(namespace)
    if (asking === undefined) {
      asking = this.#ask(namespace)
        .then(
          (allowed) => this.#keep(namespace, allowed),
          // Nobody can be asked: not seen, and asked again soon.
          () =>
            this.#keep(namespace, false, performance.now() - this.#times.refused * (REFUSED_FACTOR - 0.5)),
        )
        .finally(() => this.#asking.delete(namespace))
      this.#asking.set(namespace, asking)
    }
    return asking
  }

  #keep(namespace: string, allowed: boolean, atMs = performance.now()): void {
    if (!allowed && this.#answers.get(namespace)?.allowed) this.shrunk++
    this.#answers.delete(namespace)
    this.#answers.set(namespace, { allowed, atMs })
    if (this.#answers.size <= MOST_NAMESPACES) return
    for (const oldest of this.#answers.keys()) {
      this.#answers.delete(oldest)
      break
    }
  }
}
