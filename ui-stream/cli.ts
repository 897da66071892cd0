#!/usr/bin/env node
// The `vethflow` command: hands the process's words, signals and streams to ui-stream/cli/run.ts.

import { writeSync } from 'node:fs'

import { runCli } from './cli/run.js'

/** 128 + SIGINT, for whoever does not want to wait. */
const INTERRUPTED = 130

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(INTERRUPTED)
    stop.abort()
  })
}
// A reader that goes away must not end in a stack trace; writers see EPIPE on their own.
process.stdout.on('error', () => undefined)
process.stderr.on('error', () => undefined)

/** Writes at once and in full as far as the reader takes it: the process ends right after. */
function write(fd: number, text: string): void {
  try {
    writeSync(fd, text)
  } catch {
    // Nobody reads.
  }
}

const code = await runCli({
  argv: process.argv.slice(2),
  env: process.env,
  signal: stop.signal,
  out: (text) => write(1, text),
  err: (line) => write(2, `${line}\n`),
})
process.exit(code)
