// `verdict=NAME`. A verdict that is not known yet matches none.

import type { FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function verdictPredicate(value: FilterValue & { kind: 'verdict' }): Predicate {
  const { verdict } = value
  return (columns, row) => columns.verdict[row] === verdict
}
