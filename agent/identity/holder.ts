// Who can hold an address: the seam between the address index and the stores that fill it.

import type { AddressWords } from './address.js'
import type { AddressIndex, Holds } from './address-index.js'
import type { Name } from './names.js'
import type { Lease } from './strangers.js'

export interface Holder {
  /** On the node that this agent runs on. */
  readonly local: boolean
  readonly isNode: boolean
  /** Of one that nobody watches: how long it is to be believed. */
  readonly lease: Lease | undefined
  /** The same object until what it says changes. */
  describe(): Name
}

/** Lets `holder` go from holding `held` to holding `addresses`; see AddressIndex.move. */
export function moveAddresses(
  index: AddressIndex<Holder>,
  holder: Holder,
  held: Holds,
  addresses: readonly AddressWords[],
  fromUs: number,
  nowUs: number,
): Holds {
  const wanted = addresses.map((address) => ({ address, qualifier: 0, holder }))
  return index.move(held, wanted, (other) => other === holder, fromUs, nowUs)
}
