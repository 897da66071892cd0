// Adds up what the records say since the start: with what is lost and what is not IP it is what the interfaces carried.

import type { FlowBatch } from './capture/flow-batch.js'

export class Told {
  packets = 0
  bytes = 0

  add(batch: FlowBatch): void {
    const { forwardPackets, reversePackets, forwardBytes, reverseBytes } = batch
    for (let row = 0; row < batch.count; row++) {
      this.packets += forwardPackets[row]! + reversePackets[row]!
      this.bytes += forwardBytes[row]! + reverseBytes[row]!
    }
  }
}
