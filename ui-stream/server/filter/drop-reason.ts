// `drop-reason=NAME`: why the kernel threw packets away, by its own name for it; case is ignored.

import type { FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function dropReasonPredicate(value: FilterValue & { kind: 'drop-reason' }): Predicate {
  const { reason } = value
  return (rows, row) => rows.dropReason?.[row]?.toUpperCase() === reason
}
