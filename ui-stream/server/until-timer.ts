// Calls when a time has come, however far away it is (a timer of Node's holds 24 days).

const LONGEST_MS = 2 ** 31 - 1

export class UntilTimer {
  readonly #come: () => void
  #timer: NodeJS.Timeout | undefined

  constructor(come: () => void) {
    this.#come = come
  }

  /** Waits for this time (microseconds since the epoch) in place of what was set before; undefined: for none. */
  set(untilUs: number | undefined): void {
    clearTimeout(this.#timer)
    if (untilUs === undefined) return
    const leftMs = Math.max(0, untilUs / 1000 - Date.now())
    this.#timer = setTimeout(
      () => {
        if (leftMs > LONGEST_MS) this.set(untilUs)
        else this.#come()
      },
      Math.min(leftMs + 1, LONGEST_MS),
    ).unref()
  }
}
