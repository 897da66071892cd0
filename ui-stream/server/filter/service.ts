// `service=[NS/]NAME`: what the client addressed.

import type { FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function servicePredicate(value: FilterValue & { kind: 'service' }): Predicate {
  const { namespace, name } = value
  return (rows, row) => {
    const service = rows.service[row]
    return service?.name === name && (namespace === undefined || service.namespace === namespace)
  }
}
