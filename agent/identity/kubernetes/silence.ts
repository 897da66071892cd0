// Notices a stream that has fallen silent: its connection may have died without a word.

import type { Readable } from 'node:stream'

export interface SilenceOptions {
  /** How often to look, in ms. */
  readonly stepMs: number
  /** Most silence at present, in ms. */
  readonly limitMs: () => number
  /** The error that a stream ends with that has been silent for longer; `what` says how long. */
  readonly silent: (what: string) => Error
  /** Called with each look, with the age of the stream in ms. */
  readonly looked: (ageMs: number) => void
}

/** Destroys `stream` when it has been silent for too long; call what it returns when the stream has ended. */
export function guardSilence(stream: Readable, options: SilenceOptions): () => void {
  const began = performance.now()
  let heard = began
  stream.on('data', () => {
    heard = performance.now()
  })
  const timer = setInterval(() => {
    const now = performance.now()
    options.looked(now - began)
    const limit = options.limitMs()
    if (now - heard < limit) return
    // The limit, not the silence itself: the same trouble of several streams is to be one line.
    stream.destroy(options.silent(`no byte from the watch for ${Math.round(limit / 100) / 10} s`))
  }, options.stepMs)
  timer.unref()
  return () => clearInterval(timer)
}
