// `dns=NAME|GLOB`: one of an end's DNS names.

import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import { globTest } from '../../protocol/glob.js'
import { onEnds, type Predicate } from './predicate.js'

export function dnsPredicate(value: FilterValue & { kind: 'dns' }, end: FilterEnd): Predicate {
  const matches = globTest(value.glob)
  return onEnds(
    end,
    ({ names }) => names?.some((name) => matches(name.endsWith('.') ? name.slice(0, -1) : name)) ?? false,
  )
}
