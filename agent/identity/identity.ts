// Gives both ends of each record a name, and the service and direction. The hot path of this stage: no strings, no
// allocation per record; it reads the stores and changes nothing in them.

import { type FlowBatch, FlowFlag } from '../capture/flow-batch.js'
import { type AddressWords, isLoopback, isPrivate, parseAddress } from './address.js'
import type { Cluster } from './cluster.js'
import type { AddressGroups } from './groups.js'
import type { Holder } from './holder.js'
import {
  Direction,
  EndpointKind,
  type Identity,
  type Name,
  type NamedBatch,
  type ResourceState,
  type ServiceName,
} from './names.js'
import type { PodStore } from './pods.js'
import { Processes } from './processes.js'
import type { ObjectSource } from './source.js'
import type { Strangers } from './strangers.js'

/** Outside the cluster, as far as anybody has said. */
export const WORLD: Name = Object.freeze({ kind: EndpointKind.WORLD })
/** Belongs to the cluster, and nobody knows (yet, or any more) to whom. */
export const UNKNOWN: Name = Object.freeze({ kind: EndpointKind.UNKNOWN })

const LOCAL_FLAGS = FlowFlag.SOURCE_AT_VETH | FlowFlag.DESTINATION_AT_VETH

/** The stage, over whatever feeds `cluster`. `source` is undefined where nothing does. Closing it closes the source. */
export class ClusterIdentity implements Identity {
  readonly source: string
  readonly #cluster: Cluster
  readonly #feed: ObjectSource | undefined
  readonly #groups: AddressGroups | undefined
  /** Where not all pods are watched: whom to ask about the others. */
  #strangers: Strangers | undefined
  readonly #processes: Processes
  /** Addresses of other network namespaces, by number. */
  readonly #namespaces = new Map<number, readonly AddressWords[]>()
  #named: { -readonly [K in keyof NamedBatch]: NamedBatch[K] } | undefined

  constructor(source: string, cluster: Cluster, feed: ObjectSource | undefined, groups?: AddressGroups) {
    this.#groups = groups
    this.source = source
    this.#cluster = cluster
    this.#feed = feed
    this.#processes = new Processes(cluster.pods.containers)
  }

  /** From now on addresses that nobody holds are asked for. */
  lookUp(strangers: Strangers): void {
    this.#strangers = strangers
  }

  get synced(): boolean {
    return this.#feed?.synced ?? true
  }

  resources(): ResourceState[] {
    return this.#feed?.resources() ?? []
  }

  /** Pods of this node with the addresses that they hold; for status. */
  podsHere(): ReturnType<PodStore['here']> {
    return this.#cluster.pods.here()
  }

  /** Addresses of this host's interfaces, as text. Call again when they change; what is left out is given up. */
  setLocalAddresses(addresses: readonly string[]): void {
    this.#cluster.nodes.setLocalAddresses(addresses)
  }

