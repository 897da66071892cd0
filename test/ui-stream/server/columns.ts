// Rows as the columns that filters look at, without records behind them.

import { FlowColumns } from '../../../ui-stream/server/flow-columns.js'
import type { FlowRows } from '../../../ui-stream/server/flow-rows.js'
import { Vocabulary } from '../../../ui-stream/server/vocabulary.js'

const NOTHING = new Uint8Array(0)

export function columnsOf(rows: FlowRows, vocabulary = new Vocabulary(), firstSequence = 1): FlowColumns {
  const columns = new FlowColumns(firstSequence, Math.max(1, rows.count), vocabulary)
  for (let row = 0; row < rows.count; row++) {
    const nodeName = typeof rows.nodeName === 'string' ? rows.nodeName : rows.nodeName[row]!
    const interfaces = rows.interfaces[row]!
    const dropReason = rows.dropReason?.[row]?.toUpperCase()
    const key = [nodeName, dropReason, ...interfaces].join('\n')
    const place = vocabulary.place(key, () => ({
      nodeName,
      interfaces,
      dropReason,
      bytes: NOTHING,
      nodeAt: 0,
      hooksAt: 0,
      key,
    }))
    columns.append(rows, row, vocabulary.places.number(place, firstSequence + row))
  }
  return columns
}
