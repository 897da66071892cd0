// `interface=NAME|GLOB`: one that saw the flow. Names of interfaces heed case in the kernel; globs here do not.

import type { FilterValue } from '../../protocol/filters.js'
import { globTest } from '../../protocol/glob.js'
import type { Place } from '../vocabulary.js'
import { Answers, type Predicate } from './predicate.js'

export function interfacePredicate(value: FilterValue & { kind: 'interface' }): Predicate {
  const matches = globTest(value.glob)
  const answers = new Answers((place: Place) => place.interfaces.some(matches))
  return (columns, row) => answers.of(columns.vocabulary.places, columns.place[row]!)
}
