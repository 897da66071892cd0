// Nodes: their addresses, zones and pod ranges. This node is there from the start, with the addresses that the host
// itself has, whether or not any Node object is ever seen.

import { type AddressRange, type AddressWords, parseAddress, parseRange } from './address.js'
import { type AddressIndex, type Holds, NO_HOLDS } from './address-index.js'
import { type Holder, moveAddresses } from './holder.js'
import { EndpointKind, type Name } from './names.js'
import { type Fields, fields, type Labels, labels, list, sharedText, text } from './object.js'
import { RangeSet } from './ranges.js'
import type { Found, Lease } from './strangers.js'

/** Annotations in which CNI plugins write addresses of a node that its status does not list. */
export const ADDRESS_ANNOTATIONS = [
  'projectcalico.org/IPv4IPIPTunnelAddr',
  'projectcalico.org/IPv4VXLANTunnelAddr',
  'projectcalico.org/IPv6VXLANTunnelAddr',
  'projectcalico.org/IPv4WireguardInterfaceAddr',
  'network.cilium.io/ipv4-cilium-host',
  'network.cilium.io/ipv6-cilium-host',
] as const

const MOST_ADDRESSES = 64

class NodeRecord implements Holder {
  readonly isNode = true
  readonly nodeName: string
  readonly local: boolean
  zone: string | undefined
  labels: Labels | undefined
  addresses: readonly AddressWords[] = []
  held: Holds = NO_HOLDS
  lease: Lease | undefined
  ranges: readonly AddressRange[] = []
  rangeTexts = ''
  listed = false
  round = 0
  #name: Name | undefined

  constructor(nodeName: string, local: boolean) {
    this.nodeName = nodeName
    this.local = local
  }

  describe(): Name {
    this.#name ??= Object.freeze({
      kind: EndpointKind.NODE,
      ...(this.nodeName === '' ? {} : { nodeName: this.nodeName }),
      ...(this.zone === undefined ? {} : { zone: this.zone }),
      ...(this.labels === undefined ? {} : { labels: this.labels }),
    })
    return this.#name
  }

  forgetName(): void {
    this.#name = undefined
  }
}

export class NodeStore {
  /** Moves on when the zone of any node has become known, or changed. */
  version = 0
  /** The node that this agent runs on. */
  readonly self: Holder
  /** Told once, when a full list does not have the node that this agent is said to run on. */
  onForeign: (() => void) | undefined

  /** Pod ranges of the node that this agent runs on. */
  readonly ownRanges = new RangeSet()

  readonly #index: AddressIndex<Holder>
  readonly #podRanges: RangeSet
  readonly #nowUs: () => number
  readonly #self: NodeRecord
  readonly #nodes = new Map<string, NodeRecord>()
  #localAddresses: readonly AddressWords[] = []
  #round = 0
  #committed = false

  constructor(index: AddressIndex<Holder>, podRanges: RangeSet, nodeName: string, nowUs: () => number) {
    this.#index = index
    this.#podRanges = podRanges
    this.#nowUs = nowUs
    this.#self = new NodeRecord(nodeName, true)
    this.self = this.#self
  }

  /** Addresses of this host, as its interfaces have them. What is not an address is left out. */
  setLocalAddresses(addresses: readonly string[]): void {
    const parsed = addresses.map(parseAddress).filter((words) => words !== undefined)
    const first = this.#localAddresses.length === 0
    this.#localAddresses = parsed
    const now = this.#nowUs()
    this.#move(this.#self, first ? 0 : now, now)
  }

