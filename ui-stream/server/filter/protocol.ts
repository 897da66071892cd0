// `protocol=NAME|NUMBER`.

import type { FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function protocolPredicate(value: FilterValue & { kind: 'protocol' }): Predicate {
  const { protocol } = value
  return (columns, row) => columns.protocol[row] === protocol
}
