// EndpointSlices: which services an address and port is a backend of. Answers only when exactly one service is.
//
// Several services may share a backend, so a key has a chain of entries. An entry that has ended stays for a while, so
// that a connection's last record still has the service that its first one had. Keeps addresses and ports of endpoints
// that take connections, nothing else.

import { type AddressWords, parseAddress } from './address.js'
import type { Listed } from './named-map.js'
import { type Fields, fields, list, port, sharedText, text } from './object.js'
import { RecordStore } from './record-store.js'
import { portKey, protocolNumber } from './services.js'
import { NONE, TupleTable } from './word-table.js'

const FOREVER = Number.POSITIVE_INFINITY
const SERVICE_LABEL = 'kubernetes.io/service-name'
/** Kubernetes itself allows 1,000 endpoints and 100 ports in a slice. */
const MOST_ENDPOINTS = 1000
const MOST_PORTS = 100
const MOST_ENDED = 16_384

/** One service's port, as a backend of it is reached. */
export interface BackendPort {
  readonly namespace: string
  readonly service: string
  readonly portName: string | undefined
}

/** The pod behind an address, as an EndpointSlice names it. */
export interface BackendPod {
  readonly namespace: string
  readonly name: string
}

interface SliceRecord extends Listed {
  /** The first of its live entries; each knows the next. */
  first: number
}

/** What to look for in an upsert; stands for no entry by itself. */
interface Backend {
  readonly address: AddressWords
  readonly qualifier: number
  /** Of the qualifier POD, who the address belongs to; else the port. */
  readonly what: BackendPort | BackendPod
}

/** In place of port and protocol: the entry says which pod has the address. */
const POD = 0

export class EndpointSliceStore extends RecordStore<SliceRecord> {
  /** Entries that have not ended. */
  current = 0
  /** Remember which pod each address belongs to (`podOf`); before anything is read. */
  keepPods = false
  /** Told when an address has come to a pod, or gone from one. */
  onPod: ((address: AddressWords) => void) | undefined

  readonly #nowUs: () => number
  readonly #heads = new TupleTable()
  // An entry is a row of these. Those of one key are a chain, newest first, and so are those of one slice.
  #what: (BackendPort | BackendPod | undefined)[] = []
  #slice: (SliceRecord | undefined)[] = []
  #until = new Float64Array(256)
  #next = new Int32Array(256)
  #sibling = new Int32Array(256)
  /** Four words of the address, and the qualifier. */
  #words = new Uint32Array(256 * 5)
  #used = 0
  #free = NONE
  #ended: number[] = []
  #endedHead = 0

  constructor(nowUs: () => number) {
    super()
    this.#nowUs = nowUs
  }

