// Lines to a stream: batched, held back when the reader is slow, quiet when the reader has gone.

import type { Writable } from 'node:stream'

const BATCH_CHARS = 64 * 1024

/** Collects lines and writes them in one go when the event loop comes round, or when there is much. */
export class LineOutput {
  readonly #stream: Writable
  readonly #gone: () => void
  #lines: string[] = []
  #chars = 0
  #scheduled = false
  #closed = false

  /** `gone` is called once when nobody reads any more (EPIPE). Other errors of the stream are thrown from `write`. */
  constructor(stream: Writable, gone: () => void) {
    this.#stream = stream
    this.#gone = gone
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#closed) return
      this.#closed = true
      this.#lines = []
      if (error.code !== 'EPIPE') process.exitCode = 1
      this.#gone()
    })
  }

  /** True when the reader takes no more for now: await `drained` before the next line. */
  get full(): boolean {
    return !this.#closed && this.#stream.writableNeedDrain
  }

  /** True when the reader has gone. */
  get closed(): boolean {
    return this.#closed
  }

  /** Adds one line, without its newline. */
  write(line: string): void {
    if (this.#closed) return
    this.#lines.push(line)
    this.#chars += line.length + 1
    if (this.#chars >= BATCH_CHARS) this.flush()
    else if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(() => {
        this.#scheduled = false
        this.flush()
      })
    }
  }

  /** Hands over what was collected. */
  flush(): void {
    if (this.#lines.length === 0 || this.#closed) return
    const text = `${this.#lines.join('\n')}\n`
    this.#lines = []
    this.#chars = 0
    this.#stream.write(text)
  }

  /** Resolves when the reader takes more, has gone, or `signal` says so. */
  drained(signal: AbortSignal): Promise<void> {
    if (!this.full || signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const done = (): void => {
        this.#stream.off('drain', done)
        this.#stream.off('close', done)
        this.#stream.off('error', done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      this.#stream.once('drain', done)
      this.#stream.once('close', done)
      this.#stream.once('error', done)
      signal.addEventListener('abort', done)
    })
  }

  /** Flushes, and waits until the system has it all or `timeoutMs` has passed. */
  end(timeoutMs: number): Promise<void> {
    this.flush()
    if (this.#closed || this.#stream.writableLength === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#stream.write('', () => {
        clearTimeout(timer)
        resolve()
      })
    })
  }
}
