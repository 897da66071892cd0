// Marks vethflow's own connections, so that the stream does not feed on itself: those that end at the agent's listener.

import { type FlowBatch, FlowFlag } from '../capture/flow-batch.js'
import { parseAddress } from './address.js'

/** Knows this host's addresses and the port that the agent serves on. */
export class OwnConnections {
  readonly #port: number
  readonly #local = new Set<string>()

  constructor(port: number) {
    this.#port = port
  }

  /** Addresses of this host's interfaces, as text. */
  setLocalAddresses(addresses: readonly string[]): void {
    this.#local.clear()
    for (const address of addresses) {
      const words = parseAddress(address)
      if (words !== undefined) this.#local.add(words.join('.'))
    }
  }

  /** Sets FlowFlag.OWN on the rows that are ours. */
  mark(batch: FlowBatch): void {
    const { count, destinationPort, servicePort, sourcePort, flags } = batch
    for (let row = 0; row < count; row++) {
      const port = this.#port
      if (
        (destinationPort[row] === port && this.#has(batch.destination, row)) ||
        (servicePort[row] === port && this.#has(batch.service, row)) ||
        (sourcePort[row] === port && this.#has(batch.source, row))
      )
        flags[row]! |= FlowFlag.OWN
    }
  }

  #has(column: Uint32Array, row: number): boolean {
    return this.#local.has(column.subarray(row * 4, row * 4 + 4).join('.'))
  }
}