  /**
   * The addresses in the network namespace with this number (FlowBatch.netns), as text: loopback addresses there belong to
   * who holds one of them. Undefined: the namespace has gone.
   */
  setNamespace(number: number, addresses: readonly string[] | undefined): void {
    if (addresses === undefined) this.#namespaces.delete(number)
    else
      this.#namespaces.set(
        number,
        addresses.map(parseAddress).filter((words) => words !== undefined),
      )
  }

  async close(): Promise<void> {
    await this.#feed?.close()
  }

  name(batch: FlowBatch): NamedBatch {
    const named = this.#columns(batch)
    const { source, destination, service, direction } = named
    for (let row = 0; row < batch.count; row++) {
      const flags = batch.flags[row]!
      const from = this.#holder(batch, batch.source, row)
      const to = this.#holder(batch, batch.destination, row)
      const sourceName =
        from?.describe() ?? this.#stranger(batch.source, row, flags & FlowFlag.SOURCE_AT_VETH)
      const destinationName =
        to?.describe() ?? this.#stranger(batch.destination, row, flags & FlowFlag.DESTINATION_AT_VETH)
      const sender = batch.sourceOwner[row]
      const receiver = batch.destinationOwner[row]
      source[row] = sender === undefined ? sourceName : this.#processes.name(sourceName, from, sender)
      destination[row] =
        receiver === undefined ? destinationName : this.#processes.name(destinationName, to, receiver)
      const fromHere = (flags & FlowFlag.SOURCE_AT_VETH) !== 0 || this.#isHere(from, batch.source, row)
      const toHere = (flags & FlowFlag.DESTINATION_AT_VETH) !== 0 || this.#isHere(to, batch.destination, row)
      direction[row] = fromHere
        ? toHere
          ? Direction.LOCAL
          : Direction.EGRESS
        : toHere
          ? Direction.INGRESS
          : Direction.TRANSIT
      service[row] = this.#service(batch, row, to)
    }
    if (this.#groups !== undefined) this.#group(named, this.#groups)
    return named
  }

  #group({ flows, source, destination }: NamedBatch, groups: AddressGroups): void {
    for (let row = 0; row < flows.count; row++) {
      source[row] = grouped(groups, source[row]!, flows.source, row)
      destination[row] = grouped(groups, destination[row]!, flows.destination, row)
    }
  }

  /**
   * Who held the address when the record's packets flew: at its last packet, or where nobody did by then (a client that
   * goes on sending to a pod that is gone) when the connection began.
   */
  #holder(batch: FlowBatch, column: Uint32Array, row: number): Holder | undefined {
    const at = row * 4
    const w0 = column[at]!
    const w1 = column[at + 1]!
    const w2 = column[at + 2]!
    const w3 = column[at + 3]!
    const last = batch.endUs[row]!
    const time = last > 0 ? last : batch.timeUs[row]!
    const addresses = this.#cluster.addresses
    // in another namespace 127.0.0.1 is not the node's, which holds it here
    if (batch.netns[row] !== 0 && isLoopback(w0, w1, w2, w3)) return this.#atHome(batch.netns[row]!, time)
    const holder = addresses.get(w0, w1, w2, w3, 0, time)
    if (holder !== undefined) {
      const { lease } = holder
      if (lease === undefined || time <= lease.renewUs) return holder
      this.#strangers?.renew(lease)
      return time <= lease.untilUs ? holder : undefined
    }
    if (isLoopback(w0, w1, w2, w3)) return this.#cluster.nodes.self
    const start = batch.startUs[row]!
    return start > 0 && start !== time ? addresses.get(w0, w1, w2, w3, 0, start) : undefined
  }

  /** Is the end on this node? One that nobody holds is where its address belongs. */
  #isHere(holder: Holder | undefined, column: Uint32Array, row: number): boolean {
    if (holder !== undefined) return holder.local
    const at = row * 4
    return this.#cluster.nodes.ownRanges.has(column[at]!, column[at + 1]!, column[at + 2]!, column[at + 3]!)
  }

  /** Who has a network namespace other than the node's for himself. */
  #atHome(netns: number, time: number): Holder | undefined {
    for (const [w0, w1, w2, w3] of this.#namespaces.get(netns) ?? []) {
      const holder = this.#cluster.addresses.get(w0, w1, w2, w3, 0, time)
      if (holder !== undefined) return holder
    }
    return undefined
  }

  /** The name of an address that nobody holds. */
  #stranger(column: Uint32Array, row: number, atVeth: number): Name {
    // Pods of this node are always watched.
    if ((atVeth & LOCAL_FLAGS) !== 0) return UNKNOWN
    const at = row * 4
    const w0 = column[at]!
    const w1 = column[at + 1]!
    const w2 = column[at + 2]!
    const w3 = column[at + 3]!
    if (isLoopback(w0, w1, w2, w3)) return UNKNOWN
    const { podRanges, addresses, services, endpointSlices } = this.#cluster
    if (services.hasAddress(w0, w1, w2, w3)) return UNKNOWN
    const inCluster = podRanges.has(w0, w1, w2, w3) || addresses.has(w0, w1, w2, w3, 0)
    const strangers = this.#strangers
    const local = isPrivate(w0, w1, w2, w3)
    if (strangers !== undefined) {
      if (!inCluster && !local && endpointSlices.podOf(w0, w1, w2, w3) === undefined) return WORLD
      const nobody = strangers.want(w0, w1, w2, w3)
      return inCluster || !nobody ? UNKNOWN : WORLD
    }
    return inCluster || (local && !this.synced) ? UNKNOWN : WORLD
  }

  #service(batch: FlowBatch, row: number, destination: Holder | undefined): ServiceName | undefined {
    const port = batch.servicePort[row]!
    if (port === 0) return undefined
    const at = row * 4
    const w0 = batch.service[at]!
    const w1 = batch.service[at + 1]!
    const w2 = batch.service[at + 2]!
    const w3 = batch.service[at + 3]!
    const protocol = batch.protocol[row]!
    const start = batch.startUs[row]!
    const time = start > 0 ? start : batch.timeUs[row]!
    const { services, endpointSlices } = this.#cluster
    const last = batch.endUs[row]!
    const addressed =
      services.byAddress(w0, w1, w2, w3, port, protocol, time) ??
      (last > time ? services.byAddress(w0, w1, w2, w3, port, protocol, last) : undefined)
    if (addressed !== undefined) return addressed
    const onNode = services.byNodePort(port, protocol, time)
    const translated = (batch.flags[row]! & FlowFlag.DESTINATION_TRANSLATED) !== 0
    if (onNode !== undefined) {
      const holder = translated ? this.#holder(batch, batch.service, row) : destination
      if (holder?.isNode === true) return onNode
    }
    if (translated) return undefined
    const backend = endpointSlices.only(w0, w1, w2, w3, port, protocol, time)
    if (backend === undefined) return undefined
    return services.byBackend(backend.namespace, backend.service, backend.portName)
  }

  #columns(batch: FlowBatch): NamedBatch {
    const named = this.#named
    if (named !== undefined && named.direction.length >= batch.capacity) {
      named.flows = batch
      return named
    }
    this.#named = {
      flows: batch,
      source: new Array<Name>(batch.capacity).fill(UNKNOWN),
      destination: new Array<Name>(batch.capacity).fill(UNKNOWN),
      service: new Array<ServiceName | undefined>(batch.capacity).fill(undefined),
      direction: new Uint8Array(batch.capacity),
    }
    return this.#named
  }
}

function grouped(groups: AddressGroups, name: Name, column: Uint32Array, row: number): Name {
  const at = row * 4
  return groups.apply(name, column[at]!, column[at + 1]!, column[at + 2]!, column[at + 3]!)
}
