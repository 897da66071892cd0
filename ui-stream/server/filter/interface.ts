// `interface=NAME|GLOB`: one that saw the flow. Names of interfaces heed case in the kernel; globs here do not.

import type { FilterValue } from '../../protocol/filters.js'
import { globTest } from '../../protocol/glob.js'
import { type Predicate, remembered } from './predicate.js'

export function interfacePredicate(value: FilterValue & { kind: 'interface' }): Predicate {
  const matches = globTest(value.glob)
  const some = remembered((names: readonly string[]) => names.some(matches))
  return (rows, row) => some(rows.interfaces[row]!)
}