  /** Keeps a node that nobody watches, with one address, until it is given back. */
  lend(nodeName: string, address: AddressWords): Found {
    const zone = this.zoneOf(nodeName)
    const record = new NodeRecord(nodeName, false)
    record.zone = zone
    const now = this.#nowUs()
    const found: Found = {
      who: record,
      lend: (lease) => {
        record.lease = lease
      },
      release: () => {
        const at = this.#nowUs()
        record.held = moveAddresses(this.#index, record, record.held, [], at, at)
      },
    }
    record.held = moveAddresses(this.#index, record, NO_HOLDS, [address], now, now)
    return found
  }

  begin(): void {
    this.#round++
  }

  upsert(object: unknown): boolean {
    const node = fields(object)
    const metadata = fields(node.metadata)
    const name = sharedText(metadata.name)
    if (name === undefined) return false
    let record = name === this.#self.nodeName ? this.#self : this.#nodes.get(name)
    if (record === undefined) record = new NodeRecord(name, false)
    this.#nodes.set(name, record)
    record.round = this.#round
    record.listed = true

    const found = labels(metadata.labels)
    const zone =
      found?.['topology.kubernetes.io/zone'] ?? found?.['failure-domain.beta.kubernetes.io/zone'] ?? undefined
    const zoneChanged = zone !== record.zone
    if (zoneChanged || found !== record.labels) {
      record.zone = zone
      record.labels = found
      record.forgetName()
    }
    record.addresses = nodeAddresses(node, metadata)
    const now = this.#nowUs()
    this.#move(record, this.#committed ? now : 0, now)
    this.#setRanges(record, fields(node.spec))
    if (zoneChanged) this.version++
    return true
  }

  remove(object: unknown): void {
    const name = text(fields(fields(object).metadata).name)
    const record = name === undefined ? undefined : this.#nodes.get(name)
    if (record !== undefined) this.#drop(record)
  }

  commit(): void {
    for (const record of [...this.#nodes.values()]) if (record.round !== this.#round) this.#drop(record)
    this.#committed = true
    if (this.#nodes.has(this.#self.nodeName)) return
    this.onForeign?.()
    this.onForeign = undefined
  }

  count(): number {
    return this.#nodes.size
  }

  zoneOf(nodeName: string): string | undefined {
    return this.#nodes.get(nodeName)?.zone
  }

  #drop(record: NodeRecord): void {
    this.#nodes.delete(record.nodeName)
    record.addresses = []
    const now = this.#nowUs()
    this.#move(record, now, now)
    this.#changeRanges(record, [])
    record.rangeTexts = ''
  }

  #move(record: NodeRecord, fromUs: number, nowUs: number): void {
    const addresses =
      record === this.#self ? [...this.#localAddresses, ...record.addresses] : record.addresses
    record.held = moveAddresses(this.#index, record, record.held, addresses, fromUs, nowUs)
  }

  #setRanges(record: NodeRecord, spec: Fields): void {
    const listed = list(spec.podCIDRs).slice(0, MOST_ADDRESSES)
    const texts = (listed.length > 0 ? listed : [spec.podCIDR]).map(text).filter((t) => t !== undefined)
    const joined = texts.join(',')
    if (joined === record.rangeTexts) return
    this.#changeRanges(
      record,
      texts.map(parseRange).filter((range) => range !== undefined),
    )
    record.rangeTexts = joined
  }

  #changeRanges(record: NodeRecord, ranges: readonly AddressRange[]): void {
    for (const set of record === this.#self ? [this.#podRanges, this.ownRanges] : [this.#podRanges]) {
      for (const range of record.ranges) set.delete(range)
      for (const range of ranges) set.add(range)
    }
    record.ranges = ranges
  }
}

function nodeAddresses(node: Fields, metadata: Fields): AddressWords[] {
  const texts: unknown[] = list(fields(node.status).addresses).map((entry) => fields(entry).address)
  const annotations = fields(metadata.annotations)
  for (const annotation of ADDRESS_ANNOTATIONS) texts.push(annotations[annotation])
  const result: AddressWords[] = []
  for (const entry of texts.slice(0, MOST_ADDRESSES)) {
    const words = typeof entry === 'string' ? parseAddress(entry) : undefined
    if (words !== undefined) result.push(words)
  }
  return result
}
