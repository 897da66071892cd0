// What is told beside the flows: losses, gaps, connections that break and come back, and the summary at the end.

import type { FeedMessage } from '../client/messages.js'
import { type ErrorMessage, type LostMessage, Stage, Unit } from '../protocol/messages.js'
import { humanDuration } from './human.js'
import { safe } from './text.js'

/** Where something was lost, as people say it. */
const STAGES: Readonly<Record<number, string>> = {
  [Stage.STAGE_KERNEL_MAP]: 'in the kernel, whose map was full',
  [Stage.STAGE_KERNEL_RING]: 'in the kernel, whose ring buffer was full',
  [Stage.STAGE_AGENT]: 'in the agent',
  [Stage.STAGE_CLIENT]: 'on the way to this client, which was too slow',
  [Stage.STAGE_GATEWAY]: 'in the gateway',
  [Stage.STAGE_BUS]: 'on the bus',
  [Stage.STAGE_SAMPLED]: 'by sampling',
  [Stage.STAGE_UNATTACHED]: 'before a new interface was attached to',
}

/** `lost 12 records on n1, in the agent`. */
export function lostText(lost: LostMessage): string {
  const count = lost.count ?? 0
  const noun = lost.unit === Unit.UNIT_PACKETS ? 'packet' : 'record'
  const node = lost.nodeName ? ` of ${safe(lost.nodeName)}` : ''
  const stage = STAGES[lost.stage ?? 0] ?? 'somewhere'
  // Nobody counted, or the number is nobody's business.
  const many = count === 0 ? 'some' : String(count)
  return `lost ${many} ${noun}${count === 1 ? '' : 's'}${node}, ${stage}`
}

/** `CODE: message` of the server, made harmless. */
export function errorText(error: ErrorMessage): string {
  return `${safe(error.code ?? '')}: ${safe(error.message ?? '')}`.replace(/^: /, '')
}

/** One line for a connection's ups and downs; undefined for what needs no word. */
export function connectionText(message: FeedMessage, first: boolean): string | undefined {
  if (message.type === 'connected') return first ? undefined : `connected to ${safe(message.server)} again`
  if (message.type === 'disconnected') {
    return `not connected to ${safe(message.server)}: ${safe(message.reason)}; next try in ${humanDuration(message.retryInMs)}`
  }
  if (message.type === 'gap') return `gap: flows may be missing here, ${safe(message.reason)}`
  return undefined
}

/** What was shown and what was lost, counted. */
export class Tally {
  flows = 0
  lostRecords = 0
  lostPackets = 0
  gaps = 0

  lost(lost: LostMessage): void {
    if (lost.unit === Unit.UNIT_PACKETS) this.lostPackets += lost.count ?? 0
    else this.lostRecords += lost.count ?? 0
  }

  /** `12 flows shown, 0 lost`, and what else there is to say. */
  summary(): string {
    const parts = [`${this.flows} flow${this.flows === 1 ? '' : 's'} shown`, `${this.lostRecords} lost`]
    if (this.lostPackets > 0) parts.push(`${this.lostPackets} packets not accounted for`)
    if (this.gaps > 0) parts.push(`${this.gaps} gap${this.gaps === 1 ? '' : 's'} of unknown size`)
    return parts.join(', ')
  }
}
