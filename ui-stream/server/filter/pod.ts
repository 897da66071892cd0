// `pod=[NS/]PREFIX`: a pod's name begins with it, in the namespace if one is given.

import { EndpointKind } from '../../../agent/identity/names.js'
import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import { onEnds, type Predicate } from './predicate.js'

export function podPredicate(value: FilterValue & { kind: 'pod' }, end: FilterEnd): Predicate {
  const { namespace, prefix } = value
  return onEnds(
    end,
    (name) =>
      name.kind === EndpointKind.POD &&
      name.pod !== undefined &&
      name.pod.startsWith(prefix) &&
      (namespace === undefined || name.namespace === namespace),
  )
}
