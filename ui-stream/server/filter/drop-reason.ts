// `drop-reason=NAME`: why the kernel threw packets away, by its own name for it; case is ignored.

import type { FilterValue } from '../../protocol/filters.js'
import type { Place } from '../vocabulary.js'
import { Answers, type Predicate } from './predicate.js'

export function dropReasonPredicate(value: FilterValue & { kind: 'drop-reason' }): Predicate {
  const { reason } = value
  const answers = new Answers((place: Place) => place.dropReason === reason)
  return (columns, row) => answers.of(columns.vocabulary.places, columns.place[row]!)
}
