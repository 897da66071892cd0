// The user's own names for address ranges, beside whatever else an end is called.

import { type AddressRange, parseRange } from './address.js'
import type { Name } from './names.js'
import { RangeMap } from './ranges.js'
import { NONE } from './word-table.js'

/** A range and what the user calls it. */
export interface AddressGroup {
  readonly range: AddressRange
  readonly name: string
}

/** Most groups; a probe of a table is made for each prefix length in use. */
export const MOST_GROUPS = 10_000

/** Parses `CIDR=NAME`, the name of at most 63 printable characters; undefined where `text` is none. */
export function parseGroup(text: string): AddressGroup | undefined {
  const equals = text.indexOf('=')
  const range = parseRange(text.slice(0, Math.max(equals, 0)).trim())
  const name = text.slice(equals + 1).trim()
  const printable = name.length <= 63 && /^[^\p{C}\p{Z}]+(?: [^\p{C}\p{Z}]+)*$/u.test(name)
  return range === undefined || !printable ? undefined : { range, name }
}

export class AddressGroups {
  readonly #ranges = new RangeMap()
  readonly #names: string[] = []
  /** By group: the names with it. One object for each, since later stages cache by identity. */
  readonly #named: WeakMap<Name, Name>[] = []

  constructor(groups: readonly AddressGroup[]) {
    for (const { range, name } of groups) {
      let index = this.#names.indexOf(name)
      if (index < 0) {
        index = this.#names.push(name) - 1
        this.#named.push(new WeakMap())
      }
      this.#ranges.set(range, index)
    }
  }

  /** `name`, with the group of the address where it is in one. */
  apply(name: Name, w0: number, w1: number, w2: number, w3: number): Name {
    const index = this.#ranges.get(w0, w1, w2, w3)
    if (index === NONE) return name
    const named = this.#named[index]!
    const known = named.get(name)
    if (known !== undefined) return known
    const made = Object.freeze({ ...name, group: this.#names[index]! })
    named.set(name, made)
    return made
  }
}
