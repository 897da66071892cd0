// EndpointSlices: which services an address and port is a backend of. Answers only when exactly one service is.
//
// Several services may share a backend, so a key has a chain of entries. An entry that has ended stays for a while, so
// that a connection's last record still has the service that its first one had. Keeps addresses and ports of endpoints
// that take connections, nothing else.

import { type AddressWords, parseAddress } from './address.js'
import { type Listed, NamedMap } from './named-map.js'
import { fields, list, port, sharedText, text } from './object.js'
import { portKey, protocolNumber } from './services.js'
import { TupleTable } from './word-table.js'

const NONE = -1
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

interface SliceRecord extends Listed {
  /** Its live entries. */
  entries: number[]
}

/** What to look for in an upsert; stands for no entry by itself. */
interface Backend {
  readonly address: AddressWords
  readonly qualifier: number
  readonly port: BackendPort
}

export class EndpointSliceStore {
  /** Entries that have not ended. */
  current = 0

  readonly #nowUs: () => number
  readonly #slices = new NamedMap<SliceRecord>()
  readonly #heads = new TupleTable()
  readonly #port: (BackendPort | undefined)[] = []
  readonly #slice: (SliceRecord | undefined)[] = []
  readonly #until: number[] = []
  readonly #next: number[] = []
  readonly #words: (AddressWords | undefined)[] = []
  readonly #qualifier: number[] = []
  readonly #free: number[] = []
  #ended: number[] = []
  #endedHead = 0

  constructor(nowUs: () => number) {
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
      const candidate = this.#port[entry]!
      if (found === undefined) found = candidate
      else if (found.service !== candidate.service || found.namespace !== candidate.namespace)
        return undefined
    }
    return found
  }

  begin(): void {
    this.#slices.begin()
  }

  upsert(object: unknown): boolean {
    const slice = fields(object)
    const metadata = fields(slice.metadata)
    const namespace = sharedText(metadata.namespace)
    const name = text(metadata.name)
    if (namespace === undefined || name === undefined) return false
    const record = this.#slices.get(namespace, name) ?? { namespace, name, round: 0, entries: [] }
    this.#slices.set(record)
    const service = sharedText(fields(metadata.labels)[SERVICE_LABEL])
    const wanted = service === undefined ? [] : readBackends(slice, namespace, service)
    const before = new Set(record.entries)
    const entries: number[] = []
    for (const backend of wanted) {
      const known = this.#find(record, backend)
      if (known !== NONE && before.delete(known)) entries.push(known)
      else if (known === NONE) entries.push(this.#add(record, backend))
    }
    record.entries = entries
    for (const entry of before) this.#end(entry)
    return true
  }

  remove(object: unknown): void {
    const metadata = fields(fields(object).metadata)
    const namespace = text(metadata.namespace)
    const name = text(metadata.name)
    if (namespace === undefined || name === undefined) return
    const record = this.#slices.delete(namespace, name)
    if (record !== undefined) for (const entry of record.entries) this.#end(entry)
  }

  commit(): void {
    for (const record of this.#slices.sweep()) for (const entry of record.entries) this.#end(entry)
  }

  count(): number {
    return this.#slices.size
  }

  #find(slice: SliceRecord, backend: Backend): number {
    const [w0, w1, w2, w3] = backend.address
    let entry = this.#heads.get(w0, w1, w2, w3, backend.qualifier)
    for (; entry !== NONE; entry = this.#next[entry]!) {
      const known = this.#port[entry]!
      if (
        this.#slice[entry] === slice &&
        this.#until[entry] === FOREVER &&
        known.service === backend.port.service &&
        known.portName === backend.port.portName
      )
        return entry
    }
    return NONE
  }

  #add(slice: SliceRecord, { address, qualifier, port }: Backend): number {
    const entry = this.#free.pop() ?? this.#next.length
    const [w0, w1, w2, w3] = address
    this.#port[entry] = port
    this.#slice[entry] = slice
    this.#until[entry] = FOREVER
    this.#next[entry] = this.#heads.get(w0, w1, w2, w3, qualifier)
    this.#words[entry] = address
    this.#qualifier[entry] = qualifier
    this.#heads.set(w0, w1, w2, w3, qualifier, entry)
    this.current++
    return entry
  }

  #end(entry: number): void {
    this.#until[entry] = this.#nowUs()
    this.#slice[entry] = undefined
    this.current--
    this.#ended.push(entry)
    while (this.#ended.length - this.#endedHead > MOST_ENDED) this.#forget(this.#ended[this.#endedHead++]!)
    if (this.#endedHead > MOST_ENDED) {
      this.#ended = this.#ended.slice(this.#endedHead)
      this.#endedHead = 0
    }
  }

  #forget(entry: number): void {
    const [w0, w1, w2, w3] = this.#words[entry]!
    const qualifier = this.#qualifier[entry]!
    const head = this.#heads.get(w0, w1, w2, w3, qualifier)
    const next = this.#next[entry]!
    if (head !== entry) {
      let newer = head
      while (this.#next[newer] !== entry) newer = this.#next[newer]!
      this.#next[newer] = next
    } else if (next === NONE) this.#heads.delete(w0, w1, w2, w3, qualifier)
    else this.#heads.set(w0, w1, w2, w3, qualifier, next)
    this.#port[entry] = undefined
    this.#words[entry] = undefined
    this.#free.push(entry)
  }
}

function readBackends(slice: ReturnType<typeof fields>, namespace: string, service: string): Backend[] {
  const ports: { number: number; port: BackendPort }[] = []
  for (const entry of list(slice.ports).slice(0, MOST_PORTS)) {
    const { name, port: number, protocol } = fields(entry)
    const qualifier = protocolNumber(protocol)
    if (port(number) === 0 || qualifier === 0) continue
    ports.push({
      number: portKey(port(number), qualifier),
      port: { namespace, service, portName: sharedText(name) },
    })
  }
  const result: Backend[] = []
  for (const entry of list(slice.endpoints).slice(0, MOST_ENDPOINTS)) {
    const endpoint = fields(entry)
    const conditions = fields(endpoint.conditions)
    // One that is terminating keeps the connections that it has, as long as it serves; absent means yes.
    if (conditions.ready === false && conditions.serving !== true) continue
    // More than the first address of an endpoint has no meaning (discovery.k8s.io/v1).
    const address = list(endpoint.addresses)[0]
    const words = typeof address === 'string' ? parseAddress(address) : undefined
    if (words === undefined) continue
    for (const { number, port } of ports) result.push({ address: words, qualifier: number, port })
  }
  return result
}
