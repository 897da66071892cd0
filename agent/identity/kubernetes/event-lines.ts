// A watch's stream into its events: one JSON object a line. Every line that is not one is an error, never skipped: an
// event that was missed is a name that stays wrong.

import type { IncomingMessage } from 'node:http'

import { VethflowError } from '../../errors.js'
import { type Fields, fields, text } from '../object.js'
import type { Projection } from './projection.js'
import { breathe } from './turn.js'

/** Most bytes of one object or event; etcd holds none above 1.5 MiB. */
export const MOST_BYTES = 8 * 2 ** 20

const NEWLINE = 10

/** What a stream's error means: a socket that is gone says only `aborted`. */
export function brokeOff(what: string, error: Error): Error {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ECONNRESET' || code === 'EPIPE'
    ? new VethflowError('KUBERNETES_AWAY', `the connection to the API server broke off in a ${what}`)
    : error
}

/** One watch's stream; read it once. */
export class EventLines {
  readonly #response: IncomingMessage
  readonly #projection: Projection
  #pieces: Buffer[] = []
  #size = 0

  constructor(response: IncomingMessage, projection: Projection) {
    this.#response = response
    this.#projection = projection
  }

  /** The last bytes that came did not end a line. */
  get partial(): boolean {
    return this.#size > 0
  }

  /**
   * Calls `event` for each line with what the projection takes of it, synchronously as bytes arrive; resolves when the
   * server ends the stream. Errors that `event` throws end it, too. The stream is destroyed in any case.
   *
   * @throws VethflowError KUBERNETES_ANSWER for a line that is too long, not an event, or cut off.
   */
  read(event: (type: string, object: Fields) => void): Promise<void> {
    const response = this.#response
    return new Promise((resolve, reject) => {
      let failed = false
      const fail = (error: unknown) => {
        failed = true
        response.destroy()
        reject(error)
      }
      response.on('data', (chunk: Buffer) => {
        if (failed) return
        try {
          this.#take(chunk, event)
          breathe(response)
        } catch (error) {
          fail(error)
        }
      })
      response.on('end', () => {
        if (this.#size === 0) resolve()
        else fail(new VethflowError('KUBERNETES_ANSWER', 'the watch ended in the middle of a line'))
      })
      response.on('error', (error) => fail(brokeOff('watch', error)))
      response.on('close', () => {
        if (!response.complete) fail(new VethflowError('KUBERNETES_ANSWER', 'the watch broke off'))
      })
      response.resume()
    })
  }

  #take(chunk: Buffer, event: (type: string, object: Fields) => void): void {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const last = chunk.subarray(start, end)
      start = end + 1
      const line = this.#size === 0 ? last : Buffer.concat([...this.#pieces, last])
      this.#pieces = []
      this.#size = 0
      if (line.length > 0) dispatch(this.#projection, line, event)
    }
    if (start === chunk.length) return
    this.#pieces.push(chunk.subarray(start))
    this.#size += chunk.length - start
    if (this.#size > MOST_BYTES)
      throw new VethflowError('KUBERNETES_ANSWER', `a watch line of more than ${MOST_BYTES} bytes`)
  }
}

function dispatch(projection: Projection, line: Buffer, event: (type: string, object: Fields) => void): void {
  let parsed: Fields
  try {
    parsed = fields(projection.read(line))
  } catch (cause) {
    throw new VethflowError('KUBERNETES_ANSWER', 'a watch line that is not JSON', { cause })
  }
  const type = text(parsed.type)
  if (type === undefined) throw new VethflowError('KUBERNETES_ANSWER', 'a watch line that is not an event')
  event(type, fields(parsed.object))
}
