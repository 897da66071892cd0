// How long to wait before the next try: doubling, with jitter, so that a thousand agents do not come back at once.

export interface BackoffOptions {
  readonly firstMs: number
  readonly mostMs: number
  /** 0 <= random() < 1 */
  readonly random?: () => number
}

export class Backoff {
  #failures = 0
  readonly #options: BackoffOptions

  constructor(options: BackoffOptions) {
    this.#options = options
  }

  /** Between half and all of first * 2^failures, at most `mostMs`. */
  next(): number {
    const { firstMs, mostMs, random = Math.random } = this.#options
    const whole = Math.min(mostMs, firstMs * 2 ** Math.min(this.#failures++, 30))
    return whole / 2 + (whole / 2) * random()
  }

  reset(): void {
    this.#failures = 0
  }
}

/** Resolves after `ms`, or at once when `signal` is aborted. Keeps no process alive. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    timer.unref()
    signal.addEventListener('abort', done, { once: true })
  })
}
