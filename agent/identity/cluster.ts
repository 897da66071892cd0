// What is known of the cluster: the stores, fed by kind. No source and no wire format; one object at a time.

import { AddressIndex } from './address-index.js'
import { EndpointSliceStore } from './endpoint-slices.js'
import type { Holder } from './holder.js'
import { IngressStore } from './ingresses.js'
import { NamespaceStore } from './namespaces.js'
import { NodeStore } from './nodes.js'
import { PodStore } from './pods.js'
import { RangeSet } from './ranges.js'
import type { Store } from './record-store.js'
import { ServiceStore } from './services.js'
import type { Kind, ObjectSink } from './source.js'
import { WorkloadStore } from './workloads.js'

export class Cluster implements ObjectSink {
  /** Objects that could not be kept: no metadata, no name. */
  malformed = 0
  readonly addresses = new AddressIndex<Holder>()
  readonly podRanges = new RangeSet()
  readonly nodes: NodeStore
  readonly workloads = new WorkloadStore()
  readonly pods: PodStore
  readonly ingresses = new IngressStore()
  /** Pods that nobody watches, looked up by their addresses. */
  readonly strangers: PodStore
  /** Microseconds since the Unix epoch. */
  readonly nowUs: () => number
  readonly services: ServiceStore
  readonly endpointSlices: EndpointSliceStore
  readonly namespaces = new NamespaceStore()
  readonly #stores: Readonly<Record<Kind, Store>>

  /** `nowUs` gives microseconds since the Unix epoch. */
  constructor(nodeName: string, nowUs: () => number) {
    this.nowUs = nowUs
    this.nodes = new NodeStore(this.addresses, this.podRanges, nodeName, nowUs)
    this.pods = new PodStore(this.addresses, this.nodes, this.workloads, nodeName, nowUs)
    this.strangers = new PodStore(this.addresses, this.nodes, this.workloads, nodeName, nowUs)
    // What is learnt of them is news from the start.
    this.strangers.commit()
    this.services = new ServiceStore(this.ingresses, nowUs)
    this.endpointSlices = new EndpointSliceStore(nowUs)
    this.#stores = {
      Pod: this.pods,
      Service: this.services,
      EndpointSlice: this.endpointSlices,
      Ingress: this.ingresses,
      Node: this.nodes,
      Namespace: this.namespaces,
      ReplicaSet: this.workloads.owners.ReplicaSet,
      Job: this.workloads.owners.Job,
    }
  }

  begin(kind: Kind): void {
    this.#stores[kind].begin()
  }

  upsert(kind: Kind, object: unknown): boolean {
    const kept = this.#stores[kind].upsert(object)
    if (!kept) this.malformed++
    return kept
  }

  remove(kind: Kind, object: unknown): void {
    this.#stores[kind].remove(object)
  }

  commit(kind: Kind): void {
    this.#stores[kind].commit()
  }

  count(kind: Kind): number {
    return this.#stores[kind].count()
  }
}
