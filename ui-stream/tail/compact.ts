// The compact form: one aligned line a record, 120 columns unless the terminal is wider.
// TIME NODE SOURCE -> DESTINATION PROTOCOL OUTCOME BYTES-OUT BYTES-BACK ROUND-TRIP

import { type CountersMessage, Event, type FlowMessage } from '../protocol/messages.js'
import { formatProtocol } from '../protocol/protocol-number.js'
import type { Paint } from './colour.js'
import { fitDestination, fitSource } from './ends.js'
import { humanBytes, humanMicroseconds, timeOfDay } from './human.js'
import { padEnd, padStart, safe, shorten } from './text.js'
import { outcome } from './verdict.js'

/** Fewest columns that a line is laid out for. */
export const LEAST_COLUMNS = 120
const NODE = 10
const PROTOCOL = 6
const OUTCOME = 10
const NUMBER = 5
/** Everything but source and destination: the columns above, the time, spaces and the arrow. */
const FIXED = 12 + 1 + NODE + 1 + 4 + 1 + PROTOCOL + 1 + OUTCOME + 3 * (1 + NUMBER)

/** Makes lines of `columns` (at least 120). */
export function compactFormat(columns: number, paint: Paint): (flow: FlowMessage) => string {
  const [sourceColumns, destinationColumns] = nameColumns(columns)
  return (flow) => {
    const [word, colour] = outcome(flow)
    const bad = colour === 'red' || colour === 'yellow'
    const parts = [
      paint('dim', timeOfDay(flow.timeUs ?? 0)),
      paint('dim', padEnd(fitNode(flow.nodeName ?? ''), NODE)),
      `${padEnd(fitSource(flow.source, sourceColumns), sourceColumns)} ${paint('dim', '->')} ${paint(
        flow.service?.name ? 'cyan' : undefined,
        padEnd(fitDestination(flow, destinationColumns), destinationColumns),
      )}`,
      padEnd(formatProtocol(flow.protocol ?? 0), PROTOCOL),
      paint(
        bad ? colour : word === 'OPENED' || word === 'CLOSED' ? colour : undefined,
        padEnd(word, OUTCOME),
      ),
      flow.event === Event.EVENT_DROPPED ? paint(colour, dropText(flow)) : numbers(flow),
    ]
    return parts.join(' ').trimEnd()
  }
}

/** The names of the columns, for the top of a terminal. */
export function compactHeader(columns: number): string {
  const [sourceColumns, destinationColumns] = nameColumns(columns)
  return [
    padEnd('TIME', 12),
    padEnd('NODE', NODE),
    padEnd('SOURCE', sourceColumns + 3),
    padEnd('DESTINATION', destinationColumns),
    padEnd('PROTO', PROTOCOL),
    padEnd('OUTCOME', OUTCOME),
    ...['OUT', 'BACK', 'RTT'].map((name) => padStart(name, NUMBER)),
  ].join(' ')
}

/** What is left for source and destination; the destination may name a service and who answered. */
function nameColumns(columns: number): readonly [number, number] {
  const rest = Math.max(LEAST_COLUMNS, columns) - FIXED
  const source = Math.floor(rest * 0.42)
  return [source, rest - source]
}

/** A node's name without its domain, which all nodes of a cluster share. */
function fitNode(name: string): string {
  const host = /^[0-9.]+$/.test(name) ? name : (name.split('.', 1)[0] ?? '')
  return shorten(safe(host), NODE)
}

/** Bytes since the connection's last record; where it has CLOSED, in all: the line that people read afterwards. */
function numbers(flow: FlowMessage): string {
  const rtt = flow.tcp?.handshakeRttUs || flow.tcp?.smoothedRttUs || 0
  const closed = flow.event === Event.EVENT_CLOSED
  const bytes = (counters: CountersMessage | null | undefined): string =>
    padStart(humanBytes((closed ? counters?.totalBytes : counters?.bytes) ?? 0), NUMBER)
  return [
    bytes(flow.forward),
    bytes(flow.reverse),
    rtt > 0 ? padStart(humanMicroseconds(rtt), NUMBER) : '',
  ].join(' ')
}

/** A DROPPED record counts nothing else: the reason takes the numbers' place, and may run over the end. */
export function dropText(flow: FlowMessage): string {
  const packets = flow.drop?.packets ?? 0
  const reason = safe(flow.drop?.reason ?? '')
  return [reason, packets > 1 ? `x${packets}` : ''].filter((part) => part !== '').join(' ')
}
