// Pods: which addresses they hold and what they are called. Keeps a few shared strings of each, nothing else.
//
// A pod on the host network shares its node's addresses, so it holds none; neither does one that has finished, although
// its status still lists them. One that is being deleted holds its addresses until it is gone.

import { type AddressWords, parseAddress } from './address.js'
import type { AddressIndex } from './address-index.js'
import { type Holder, moveAddresses } from './holder.js'
import { type Listed, NamedMap } from './named-map.js'
import { EndpointKind, type Name } from './names.js'
import type { NodeStore } from './nodes.js'
import { controller, type Fields, fields, type Labels, labels, list, sharedText, text } from './object.js'
import type { WorkloadStore } from './workloads.js'

const MOST_ADDRESSES = 32
const ZONE_LABEL = 'topology.kubernetes.io/zone'
const HASH_LABEL = 'pod-template-hash'

class PodRecord implements Holder, Listed {
  readonly isNode = false
  readonly namespace: string
  readonly name: string
  readonly uid: string
  local = false
  nodeName: string | undefined
  ownerKind: string | undefined
  ownerName: string | undefined
  labels: Labels | undefined
  addresses: readonly AddressWords[] = []
  round = 0
  /** Named for good: what is learnt after a pod has gone is about others. */
  gone = false
  readonly #store: PodStore
  #described: Name | undefined
  #describedAt = 0

  constructor(store: PodStore, namespace: string, name: string, uid: string) {
    this.#store = store
    this.namespace = namespace
    this.name = name
    this.uid = uid
  }

  describe(): Name {
    const version = this.#store.version
    if (this.#described !== undefined && (this.#describedAt === version || this.gone)) return this.#described
    this.#described = this.#store.makeName(this, this.#described)
    this.#describedAt = version
    return this.#described
  }

  forgetName(): void {
    this.#described = undefined
  }
}

export class PodStore {
  readonly #index: AddressIndex<Holder>
  readonly #nodes: NodeStore
  readonly #workloads: WorkloadStore
  readonly #nodeName: string
  readonly #nowUs: () => number
  readonly #pods = new NamedMap<PodRecord>()
  #committed = false

  constructor(
    index: AddressIndex<Holder>,
    nodes: NodeStore,
    workloads: WorkloadStore,
    nodeName: string,
    nowUs: () => number,
  ) {
    this.#index = index
    this.#nodes = nodes
    this.#workloads = workloads
    this.#nodeName = nodeName
    this.#nowUs = nowUs
  }

  /** Moves on when zones or owners have changed, and names may have with them. */
  get version(): number {
    return this.#nodes.version + this.#workloads.version
  }

  begin(): void {
    this.#pods.begin()
  }

  upsert(object: unknown): boolean {
    const pod = fields(object)
    const metadata = fields(pod.metadata)
    const name = text(metadata.name)
    const namespace = sharedText(metadata.namespace)
    if (name === undefined || namespace === undefined) return false
    const uid = text(metadata.uid) ?? ''
    let record = this.#pods.get(namespace, name)
    if (record !== undefined && record.uid !== uid) {
      this.#drop(record)
      record = undefined
    }
    record ??= new PodRecord(this, namespace, name, uid)
    this.#pods.set(record)
    this.#describe(record, pod, metadata)

    const before = record.addresses
    record.addresses = heldAddresses(pod)
    const now = this.#nowUs()
    moveAddresses(this.#index, record, before, record.addresses, this.#committed ? now : 0, now)
    return true
  }

  remove(object: unknown): void {
    const metadata = fields(fields(object).metadata)
    const namespace = text(metadata.namespace)
    const name = text(metadata.name)
    if (namespace === undefined || name === undefined) return
    const record = this.#pods.get(namespace, name)
    if (record !== undefined) this.#drop(record)
  }

  commit(): void {
    for (const record of this.#pods.sweep()) this.#drop(record)
    this.#committed = true
  }

  count(): number {
    return this.#pods.size
  }

  /** What a pod is called, of what is known now: `before` when that is still so. For PodRecord only, which keeps it. */
  makeName(pod: Omit<PodRecord, 'describe' | 'forgetName'>, before: Name | undefined): Name {
    const { ownerKind, ownerName } = pod
    let workload =
      ownerKind === undefined || ownerName === undefined
        ? undefined
        : this.#workloads.resolve(pod.namespace, ownerKind, ownerName, pod.labels?.[HASH_LABEL])
    // What was known once stays known, also when owner or node are gone before their pod is.
    if (before?.workload !== undefined && workload?.kind === ownerKind) workload = before.workload
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
    const owner = controller(metadata)
    const found = labels(metadata.labels)
    if (
      nodeName === record.nodeName &&
      owner?.kind === record.ownerKind &&
      owner?.name === record.ownerName &&
      sameLabels(found, record.labels)
    )
      return
    record.nodeName = nodeName
    record.local = nodeName !== undefined && nodeName === this.#nodeName
    record.ownerKind = owner?.kind
    record.ownerName = owner?.name
    record.labels = found
    record.forgetName()
    if (owner === undefined) return
    const decider = this.#workloads.decider(owner.kind, owner.name, found?.[HASH_LABEL])
    if (decider !== undefined) this.#workloads.want(decider, record.namespace, owner.name)
  }

  #drop(record: PodRecord): void {
    this.#pods.delete(record.namespace, record.name)
    // Its owner may be forgotten before the last of its records is named.
    record.describe()
    record.gone = true
    const before = record.addresses
    record.addresses = []
    const now = this.#nowUs()
    moveAddresses(this.#index, record, before, [], now, now)
  }
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
