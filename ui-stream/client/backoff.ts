// How long to wait between tries: doubling up to a bound, with jitter so that many clients do not come back at once.

const FIRST_MS = 250
const MOST_MS = 15_000

/** The wait before try `attempt` (1: the first after a failure), ms: half of it fixed, half of it random. */
export function backoffMs(attempt: number, mostMs = MOST_MS, random: () => number = Math.random): number {
  const whole = Math.min(mostMs, FIRST_MS * 2 ** Math.min(20, Math.max(0, attempt - 1)))
  return Math.round(whole / 2 + (whole / 2) * random())
}

/** Waits `ms`, or less when `signal` says so. */
export function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done)
  })
}
