// `ip=ADDRESS|CIDR`: an end's address; not looking at the source alone, also the address that the client used.

import { networkHolds } from '../../protocol/address.js'
import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import type { Predicate } from './predicate.js'

export function ipPredicate(value: FilterValue & { kind: 'ip' }, end: FilterEnd): Predicate {
  const { network } = value
  const { version } = network
  return ({ columns }, row) => {
    if (columns.ipVersion[row] !== version) return false
    const at = row * 4
    if (end !== 'destination' && networkHolds(network, columns.source, at)) return true
    if (end === 'source') return false
    return networkHolds(network, columns.destination, at) || networkHolds(network, columns.service, at)
  }
}
