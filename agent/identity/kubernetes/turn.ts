// Lets others have their turn of the event loop while lists of many megabytes come in. Node reads up to 2 MiB of each
// socket that is ready before it looks at anything else, and several lists are read at once.

import type { Readable } from 'node:stream'

/** All streams together may take this long of one turn, and each of them one chunk more. Milliseconds. */
const BUDGET_MS = 10

let began = Number.NaN

/** Call when a chunk of `stream` has been worked on: halts it until the next turn when this one has taken long enough. */
export function breathe(stream: Readable): void {
  const now = performance.now()
  if (Number.isNaN(began)) {
    began = now
    setImmediate(() => {
      began = Number.NaN
    })
  } else if (now - began > BUDGET_MS && !stream.isPaused()) {
    stream.pause()
    setImmediate(() => stream.resume())
  }
}
