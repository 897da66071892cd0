// Services: which addresses and ports they answer on, and what they are called there.
//
// The type in a name says how the client addressed the service: a LoadBalancer's cluster address is a ClusterIP. Keeps
// the names and addresses of a service, nothing else; ended ones are remembered like those of pods.

import { type AddressWords, parseAddress } from './address.js'
import { AddressIndex } from './address-index.js'
import { type Listed, NamedMap } from './named-map.js'
import type { ServiceName } from './names.js'
import { type Fields, fields, list, port, sharedText, text } from './object.js'

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

interface Claim {
  readonly address: AddressWords
  readonly qualifier: number
  readonly name: ServiceName
}

interface ServiceRecord extends Listed {
  readonly headless: boolean
  readonly claims: readonly Claim[]
  /** Every name that was made for it; there is one for each type and port name. */
  readonly names: ServiceName[]
}

export class ServiceStore {
  readonly #services = new NamedMap<ServiceRecord>()
  readonly #ports = new AddressIndex<ServiceName>()
  /** Cluster addresses alone, so that they are not taken for the world's. */
  readonly #addresses = new AddressIndex<ServiceName>()
  readonly #nowUs: () => number
  #committed = false

  constructor(nowUs: () => number) {
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
    return this.#ports.get(w0, w1, w2, w3, portKey(portNumber, protocol), timeUs)
  }

  /** The service that has this port on every node, at that time. */
  byNodePort(portNumber: number, protocol: number, timeUs: number): ServiceName | undefined {
    return this.#ports.get(0, 0, 0, 0, portKey(portNumber, protocol), timeUs)
  }

  /** True for the cluster address of any service, whatever the port. */
  hasClusterAddress(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.#addresses.has(w0, w1, w2, w3, 0)
  }

  /**
   * What a service is called by somebody who reached one of its backends without using its address. `headless` is what
   * the EndpointSlice says, for a service that is not known itself.
   */
  byBackend(namespace: string, name: string, portName: string | undefined): ServiceName | undefined {
    const record = this.#services.get(namespace, name)
    if (record === undefined) return undefined
    return nameOf(record, record.headless ? 'Headless' : 'ClusterIP', portName)
  }

  begin(): void {
    this.#services.begin()
  }

  upsert(object: unknown): boolean {
    const service = fields(object)
    const metadata = fields(service.metadata)
    const namespace = sharedText(metadata.namespace)
    const name = sharedText(metadata.name)
    if (namespace === undefined || name === undefined) return false
    const before = this.#services.get(namespace, name)
    const record = readService(namespace, name, service, before?.names ?? [])
    this.#services.set(record)
    this.#move(before?.claims ?? [], record.claims)
    return true
  }

  remove(object: unknown): void {
    const metadata = fields(fields(object).metadata)
    const namespace = text(metadata.namespace)
    const name = text(metadata.name)
    if (namespace === undefined || name === undefined) return
    const record = this.#services.delete(namespace, name)
    if (record !== undefined) this.#move(record.claims, [])
  }

  commit(): void {
    for (const record of this.#services.sweep()) this.#move(record.claims, [])
    this.#committed = true
  }

  count(): number {
    return this.#services.size
  }

  #move(before: readonly Claim[], after: readonly Claim[]): void {
    const now = this.#nowUs()
    const from = this.#committed ? now : 0
    for (const { address, qualifier, name } of before) {
      const stays = after.some(
        (claim) =>
          claim.name === name &&
          claim.qualifier === qualifier &&
          claim.address.every((word, i) => word === address[i]),
      )
      if (!stays) this.#index(qualifier).release(address, qualifier, name, now)
    }
    for (const { address, qualifier, name } of after) {
      this.#index(qualifier).claim(address, qualifier, name, from)
    }
  }

  #index(qualifier: number): AddressIndex<ServiceName> {
    return qualifier === 0 ? this.#addresses : this.#ports
  }
}

function readService(namespace: string, name: string, service: Fields, known: ServiceName[]): ServiceRecord {
  const spec = fields(service.spec)
  const clusterAddresses = addresses([...list(spec.clusterIPs), spec.clusterIP])
  const externalAddresses = addresses(list(spec.externalIPs))
  const ingress = list(fields(fields(service.status).loadBalancer).ingress)
  const balancerAddresses = addresses(ingress.map((entry) => fields(entry).ip))
  const claims: Claim[] = []
  const record: ServiceRecord = {
    namespace,
    name,
    round: 0,
    headless: spec.clusterIP === 'None',
    claims,
    names: known.length < MOST_NAMES ? known : [],
  }
  for (const entry of list(spec.ports).slice(0, MOST_PORTS)) {
    const portFields = fields(entry)
    const number = port(portFields.port)
    const protocol = protocolNumber(portFields.protocol)
    if (number === 0 || protocol === 0) continue
    const portName = sharedText(portFields.name)
    const qualifier = portKey(number, protocol)
    const claim = (type: string, list: readonly AddressWords[], by = qualifier) => {
      for (const address of list) {
        if (claims.length === MOST_CLAIMS) return
        claims.push({ address, qualifier: by, name: nameOf(record, type, portName) })
      }
    }
    claim('ClusterIP', clusterAddresses)
    claim('ExternalIP', externalAddresses)
    claim('LoadBalancer', balancerAddresses)
    const nodePort = port(portFields.nodePort)
    if (nodePort !== 0) claim('NodePort', [ANY_NODE], portKey(nodePort, protocol))
  }
  for (const address of clusterAddresses) {
    claims.push({ address, qualifier: 0, name: nameOf(record, 'ClusterIP', undefined) })
  }
  return record
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

/** The one name object of this service for a type and port name. */
function nameOf(record: ServiceRecord, type: string, portName: string | undefined): ServiceName {
  for (const name of record.names) if (name.type === type && name.portName === portName) return name
  const made = Object.freeze({
    namespace: record.namespace,
    name: record.name,
    type,
    ...(portName === undefined ? {} : { portName }),
  })
  record.names.push(made)
  return made
}
