// Services: which addresses and ports they answer on, and what they are called there.
//
// The type in a name says how the client addressed the service: a LoadBalancer's cluster address is a ClusterIP. Keeps
// the names and addresses of a service, nothing else; ended ones are remembered like those of pods.

import { type AddressWords, parseAddress } from './address.js'
import { AddressIndex, type Claim, type Holds, NO_HOLDS } from './address-index.js'
import type { IngressStore } from './ingresses.js'
import type { Listed } from './named-map.js'
import type { ServiceName } from './names.js'
import { type Fields, fields, list, port, sharedText } from './object.js'
import { RecordStore } from './record-store.js'
import { ServicePort } from './service-port.js'

/** Stands for every address of every node in the keys of node ports. */
const ANY_NODE: AddressWords = [0, 0, 0, 0]
const MOST_ADDRESSES = 64
const MOST_PORTS = 1024
/** Addresses times ports of one service. */
const MOST_CLAIMS = 2048
const MOST_NAMES = 4096
const PROTOCOLS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 }

/** IANA number of a port's protocol; TCP where none is given, 0 for one that is not known. */
export function protocolNumber(value: unknown): number {
  if (value === undefined || value === null) return 6
  return typeof value === 'string' && Object.hasOwn(PROTOCOLS, value) ? (PROTOCOLS[value] ?? 0) : 0
}

/** Port and protocol as the qualifier of an address; never 0. */
export function portKey(portNumber: number, protocol: number): number {
  return (portNumber << 8) | protocol
}

interface ServiceRecord extends Listed {
  readonly headless: boolean
  /** Of addresses with port and protocol, and of addresses alone. */
  ports: Holds
  addresses: Holds
  /** Every port that was named; there is one for each type, port name and number. */
  readonly names: ServicePort[]
  /** Number of each port name, '' where it has none. */
  readonly numbers: ReadonlyMap<string, number>
}

export class ServiceStore extends RecordStore<ServiceRecord> {
  readonly #ports = new AddressIndex<ServicePort>()
  /** Addresses alone, so that they are not taken for the world's. */
  readonly #addresses = new AddressIndex<ServicePort>()
  readonly #nowUs: () => number

  readonly #ingresses: IngressStore

  constructor(ingresses: IngressStore, nowUs: () => number) {
    super()
    this.#ingresses = ingresses
    this.#nowUs = nowUs
  }

  /** The service that has this address and port, at that time. No allocation. */
  byAddress(
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    portNumber: number,
    protocol: number,
    timeUs: number,
  ): ServiceName | undefined {
    return this.#ports.get(w0, w1, w2, w3, portKey(portNumber, protocol), timeUs)?.describe()
  }

  /** The service that has this port on every node, at that time. */
  byNodePort(portNumber: number, protocol: number, timeUs: number): ServiceName | undefined {
    return this.#ports.get(0, 0, 0, 0, portKey(portNumber, protocol), timeUs)?.describe()
  }

  /** True for an address of any service, whatever the port. */
  hasAddress(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.#addresses.has(w0, w1, w2, w3, 0)
  }

  /**
   * What a service is called by somebody who reached one of its backends without using its address. `headless` is what
   * the EndpointSlice says, for a service that is not known itself.
   */
  byBackend(namespace: string, name: string, portName: string | undefined): ServiceName | undefined {
    const record = this.records.get(namespace, name)
    if (record === undefined) return undefined
    const number = record.numbers.get(portName ?? '') ?? 0
    return nameOf(
      this.#ingresses,
      record,
      record.headless ? 'Headless' : 'ClusterIP',
      portName,
      number,
    ).describe()
  }

