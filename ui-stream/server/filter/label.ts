// `label=SELECTOR`: an end's labels meet it. Ends without labels (nodes, the world) never do, also not with !=.

import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import { labelsMatch } from '../../protocol/label-selector.js'
import { onEnds, type Predicate } from './predicate.js'

export function labelPredicate(value: FilterValue & { kind: 'label' }, end: FilterEnd): Predicate {
  const { selector } = value
  return onEnds(end, ({ labels }) => labels !== undefined && labelsMatch(selector, labels))
}
