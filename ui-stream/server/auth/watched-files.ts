// Notices when files change, also where a name leads to another file at once (the symbolic links of Kubernetes' volumes):
// looks at them now and then. Reads nothing of them.

import { stat } from 'node:fs/promises'

/** How often files are looked at; Kubernetes itself takes up to a minute to bring a changed secret into a pod. */
export const FILE_POLL_MS = 2000

/** Calls `changed` after any of `paths` has changed. Whoever makes it closes it. */
export class WatchedFiles {
  readonly #paths: readonly string[]
  readonly #changed: () => Promise<void>
  readonly #timer: NodeJS.Timeout
  #seen: string
  #looking = false

  private constructor(paths: readonly string[], seen: string, changed: () => Promise<void>, pollMs: number) {
    this.#paths = paths
    this.#seen = seen
    this.#changed = changed
    this.#timer = setInterval(() => void this.#look(), pollMs).unref()
  }

  /** Begins with the files as they are now: make it before they are read. `changed` may not reject. */
  static async open(
    paths: readonly string[],
    changed: () => Promise<void>,
    pollMs = FILE_POLL_MS,
  ): Promise<WatchedFiles> {
    return new WatchedFiles(paths, await stateOf(paths), changed, pollMs)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      const now = await stateOf(this.#paths)
      if (now === this.#seen) return
      this.#seen = now
      await this.#changed()
    } finally {
      this.#looking = false
    }
  }
}

/** A file that cannot be looked at is a state, too. */
async function stateOf(paths: readonly string[]): Promise<string> {
  const states = await Promise.all(
    paths.map((path) =>
      stat(path, { bigint: true }).then(
        ({ dev, ino, size, mtimeNs, ctimeNs }) => `${dev}.${ino}.${size}.${mtimeNs}.${ctimeNs}`,
        (error: NodeJS.ErrnoException) => error.code ?? 'unknown',
      ),
    ),
  )
  return states.join(' ')
}
