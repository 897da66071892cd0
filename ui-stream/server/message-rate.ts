// How many messages a client may send: each may go through all of history.

import { VethflowError } from '../../agent/errors.js'
import { ErrorCode } from '../protocol/names.js'

const MOST = 50
const WINDOW_MS = 10_000

export class MessageRate {
  #count = 0
  #beganMs = 0

  /** Counts a message; throws BAD_MESSAGE when there were too many within the window. */
  count(nowMs: number): void {
    if (nowMs - this.#beganMs > WINDOW_MS || nowMs < this.#beganMs) {
      this.#beganMs = nowMs
      this.#count = 0
    }
    if (++this.#count > MOST) {
      throw new VethflowError(
        ErrorCode.BAD_MESSAGE,
        `More than ${MOST} messages within ${WINDOW_MS / 1000} seconds`,
      )
    }
  }
}
