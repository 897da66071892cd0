// `ip=ADDRESS|CIDR`: an end's address; not looking at the source alone, also the address that the client used.

import { type Network, networkHolds } from '../../protocol/address.js'
import type { FilterEnd, FilterValue } from '../../protocol/filters.js'
import type { FlowColumns } from '../flow-columns.js'
import type { Predicate } from './predicate.js'

type Holds = (columns: FlowColumns, address: number) => boolean

/** Whether the network holds what an address column says. */
function holds(network: Network): Holds {
  if (network.version === 6) return (columns, address) => networkHolds(network, columns.wide, address)
  const bits = network.bits - 96
  const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0
  const wanted = (network.words[3] & mask) >>> 0
  return (_columns, address) => (address & mask) >>> 0 === wanted
}

export function ipPredicate(value: FilterValue & { kind: 'ip' }, end: FilterEnd): Predicate {
  const { version } = value.network
  const within = holds(value.network)
  return (columns, row) => {
    if (columns.ipVersion[row] !== version) return false
    if (end !== 'destination' && within(columns, columns.sourceAddress[row]!)) return true
    if (end === 'source') return false
    return within(columns, columns.destinationAddress[row]!) || within(columns, columns.serviceAddress[row]!)
  }
}
