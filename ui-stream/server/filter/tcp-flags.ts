// `tcp-flags=syn,ack`: all of them were seen in one direction, whichever.

import type { FilterValue } from '../../protocol/filters.js'
import { ProtocolNumber } from '../../protocol/protocol-number.js'
import type { Predicate } from './predicate.js'

export function tcpFlagsPredicate(value: FilterValue & { kind: 'tcp-flags' }): Predicate {
  const { flags } = value
  return (columns, row) =>
    columns.protocol[row] === ProtocolNumber.TCP &&
    ((columns.tcpFlagsForward[row]! & flags) === flags || (columns.tcpFlagsReverse[row]! & flags) === flags)
}
