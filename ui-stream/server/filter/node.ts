// `node=NAME`: where an end is; bare also who captured the flow.

import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import { onEnds, type Predicate } from './predicate.js'

export function nodePredicate(value: FilterValue & { kind: 'node' }, end: FilterEnd): Predicate {
  const { node } = value
  const atEnd = onEnds(end, (name) => name.nodeName === node)
  if (end !== 'any') return atEnd
  return (rows, row) => {
    const captured = typeof rows.nodeName === 'string' ? rows.nodeName : rows.nodeName[row]
    return captured === node || atEnd(rows, row)
  }
}
