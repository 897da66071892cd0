// The shared secret: a file with one token a line, so that an old and a new one may hold side by side while they are
// exchanged. Reloaded when it changes; a file that cannot be read any more leaves in force what was read last.

import { createHash, timingSafeEqual } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { describeError, usageError } from '../../../agent/errors.js'
import { quote } from '../../../agent/flags.js'
import type { Grant } from './grant.js'
import { WatchedFiles } from './watched-files.js'

/** As much as 16 bytes of randomness take in base64, less a little; shorter ones are guessed sooner or later. */
const SHORTEST = 16
const LONGEST = 4096
const MOST_TOKENS = 64
const MOST_BYTES = 64 * 1024

/** Who may come in by a shared secret. Whoever opens it closes it. */
export class TokenFile {
  readonly #path: string
  #digests: readonly Buffer[] = []
  #watched: WatchedFiles | undefined

  private constructor(path: string) {
    this.#path = path
  }

  /**
   * Reads the file. `changed` is called when other tokens hold, `complain` when a changed file cannot be used.
   * Throws a usage error when it cannot be used from the start.
   */
  static async open(
    path: string,
    changed: () => void,
    complain: (message: string) => void,
    pollMs?: number,
  ): Promise<TokenFile> {
    const tokens = new TokenFile(path)
    tokens.#watched = await WatchedFiles.open([path], () => tokens.#reload(changed, complain), pollMs)
    try {
      tokens.#digests = await readTokens(path)
    } catch (error) {
      tokens.close()
      throw error
    }
    return tokens
  }

  /** What `token` gives; undefined when it is none of the file's. Takes as long for every token. */
  admit(token: string): Grant | undefined {
    const digest = digestOf(token)
    if (!this.#holds(digest)) return undefined
    return {
      subject: 'a shared token',
      scope: undefined,
      holds: () => Promise.resolve(this.#holds(digest)),
    }
  }

  close(): void {
    this.#watched?.close()
  }

  /** All are compared, whichever it is: the digests are of one length, and time says nothing of the place. */
  #holds(digest: Buffer): boolean {
    let found = 0
    for (const known of this.#digests) found |= Number(timingSafeEqual(known, digest))
    return found === 1
  }

  async #reload(changed: () => void, complain: (message: string) => void): Promise<void> {
    try {
      this.#digests = await readTokens(this.#path)
    } catch (error) {
      complain(`${describeError(error)}; the tokens that were read before stay in force`)
      return
    }
    changed()
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

async function readTokens(path: string): Promise<Buffer[]> {
  const takes = `--token-file takes a file with a token of ${SHORTEST} to ${LONGEST} characters a line`
  let text: string
  try {
    const bytes = await readFile(path)
    if (bytes.length > MOST_BYTES) throw new Error(`it has more than ${MOST_BYTES} bytes`)
    text = bytes.toString('utf8')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw usageError(`${takes}, and ${quote(path)} cannot be read: ${why}`)
  }
  const lines = text.split('\n').map((line) => line.trim())
  const tokens = lines.filter((line) => line !== '' && !line.startsWith('#'))
  // RFC 6750, 2.1: what may stand in a header. The token itself is in no message.
  const bad = tokens.findIndex(
    (token) => token.length < SHORTEST || token.length > LONGEST || !/^[\x21-\x7e]+$/.test(token),
  )
  if (bad >= 0)
    throw usageError(`${takes}, of visible ASCII; ${quote(path)} has another, at number ${bad + 1}`)
  if (tokens.length === 0 || tokens.length > MOST_TOKENS) {
    throw usageError(`${takes}, 1 to ${MOST_TOKENS} of them, and ${quote(path)} has ${tokens.length}`)
  }
  return tokens.map(digestOf)
}
