// Pods: which addresses they hold and what they are called. Keeps a few shared strings of each, nothing else.
//
// A pod on the host network shares its node's addresses, so it holds none; neither does one that has finished, although
// its status still lists them. One that is being deleted holds its addresses until it is gone.

import { type AddressWords, parseAddress } from './address.js'
import { type AddressIndex, type Holds, NO_HOLDS } from './address-index.js'
import { ContainerIndex } from './containers.js'
import { type Holder, moveAddresses } from './holder.js'
import type { Listed } from './named-map.js'
import { EndpointKind, type Name, type WorkloadName } from './names.js'
import type { NodeStore } from './nodes.js'
import { type Fields, fields, type Labels, labels, list, sharedText, text } from './object.js'
import { RecordStore } from './record-store.js'
import type { Found, Lease } from './strangers.js'
import type { WorkloadStore } from './workloads.js'

const MOST_ADDRESSES = 32
const ZONE_LABEL = 'topology.kubernetes.io/zone'
const HASH_LABEL = 'pod-template-hash'
const FOR_GOOD = -1

class PodRecord implements Holder, Listed {
  readonly namespace: string
  readonly name: string
  /** A digest of the uid: only whether it is another one matters. */
  readonly incarnation: number
  nodeName: string | undefined
  owner: WorkloadName | undefined
  labels: Labels | undefined
  held: Holds = NO_HOLDS
  lease: Lease | undefined
  round = 0
  readonly #store: PodStore
  #described: Name | undefined
  /** The store's version by then, or FOR_GOOD: what is learnt after a pod has gone is about others. */
  #describedAt = 0

  constructor(store: PodStore, namespace: string, name: string, incarnation: number) {
    this.#store = store
    this.namespace = namespace
    this.name = name
    this.incarnation = incarnation
  }

  get isNode(): boolean {
    return false
  }

  get local(): boolean {
    return this.nodeName !== undefined && this.nodeName === this.#store.nodeName
  }

