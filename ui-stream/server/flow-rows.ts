// What filters look at, row by row: the columns they need and the names. One shape for a fresh batch of this node, for
// flows that a gateway received, and for history. Types only.

import type { FlowBatch } from '../../agent/capture/flow-batch.js'
import type { Name, ServiceName } from '../../agent/identity/names.js'

/** The columns of FlowBatch that filters read. A FlowBatch is one. */
export type FilterColumns = Pick<
  FlowBatch,
  | 'event'
  | 'timeUs'
  | 'ipVersion'
  | 'protocol'
  | 'flags'
  | 'source'
  | 'sourcePort'
  | 'destination'
  | 'destinationPort'
  | 'service'
  | 'servicePort'
  | 'verdict'
  | 'tcpFlagsForward'
  | 'tcpFlagsReverse'
>

/** What history takes the rows of this node from without reading the records that were made of them. */
export interface OwnRows {
  readonly flows: FlowBatch
  /** By row: the record's observations, encoded. The same object for the same hooks, as long as their names are. */
  readonly hooks: readonly Uint8Array[]
}

/** Rows 0 to count - 1. Name objects and interface lists are shared by equal rows: predicates cache by identity. */
export interface FlowRows {
  readonly count: number
  readonly columns: FilterColumns
  readonly source: readonly Name[]
  readonly destination: readonly Name[]
  readonly service: readonly (ServiceName | undefined)[]
  readonly direction: Uint8Array
  /** Who captured: one for all rows, or one a row. */
  readonly nodeName: string | readonly string[]
  /** Names of the interfaces that saw the flow. */
  readonly interfaces: readonly (readonly string[])[]
  /** The kernel's names of drop reasons; undefined when no row has one. */
  readonly dropReason: readonly (string | undefined)[] | undefined
  /** Only where the records were made here, of these columns. */
  readonly own?: OwnRows
}
