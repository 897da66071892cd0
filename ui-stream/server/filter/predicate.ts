// What all predicates have in common. A predicate answers for one row of columns; it keeps nothing but what it has
// answered about the numbers of a vocabulary, which are asked about once each.

import type { Name } from '../../../agent/identity/names.js'
import type { FilterEnd } from '../../protocol/filters.js'
import type { Dictionary } from '../dictionary.js'
import type { FlowColumns } from '../flow-columns.js'

/** True when the row matches. */
export type Predicate = (columns: FlowColumns, row: number) => boolean

const UNASKED = 0
const YES = 2
const NO = 1

/** What a test says of a dictionary's values, by their numbers; forgotten when numbers have come to mean others. */
export class Answers<T extends object> {
  readonly #test: (value: T) => boolean
  #answers = new Uint8Array(256)
  #dictionary: Dictionary<T> | undefined
  #epoch = 0

  constructor(test: (value: T) => boolean) {
    this.#test = test
  }

  /** Of the value with this number; false for number 0, which is nothing. */
  of(dictionary: Dictionary<T>, number: number): boolean {
    if (dictionary.epoch !== this.#epoch || dictionary !== this.#dictionary) {
      this.#dictionary = dictionary
      this.#epoch = dictionary.epoch
      this.#answers.fill(UNASKED)
    }
    const answer = this.#answers[number]
    return answer === undefined || answer === UNASKED ? this.#ask(dictionary, number) : answer === YES
  }

  /** Begins anew: what the test goes by has changed. */
  forget(): void {
    this.#answers.fill(UNASKED)
  }

  #ask(dictionary: Dictionary<T>, number: number): boolean {
    if (number >= this.#answers.length) {
      const larger = new Uint8Array(Math.max(number + 1, this.#answers.length * 2))
      larger.set(this.#answers)
      this.#answers = larger
    }
    const value = dictionary.values[number]
    const answer = value !== undefined && this.#test(value)
    this.#answers[number] = answer ? YES : NO
    return answer
  }
}

/** A test of names, asked of the ends that the filter looks at. */
export function onEnds(end: FilterEnd, test: (name: Name) => boolean): Predicate {
  const answers = new Answers(test)
  if (end === 'source') return (columns, row) => answers.of(columns.vocabulary.names, columns.source[row]!)
  if (end === 'destination')
    return (columns, row) => answers.of(columns.vocabulary.names, columns.destination[row]!)
  return (columns, row) => {
    const { names } = columns.vocabulary
    return answers.of(names, columns.source[row]!) || answers.of(names, columns.destination[row]!)
  }
}

/** One of them matches. */
export function anyOf(predicates: readonly Predicate[]): Predicate {
  if (predicates.length === 1) return predicates[0]!
  return (columns, row) => {
    for (const predicate of predicates) if (predicate(columns, row)) return true
    return false
  }
}
