// `namespace=NAME`: an end lies in it.

import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import { onEnds, type Predicate } from './predicate.js'

export function namespacePredicate(value: FilterValue & { kind: 'namespace' }, end: FilterEnd): Predicate {
  const { namespace } = value
  return onEnds(end, (name) => name.namespace === namespace)
}
