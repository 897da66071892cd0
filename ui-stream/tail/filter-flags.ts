// The filters of docs/contract.md as flags, for every command that shows flows. What a value means is the protocol's.

import { usageError } from '../../agent/errors.js'
import { type Flag, flagError, listFlag, type Occurrence, switchFlag } from '../../agent/flags.js'
import { type FilterSpec, filterNames, isFilterName, parseFilters } from '../protocol/filters.js'

const GROUP = 'Filters (the same one again: or; different ones: and)'

/** `--not` and one flag for each filter, by the filter's name. */
export const filterFlags: Readonly<Record<string, Flag<readonly string[]> | Flag<boolean>>> = {
  not: switchFlag({
    name: 'not',
    help: 'turn round the next filter, and only that',
    group: GROUP,
    env: false,
  }),
  ...Object.fromEntries(filterNames().map(({ name, takes }) => [name, filterFlag(name, takes)])),
}

function filterFlag(name: string, takes: string): Flag<readonly string[]> {
  return listFlag({
    name,
    takes: name.replace(/^(from|to)-/, '').toUpperCase(),
    help: takes,
    group: GROUP,
    // No variables: Kubernetes sets some VETHFLOW_* itself, and a forgotten filter would hide flows.
    env: false,
    parse: (text, where) => {
      try {
        parseFilters([{ name, values: [text], negate: false }])
      } catch {
        throw flagError(where, takes, text)
      }
      return text
    },
  })
}

/** The filters among a command line's flags, in order; `--not` turns round the next one. */
export function collectFilters(occurrences: readonly Occurrence[]): FilterSpec[] {
  const specs = new Map<string, { name: string; values: string[]; negate: boolean }>()
  let negate = false
  for (const { key, value } of occurrences) {
    if (key === 'not') negate = value === true
    else if (isFilterName(key) && typeof value === 'string') {
      const id = `${negate}.${key}`
      const spec = specs.get(id)
      if (spec === undefined) specs.set(id, { name: key, values: [value], negate })
      else spec.values.push(value)
      negate = false
    }
  }
  if (negate) throw usageError('--not turns round the filter that follows it, and none does')
  const filters = [...specs.values()]
  parseFilters(filters)
  return filters
}
