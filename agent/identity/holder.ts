// Who can hold an address: the seam between the address index and the stores that fill it.

import type { AddressWords } from './address.js'
import type { AddressIndex } from './address-index.js'
import type { Name } from './names.js'

export interface Holder {
  /** On the node that this agent runs on. */
  readonly local: boolean
  readonly isNode: boolean
  /** The same object until what it says changes. */
  describe(): Name
}

function same(a: AddressWords, b: AddressWords): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3]
}

/** Lets `holder` go from holding `before` to holding `after`. `fromUs` dates the claims, `nowUs` the releases. */
export function moveAddresses(
  index: AddressIndex<Holder>,
  holder: Holder,
  before: readonly AddressWords[],
  after: readonly AddressWords[],
  fromUs: number,
  nowUs: number,
): void {
  for (const address of before) {
    if (!after.some((other) => same(address, other))) index.release(address, 0, holder, nowUs)
  }
  for (const address of after) {
    if (!before.some((other) => same(address, other))) index.claim(address, 0, holder, fromUs)
  }
}
