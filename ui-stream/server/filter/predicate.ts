// What all predicates have in common. A predicate answers for one row; it keeps nothing but caches by object identity.

import type { Name } from '../../../agent/identity/names.js'
import type { FilterEnd } from '../../protocol/filters.js'
import type { FlowRows } from '../flow-rows.js'

/** True when the row matches. */
export type Predicate = (rows: FlowRows, row: number) => boolean

/** Remembers what `test` said of an object. */
export function remembered<T extends object>(test: (value: T) => boolean): (value: T) => boolean {
  const answers = new WeakMap<T, boolean>()
  return (value) => {
    let answer = answers.get(value)
    if (answer === undefined) {
      answer = test(value)
      answers.set(value, answer)
    }
    return answer
  }
}

/** A test of names, asked of the ends that the filter looks at. */
export function onEnds(end: FilterEnd, test: (name: Name) => boolean): Predicate {
  if (end === 'source') return (rows, row) => test(rows.source[row]!)
  if (end === 'destination') return (rows, row) => test(rows.destination[row]!)
  return (rows, row) => test(rows.source[row]!) || test(rows.destination[row]!)
}

/** One of them matches. */
export function anyOf(predicates: readonly Predicate[]): Predicate {
  if (predicates.length === 1) return predicates[0]!
  return (rows, row) => predicates.some((predicate) => predicate(rows, row))
}
