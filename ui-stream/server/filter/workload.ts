// `workload=[KIND/]NAME`: an end's owner; the kind's case is ignored (deployment/web).

import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import { onEnds, type Predicate } from './predicate.js'

export function workloadPredicate(value: FilterValue & { kind: 'workload' }, end: FilterEnd): Predicate {
  const { workloadKind, name: wanted } = value
  return onEnds(
    end,
    ({ workload }) =>
      workload?.name === wanted &&
      (workloadKind === undefined || workload.kind.toLowerCase() === workloadKind),
  )
}
