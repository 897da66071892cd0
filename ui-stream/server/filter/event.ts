// `event=NAME`.

import type { FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function eventPredicate(value: FilterValue & { kind: 'event' }): Predicate {
  const { event } = value
  return (columns, row) => columns.event[row] === event
}
