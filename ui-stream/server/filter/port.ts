// `port=N|A-B`: an end's port; not looking at the source alone, also the port that the client used.

import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function portPredicate(value: FilterValue & { kind: 'port' }, end: FilterEnd): Predicate {
  const { low, high } = value
  const within = (port: number): boolean => port >= low && port <= high
  return (columns, row) => {
    if (end !== 'destination' && within(columns.sourcePort[row]!)) return true
    if (end === 'source') return false
    return within(columns.destinationPort[row]!) || within(columns.servicePort[row]!)
  }
}
