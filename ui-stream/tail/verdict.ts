// The one word that says what became of a flow, and its colour: bad news beats the event.

import { EndReason, Event, type FlowMessage, Verdict } from '../protocol/messages.js'
import type { Colour } from './colour.js'

const EVENTS: Readonly<Record<number, readonly [string, Colour | undefined]>> = {
  [Event.EVENT_OPENED]: ['OPENED', 'green'],
  [Event.EVENT_UPDATED]: ['UPDATED', undefined],
  [Event.EVENT_CLOSED]: ['CLOSED', 'dim'],
  [Event.EVENT_DROPPED]: ['DROPPED', 'red'],
}
const VERDICTS: Readonly<Record<number, readonly [string, Colour | undefined]>> = {
  [Verdict.VERDICT_DROPPED]: ['DROPPED', 'red'],
  [Verdict.VERDICT_REFUSED]: ['REFUSED', 'red'],
  [Verdict.VERDICT_UNANSWERED]: ['UNANSWERED', 'yellow'],
}

/**
 * `OPENED`, `UPDATED`, `CLOSED`, or `DROPPED`, `REFUSED`, `UNANSWERED` where that is what became of it. A line that only
 * says that the end followed is CLOSED: the bad news stands in the line before.
 */
export function outcome(flow: FlowMessage): readonly [string, Colour | undefined] {
  const followed = flow.endReason === EndReason.END_REASON_RST || flow.endReason === EndReason.END_REASON_FIN
  if (flow.event === Event.EVENT_CLOSED && followed) return EVENTS[Event.EVENT_CLOSED]!
  return VERDICTS[flow.verdict ?? 0] ?? EVENTS[flow.event ?? 0] ?? ['?', undefined]
}
