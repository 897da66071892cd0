// What ends a watch, apart from the network: values only.

import { type Fields, text } from '../object.js'
import { StatusError } from './request.js'

/** The server has forgotten the version that we asked from. */
class Expired extends Error {}

/** True when the server has forgotten that version, be it told in the stream or as an answer. */
export function isExpired(error: unknown): boolean {
  return error instanceof Expired || (error instanceof StatusError && error.status === 410)
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