  protected put(namespace: string, name: string, service: Fields): void {
    const before = this.records.get(namespace, name)
    const { record, ports, addresses } = readService(this.#ingresses, namespace, name, service, before)
    this.records.set(record)
    this.#move(record, before?.names ?? [], ports, addresses)
  }

  protected gone(record: ServiceRecord): void {
    this.#move(record, [], [], [])
  }

  /** `earlier` are the names that it may hold something by, beside its own. */
  #move(
    record: ServiceRecord,
    earlier: readonly ServicePort[],
    ports: readonly Claim<ServicePort>[],
    addresses: readonly Claim<ServicePort>[],
  ): void {
    const now = this.#nowUs()
    const from = this.committed ? now : 0
    const mine = (name: ServicePort) => record.names.includes(name) || earlier.includes(name)
    record.ports = this.#ports.move(record.ports, ports, mine, from, now)
    record.addresses = this.#addresses.move(record.addresses, addresses, mine, from, now)
  }
}

interface Read {
  readonly record: ServiceRecord
  readonly ports: readonly Claim<ServicePort>[]
  readonly addresses: readonly Claim<ServicePort>[]
}

function readService(
  ingresses: IngressStore,
  namespace: string,
  name: string,
  service: Fields,
  before: ServiceRecord | undefined,
): Read {
  const spec = fields(service.spec)
  const clusterTexts = [...list(spec.clusterIPs), spec.clusterIP]
  const externalTexts = list(spec.externalIPs)
  const balancers = list(fields(fields(service.status).loadBalancer).ingress)
  const balancerTexts = balancers.map((entry) => fields(entry).ip)
  const clusterAddresses = addresses(clusterTexts)
  const externalAddresses = addresses(externalTexts)
  const balancerAddresses = addresses(balancerTexts)
  const known = before?.names ?? []
  const numbers = new Map<string, number>()
  const record: ServiceRecord = {
    namespace,
    name,
    round: 0,
    headless: spec.clusterIP === 'None',
    ports: before?.ports ?? NO_HOLDS,
    addresses: before?.addresses ?? NO_HOLDS,
    names: known.length < MOST_NAMES ? known : [],
    numbers,
  }
  const ports: Claim<ServicePort>[] = []
  for (const entry of list(spec.ports).slice(0, MOST_PORTS)) {
    const portFields = fields(entry)
    const number = port(portFields.port)
    const protocol = protocolNumber(portFields.protocol)
    if (number === 0 || protocol === 0) continue
    const portName = sharedText(portFields.name)
    numbers.set(portName ?? '', number)
    const claim = (type: string, held: readonly AddressWords[], qualifier = portKey(number, protocol)) => {
      for (const address of held) {
        if (ports.length === MOST_CLAIMS) return
        ports.push({ address, qualifier, holder: nameOf(ingresses, record, type, portName, number) })
      }
    }
    claim('ClusterIP', clusterAddresses)
    claim('ExternalIP', externalAddresses)
    claim('LoadBalancer', balancerAddresses)
    const nodePort = port(portFields.nodePort)
    if (nodePort !== 0) claim('NodePort', [ANY_NODE], portKey(nodePort, protocol))
  }
  const holder = nameOf(ingresses, record, 'ClusterIP', undefined, 0)
  const whole = addresses([...clusterTexts, ...externalTexts, ...balancerTexts]).map((address) => ({
    address,
    qualifier: 0,
    holder,
  }))
  return { record, ports, addresses: whole }
}

function addresses(texts: readonly unknown[]): AddressWords[] {
  const seen = new Set<string>()
  const result: AddressWords[] = []
  for (const entry of texts.slice(0, MOST_ADDRESSES)) {
    if (typeof entry !== 'string' || seen.has(entry)) continue
    seen.add(entry)
    const words = parseAddress(entry)
    if (words !== undefined) result.push(words)
  }
  return result
}

/** The one object for this type and port of a service. */
function nameOf(
  ingresses: IngressStore,
  record: ServiceRecord,
  type: string,
  portName: string | undefined,
  port: number,
): ServicePort {
  for (const known of record.names)
    if (known.type === type && known.portName === portName && known.port === port) return known
  const made = new ServicePort(ingresses, record, type, portName, port)
  record.names.push(made)
  return made
}
