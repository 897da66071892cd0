// `node=NAME`: where an end is; bare also who captured the flow.

import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import type { Place } from '../vocabulary.js'
import { Answers, onEnds, type Predicate } from './predicate.js'

export function nodePredicate(value: FilterValue & { kind: 'node' }, end: FilterEnd): Predicate {
  const { node } = value
  const atEnd = onEnds(end, (name) => name.nodeName === node)
  if (end !== 'any') return atEnd
  const captured = new Answers((place: Place) => place.nodeName === node)
  return (columns, row) => captured.of(columns.vocabulary.places, columns.place[row]!) || atEnd(columns, row)
}
