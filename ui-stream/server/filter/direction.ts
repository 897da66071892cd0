// `direction=NAME`: seen from the node.

import type { FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function directionPredicate(value: FilterValue & { kind: 'direction' }): Predicate {
  const { direction } = value
  return (columns, row) => columns.direction[row] === direction
}
