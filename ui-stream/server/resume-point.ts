// Where a client's cursor leads to in this run's history, and what is missing behind it.

import { parseCursor } from '../protocol/cursor.js'
import { type LostMessage, Stage, Unit } from '../protocol/messages.js'
import type { SessionContext } from './session-context.js'

/** The place to read on from. */
export interface ResumePoint {
  /** First sequence to read; 0 without a cursor. */
  readonly from: number
  /** There is a cursor, it is of this run, and nothing behind it has gone. */
  readonly whole: boolean
  /** What the client is to be told. */
  readonly missing?: LostMessage
}

/**
 * A cursor of this run whose records have partly gone: how many, before filters. A cursor of another run: a loss of
 * unknown size (count 0) up to the beginning of this one; everything in history is newer and comes.
 */
export function resumePoint(
  cursor: string | undefined,
  { agentId, history, nodeName, stage, startedUs }: SessionContext,
): ResumePoint {
  const place = cursor === undefined ? undefined : parseCursor(cursor)
  if (place === undefined) return { from: 0, whole: false }
  const first = history.firstSequence
  const unit = Unit.UNIT_RECORDS
  if (place.agentId !== agentId || place.sequence >= history.nextSequence) {
    return {
      from: first,
      whole: false,
      missing: { nodeName, stage: stage(), unit, count: 0, untilUs: startedUs },
    }
  }
  const from = place.sequence + 1
  if (from >= first) return { from, whole: true }
  const nowUs = Date.now() * 1000
  const missing = {
    nodeName,
    stage: Stage.STAGE_CLIENT,
    unit,
    count: first - from,
    sinceUs: nowUs,
    untilUs: nowUs,
  }
  return { from, whole: false, missing }
}