  /** The one service that has this address and port as a backend at that time. No allocation. */
  only(
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    portNumber: number,
    protocol: number,
    timeUs: number,
  ): BackendPort | undefined {
    let found: BackendPort | undefined
    let entry = this.#heads.get(w0, w1, w2, w3, portKey(portNumber, protocol))
    for (; entry !== NONE; entry = this.#next[entry]!) {
      if (timeUs >= this.#until[entry]!) continue
      const candidate = this.#what[entry] as BackendPort
      if (found === undefined) found = candidate
      else if (found.service !== candidate.service || found.namespace !== candidate.namespace)
        return undefined
    }
    return found
  }

  /** The pod that an EndpointSlice has for this address now; undefined when none has, or `keepPods` is not set. */
  podOf(w0: number, w1: number, w2: number, w3: number): BackendPod | undefined {
    let entry = this.#heads.get(w0, w1, w2, w3, POD)
    for (; entry !== NONE; entry = this.#next[entry]!) {
      if (this.#until[entry] === FOREVER) return this.#what[entry] as BackendPod
    }
    return undefined
  }

  protected put(namespace: string, name: string, slice: Fields, metadata: Fields): void {
    const record = this.records.get(namespace, name) ?? { namespace, name, round: 0, first: NONE }
    this.records.set(record)
    const service = sharedText(fields(metadata.labels)[SERVICE_LABEL])
    const wanted = service === undefined ? [] : readBackends(slice, namespace, service, this.keepPods)
    const before = new Set<number>()
    for (let entry = record.first; entry !== NONE; entry = this.#sibling[entry]!) before.add(entry)
    const live: number[] = []
    for (const backend of wanted) {
      const known = this.#find(record, backend)
      if (known !== NONE && before.delete(known)) live.push(known)
      else if (known === NONE) live.push(this.#add(record, backend))
    }
    record.first = NONE
    for (const entry of live) {
      this.#sibling[entry] = record.first
      record.first = entry
    }
    for (const entry of before) this.#end(entry)
  }

  protected gone(record: SliceRecord): void {
    for (let entry = record.first; entry !== NONE; entry = this.#sibling[entry]!) this.#end(entry)
    record.first = NONE
  }

  #find(slice: SliceRecord, { address, qualifier, what }: Backend): number {
    const [w0, w1, w2, w3] = address
    let entry = this.#heads.get(w0, w1, w2, w3, qualifier)
    for (; entry !== NONE; entry = this.#next[entry]!) {
      if (this.#slice[entry] === slice && this.#until[entry] === FOREVER && same(this.#what[entry], what))
        return entry
    }
    return NONE
  }

  #add(slice: SliceRecord, { address, qualifier, what }: Backend): number {
    const entry = this.#take()
    const [w0, w1, w2, w3] = address
    this.#what[entry] = what
    this.#slice[entry] = slice
    this.#until[entry] = FOREVER
    this.#next[entry] = this.#heads.get(w0, w1, w2, w3, qualifier)
    this.#words.set(address, entry * 5)
    this.#words[entry * 5 + 4] = qualifier
    this.#heads.set(w0, w1, w2, w3, qualifier, entry)
    this.current++
    if (qualifier === POD) this.onPod?.(address)
    return entry
  }

  #take(): number {
    if (this.#free !== NONE) {
      const entry = this.#free
      this.#free = this.#next[entry]!
      return entry
    }
    if (this.#used === this.#until.length) {
      const length = this.#used * 2
      this.#until = grown(this.#until, new Float64Array(length))
      this.#next = grown(this.#next, new Int32Array(length))
      this.#sibling = grown(this.#sibling, new Int32Array(length))
      this.#words = grown(this.#words, new Uint32Array(length * 5))
    }
    return this.#used++
  }

  #end(entry: number): void {
    this.#until[entry] = this.#nowUs()
    this.#slice[entry] = undefined
    this.current--
    const [w0, w1, w2, w3, qualifier] = this.#key(entry)
    if (qualifier === POD) this.onPod?.([w0, w1, w2, w3])
    this.#ended.push(entry)
    while (this.#ended.length - this.#endedHead > MOST_ENDED) this.#forget(this.#ended[this.#endedHead++]!)
    if (this.#endedHead > MOST_ENDED) {
      this.#ended = this.#ended.slice(this.#endedHead)
      this.#endedHead = 0
    }
  }

  #key(entry: number): readonly [number, number, number, number, number] {
    const words = this.#words
    const k = entry * 5
    return [words[k]!, words[k + 1]!, words[k + 2]!, words[k + 3]!, words[k + 4]!]
  }

  #forget(entry: number): void {
    const [w0, w1, w2, w3, qualifier] = this.#key(entry)
    const head = this.#heads.get(w0, w1, w2, w3, qualifier)
    const next = this.#next[entry]!
    if (head !== entry) {
      let newer = head
      while (this.#next[newer] !== entry) newer = this.#next[newer]!
      this.#next[newer] = next
    } else if (next === NONE) this.#heads.delete(w0, w1, w2, w3, qualifier)
    else this.#heads.set(w0, w1, w2, w3, qualifier, next)
    this.#what[entry] = undefined
    this.#next[entry] = this.#free
    this.#free = entry
  }
}

function grown<A extends Float64Array | Int32Array | Uint32Array>(old: A, bigger: A): A {
  bigger.set(old)
  return bigger
}

function same(a: BackendPort | BackendPod | undefined, b: BackendPort | BackendPod): boolean {
  if (a === undefined) return false
  if ('service' in a) return 'service' in b && a.service === b.service && a.portName === b.portName
  return 'name' in b && a.namespace === b.namespace && a.name === b.name
}

function readBackends(slice: Fields, namespace: string, service: string, keepPods: boolean): Backend[] {
  const ports: { qualifier: number; what: BackendPort }[] = []
  for (const entry of list(slice.ports).slice(0, MOST_PORTS)) {
    const { name, port: number, protocol } = fields(entry)
    const protocolOf = protocolNumber(protocol)
    if (port(number) === 0 || protocolOf === 0) continue
    const portName = sharedText(name)
    ports.push({ qualifier: portKey(port(number), protocolOf), what: { namespace, service, portName } })
  }
  const result: Backend[] = []
  for (const entry of list(slice.endpoints).slice(0, MOST_ENDPOINTS)) {
    const endpoint = fields(entry)
    const conditions = fields(endpoint.conditions)
    // More than the first address of an endpoint has no meaning (discovery.k8s.io/v1).
    const first = list(endpoint.addresses)[0]
    const address = typeof first === 'string' ? parseAddress(first) : undefined
    if (address === undefined) continue
    if (keepPods) {
      const target = fields(endpoint.targetRef)
      const name = target.kind === 'Pod' ? text(target.name) : undefined
      if (name !== undefined) {
        const what = { namespace: sharedText(target.namespace) ?? namespace, name }
        result.push({ address, qualifier: POD, what })
      }
    }
    // One that is terminating keeps the connections that it has, as long as it serves; absent means yes.
    if (conditions.ready === false && conditions.serving !== true) continue
    for (const { qualifier, what } of ports) result.push({ address, qualifier, what })
  }
  return result
}
