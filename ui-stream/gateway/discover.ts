// Finds agents: the endpoints of a headless service, as its EndpointSlices name them. Ready or not, each is an agent whose
// node one would like to hear of.

import { isIPv6 } from 'node:net'
import type { Connection } from '../../agent/identity/kubernetes/connection.js'
import { Reflector } from '../../agent/identity/kubernetes/reflector.js'
import type { Resource } from '../../agent/identity/kubernetes/resources.js'
import { fields, list, text } from '../../agent/identity/object.js'
import type { IdentityLog, Kind, ObjectSink } from '../../agent/identity/source.js'
import { DEFAULT_PORT } from '../protocol/names.js'

/** `--discover SERVICE.NAMESPACE`. */
export interface ServiceToFollow {
  readonly name: string
  readonly namespace: string
}

export interface FoundAgent {
  /** `ADDRESS:PORT`, IPv6 in brackets. */
  readonly address: string
  readonly nodeName: string | undefined
}

export interface DiscoveryOptions {
  readonly service: ServiceToFollow
  /** Ours from now on: closed with the discovery. */
  readonly connection: Connection
  readonly log: IdentityLog
  /** All agents there are now, whenever they have changed. */
  readonly found: (agents: readonly FoundAgent[]) => void
}

/** Whoever makes it closes it. */
export class Discovery {
  readonly #reflector: Reflector
  readonly #connection: Connection

  constructor({ service, connection, log, found }: DiscoveryOptions) {
    const resource: Resource = {
      kind: 'EndpointSlice',
      name: 'endpointslices',
      group: 'discovery.k8s.io',
      verbs: ['list', 'watch'],
      path: `/apis/discovery.k8s.io/v1/namespaces/${encodeURIComponent(service.namespace)}/endpointslices`,
      metadataOnly: false,
      onDemand: false,
    }
    this.#connection = connection
    this.#reflector = new Reflector(resource, {
      connection,
      sink: new Endpoints(found),
      log,
      query: { labelSelector: `kubernetes.io/service-name=${service.name}` },
    })
  }

  /** Read once, or known to be out of reach. */
  get synced(): boolean {
    return this.#reflector.synced
  }

  async close(): Promise<void> {
    await this.#reflector.close()
    this.#connection.close()
  }
}

/** The endpoints of all slices. */
export class Endpoints implements ObjectSink {
  readonly #found: (agents: readonly FoundAgent[]) => void
  #slices = new Map<string, readonly FoundAgent[]>()
  /** Of a list that has begun and not ended. */
  #listed: Set<string> | undefined
  #told = ''

  constructor(found: (agents: readonly FoundAgent[]) => void) {
    this.#found = found
  }

  begin(_kind: Kind): void {
    this.#listed = new Set()
  }

  upsert(_kind: Kind, object: unknown): boolean {
    const name = text(fields(fields(object).metadata).name)
    if (name === undefined) return false
    this.#slices.set(name, agentsOf(object))
    this.#listed?.add(name)
    if (this.#listed === undefined) this.#tell()
    return true
  }

  remove(_kind: Kind, object: unknown): void {
    const name = text(fields(fields(object).metadata).name)
    if (name !== undefined) this.#slices.delete(name)
    this.#tell()
  }

  commit(_kind: Kind): void {
    for (const name of this.#slices.keys()) if (!this.#listed?.has(name)) this.#slices.delete(name)
    this.#listed = undefined
    this.#tell()
  }

  count(_kind: Kind): number {
    return this.#slices.size
  }

  #tell(): void {
    const agents = new Map([...this.#slices.values()].flat().map((agent) => [agent.address, agent]))
    const sorted = [...agents.values()].sort((a, b) => (a.address < b.address ? -1 : 1))
    const told = JSON.stringify(sorted)
    if (told === this.#told) return
    this.#told = told
    this.#found(sorted)
  }
}

/** One address of each endpoint, at the slice's first TCP port. */
function agentsOf(object: unknown): FoundAgent[] {
  const slice = fields(object)
  const ports = list(slice.ports).map(fields)
  const tcp = ports.find(({ protocol }) => protocol === undefined || protocol === 'TCP')
  const port = typeof tcp?.port === 'number' ? tcp.port : DEFAULT_PORT
  const agents: FoundAgent[] = []
  for (const entry of list(slice.endpoints)) {
    const endpoint = fields(entry)
    const address = list(endpoint.addresses)[0]
    if (typeof address !== 'string') continue
    agents.push({
      address: isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`,
      nodeName: text(endpoint.nodeName),
    })
  }
  return agents
}
