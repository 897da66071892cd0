// Fills in the processes at both ends of a row, and keeps them with the connection: what is known once stays known, also
// when the socket has gone.

import { C8, ConnectionState, type Connections } from './connections.js'
import { type FlowBatch, FlowEvent, FlowFlag, type SocketOwner } from './flow-batch.js'
import type { Sockets } from './sockets.js'

const PROTOCOL_TCP = 6
const PROTOCOL_UDP = 17
const SOURCE = 0
const DESTINATION = 1

export class EndOwners {
  /** Ends of this node that were told without a process. */
  missed = 0
  readonly #sockets: Sockets | undefined

  constructor(sockets: Sockets | undefined) {
    this.#sockets = sockets
  }

  /**
   * Fills sourceOwner and destinationOwner of a row whose other columns are filled. An end is looked up as long as it is
   * not known, and once more when the connection is over: who closes an accepted connection may be another one than who
   * listens.
   */
  fill(batch: FlowBatch, row: number, connections: Connections, c: number): void {
    const protocol = batch.protocol[row]!
    if (this.#sockets !== undefined && (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP)) {
      const again = batch.event[row] !== FlowEvent.UPDATED
      const { owner } = connections
      const since = connections.is(c, ConnectionState.INFERRED) ? 0 : connections.startBoot[c * C8]!
      if (again || owner[c * 2] === undefined) this.#lookUp(batch, row, connections, c, SOURCE, since)
      if (again || owner[c * 2 + 1] === undefined)
        this.#lookUp(batch, row, connections, c, DESTINATION, since)
    }
    batch.sourceOwner[row] = connections.owner[c * 2]
    batch.destinationOwner[row] = connections.owner[c * 2 + 1]
  }

  /** A socket's own end, and the other one as that socket knows it: before translation here, after it there. */
  #lookUp(
    batch: FlowBatch,
    row: number,
    connections: Connections,
    c: number,
    end: number,
    since: number,
  ): void {
    const at = row * 4
    const protocol = batch.protocol[row]!
    const netns = batch.netns[row]!
    const sockets = this.#sockets as Sockets
    let found: SocketOwner | undefined
    if (end === SOURCE) {
      const { source, sourcePort, service, servicePort } = batch
      found = sockets.find(source, sourcePort[row]!, service, servicePort[row]!, at, protocol, netns, since)
    } else {
      const { destination, destinationPort, translatedSource, translatedSourcePort } = batch
      const port = translatedSourcePort[row]!
      found = sockets.find(
        destination,
        destinationPort[row]!,
        translatedSource,
        port,
        at,
        protocol,
        netns,
        since,
      )
    }
    if (found !== undefined) connections.own(c, end, found)
    else if (connections.owner[c * 2 + end] === undefined && this.#isHere(batch, row, end)) this.missed++
  }

  #isHere(batch: FlowBatch, row: number, end: number): boolean {
    const atVeth = end === SOURCE ? FlowFlag.SOURCE_AT_VETH : FlowFlag.DESTINATION_AT_VETH
    if ((batch.flags[row]! & atVeth) !== 0) return true
    const address = end === SOURCE ? batch.source : batch.destination
    return this.#sockets?.isLocal(address, row * 4) === true
  }
}
