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

/**
 * Calls `event` for each line with what `projection` takes of it, synchronously as bytes arrive; resolves when the
 * server ends the stream. Errors that `event` throws end it, too. The stream is destroyed in any case.
 *
 * @throws VethflowError KUBERNETES_ANSWER for a line that is too long, not an event, or cut off.
 */
export function readEvents(
  response: IncomingMessage,
  projection: Projection,
  event: (type: string, object: Fields) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let pieces: Buffer[] = []
    let size = 0
    let failed = false
    const fail = (error: unknown) => {
      failed = true
      response.destroy()
      reject(error)
    }
    const line = (bytes: Buffer) => {
      if (bytes.length > 0) dispatch(projection, bytes, event)
    }
    response.on('data', (chunk: Buffer) => {
      if (failed) return
      try {
        let start = 0
        for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
          const last = chunk.subarray(start, end)
          start = end + 1
          if (pieces.length === 0) line(last)
          else {
            const whole = Buffer.concat([...pieces, last])
            pieces = []
            size = 0
            line(whole)
          }
        }
        breathe(response)
        if (start === chunk.length) return
        pieces.push(chunk.subarray(start))
        size += chunk.length - start
        if (size > MOST_BYTES)
          fail(new VethflowError('KUBERNETES_ANSWER', `a watch line of more than ${MOST_BYTES} bytes`))
      } catch (error) {
        fail(error)
      }
    })
    response.on('end', () => {
      if (size === 0) resolve()
      else fail(new VethflowError('KUBERNETES_ANSWER', 'the watch ended in the middle of a line'))
    })
    response.on('error', fail)
    response.on('close', () => {
      if (!response.complete) fail(new VethflowError('KUBERNETES_ANSWER', 'the watch broke off'))
    })
    response.resume()
  })
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