  describe(): Name {
    const version = this.#store.version
    const known = this.#described
    if (known !== undefined && (this.#describedAt === version || this.#describedAt === FOR_GOOD)) return known
    this.#described = this.#store.makeName(this, known)
    this.#describedAt = version
    return this.#described
  }

  forgetName(): void {
    this.#described = undefined
  }

  /** Its owner may be forgotten before the last of its records is named. */
  nameForGood(): void {
    this.describe()
    this.#describedAt = FOR_GOOD
  }
}

export class PodStore extends RecordStore<PodRecord> {
  /** The node that this agent runs on. */
  readonly nodeName: string
  /** Containers of this node's pods. */
  readonly containers = new ContainerIndex()
  readonly #index: AddressIndex<Holder>
  readonly #nodes: NodeStore
  readonly #workloads: WorkloadStore
  readonly #nowUs: () => number

  constructor(
    index: AddressIndex<Holder>,
    nodes: NodeStore,
    workloads: WorkloadStore,
    nodeName: string,
    nowUs: () => number,
  ) {
    super()
    this.#index = index
    this.#nodes = nodes
    this.#workloads = workloads
    this.nodeName = nodeName
    this.#nowUs = nowUs
  }

  /** Moves on when zones or owners have changed, and names may have with them. */
  get version(): number {
    return this.#nodes.version + this.#workloads.version
  }

  /** Pods of this node with the addresses that they hold. Goes through all pods: not for the hot path. */
  *here(): Generator<{
    readonly namespace: string
    readonly name: string
    readonly addresses: AddressWords[]
  }> {
    for (const record of this.records.values()) {
      if (!record.local) continue
      const { namespace, name } = record
      yield { namespace, name, addresses: this.#index.addressesOf(record.held, record) }
    }
  }

  protected put(namespace: string, name: string, pod: Fields, metadata: Fields): void {
    const incarnation = digest(text(metadata.uid) ?? '')
    let record = this.records.get(namespace, name)
    if (record !== undefined && record.incarnation !== incarnation) {
      this.records.delete(namespace, name)
      this.gone(record)
      record = undefined
    }
    record ??= new PodRecord(this, namespace, name, incarnation)
    this.records.set(record)
    this.#describe(record, pod, metadata)
    if (record.local) this.containers.take(record, text(metadata.uid) ?? '', pod, metadata)
    const now = this.#nowUs()
    const from = this.committed ? now : 0
    record.held = moveAddresses(this.#index, record, record.held, heldAddresses(pod), from, now)
  }

  protected gone(record: PodRecord): void {
    record.nameForGood()
    const now = this.#nowUs()
    record.held = moveAddresses(this.#index, record, record.held, [], now, now)
  }

  /** Keeps a pod that nobody watches until it is given back; undefined when it cannot be kept. */
  lend(object: unknown): Found | undefined {
    if (!this.upsert(object)) return undefined
    const metadata = fields(fields(object).metadata)
    const record = this.records.get(String(metadata.namespace), String(metadata.name))
    if (record === undefined) return undefined
    return {
      who: record,
      lend: (lease) => {
        record.lease = lease
      },
      release: () => {
        if (this.records.get(record.namespace, record.name) !== record) return
        this.records.delete(record.namespace, record.name)
        this.gone(record)
      },
    }
  }

  /** What a pod is called, of what is known now: `before` when that is still so. For PodRecord only, which keeps it. */
  makeName(
    pod: Pick<PodRecord, 'namespace' | 'name' | 'owner' | 'nodeName' | 'labels'>,
    before: Name | undefined,
  ): Name {
    const { owner } = pod
    let workload =
      owner === undefined
        ? undefined
        : this.#workloads.resolve(pod.namespace, owner, pod.labels?.[HASH_LABEL])
    // What was known once stays known, also when owner or node are gone before their pod is.
    if (before?.workload !== undefined && workload?.kind === owner?.kind) workload = before.workload
    const zone =
      (pod.nodeName === undefined ? undefined : this.#nodes.zoneOf(pod.nodeName)) ??
      pod.labels?.[ZONE_LABEL] ??
      before?.zone
    if (before !== undefined && before.workload === workload && before.zone === zone) return before
    return Object.freeze({
      kind: EndpointKind.POD,
      namespace: pod.namespace,
      pod: pod.name,
      ...(workload === undefined ? {} : { workload }),
      ...(pod.nodeName === undefined ? {} : { nodeName: pod.nodeName }),
      ...(zone === undefined ? {} : { zone }),
      ...(pod.labels === undefined ? {} : { labels: pod.labels }),
    })
  }

  /** Takes over what the name is made of; a name that stays the same stays the same object. */
  #describe(record: PodRecord, pod: Fields, metadata: Fields): void {
    const nodeName = sharedText(fields(pod.spec).nodeName)
    const owner = this.#workloads.owner(metadata)
    const found = labels(metadata.labels)
    if (nodeName === record.nodeName && owner === record.owner && sameLabels(found, record.labels)) return
    record.nodeName = nodeName
    record.owner = owner
    record.labels = found
    record.forgetName()
    if (owner === undefined) return
    const decider = this.#workloads.decider(owner, found?.[HASH_LABEL])
    if (decider !== undefined) this.#workloads.want(decider, record.namespace, owner.name)
  }
}

/** 31 bits of FNV-1a. */
function digest(value: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < value.length; i++) hash = Math.imul(hash ^ value.charCodeAt(i), 0x01000193)
  return hash >>> 1
}

function sameLabels(a: Labels | undefined, b: Labels | undefined): boolean {
  if (a === b) return true
  if (a === undefined || b === undefined) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key])
}

function heldAddresses(pod: Fields): readonly AddressWords[] {
  const status = fields(pod.status)
  if (fields(pod.spec).hostNetwork === true) return []
  if (status.phase === 'Succeeded' || status.phase === 'Failed') return []
  const texts: unknown[] = list(status.podIPs).map((entry) => fields(entry).ip)
  if (texts.length === 0) texts.push(status.podIP)
  const result: AddressWords[] = []
  for (const entry of texts.slice(0, MOST_ADDRESSES)) {
    if (typeof entry !== 'string' || entry === status.hostIP) continue
    const words = parseAddress(entry)
    if (words !== undefined) result.push(words)
  }
  return result
}
