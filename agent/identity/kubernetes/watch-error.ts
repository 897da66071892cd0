// What ends a watch, apart from the network: values only.

import { type Fields, text } from '../object.js'
import { StatusError } from './request.js'

/** The server has forgotten the version that we asked from. */
export class Expired extends Error {}

/**
 * True when the server does not have that version, be it told in the stream or as an answer: it has forgotten it (410),
 * or has not come as far and may never, since it was restored from a backup (504, `Too large resource version`).
 */
export function isExpired(error: unknown): boolean {
  if (error instanceof Expired) return true
  if (!(error instanceof StatusError)) return false
  return error.status === 410 || (error.status === 504 && /too large resource version/i.test(error.message))
}

/** The initial events do not come to their end. */
export class Unended extends Error {}

/** The error in an ERROR event, whose object is a Status. */
export function streamError(status: Fields): Error {
  const code = typeof status.code === 'number' ? status.code : 0
  const message = text(status.message) ?? text(status.reason) ?? 'no reason given'
  if (code === 410) return new Expired(message)
  return new StatusError(code, `the API server ends the watch with ${code}: ${message}`, 0)
}
