// What records share, by number: names, services, and places (who captured, at which interfaces, why it was dropped). One
// vocabulary for all chunks of a history. Also learns which workloads answer for a service, for `from-service`.

import type { Name, ServiceName } from '../../agent/identity/names.js'
import { Dictionary } from './dictionary.js'
import { endpointTail } from './name-bytes.js'

/** Where a record comes from, and the bytes of it that say so. */
export interface Place {
  readonly nodeName: string
  readonly interfaces: readonly string[]
  /** The kernel's name in upper case, as filters compare it. */
  readonly dropReason: string | undefined
  /** Fields 2 (agent_id), 7 (node_name) and all of 24 (observations) of Flow, each complete; nothing where absent. */
  readonly bytes: Uint8Array
  /** Where in `bytes` the second and the third begin. */
  readonly nodeAt: number
  readonly hooksAt: number
  /** Under which the place is found again. */
  readonly key: string
}

/** What an object, its strings and its entry in a dictionary take beside the bytes counted. */
const OBJECT_BYTES = 400
/** Pairs of service and workload that are remembered. */
const MAX_BACKENDS = 16_384

export class Vocabulary {
  readonly names = new Dictionary<Name>(nameBytes)
  readonly services = new Dictionary<ServiceName>(serviceBytes)
  readonly places = new Dictionary<Place>(placeBytes, (place) => this.#placeKeys.delete(place.key))
  readonly #placeKeys = new Map<string, Place>()
  /** Workloads (or bare pods) that were seen to answer, by service; insertion order is age. */
  readonly #backends = new Map<string, Set<string>>()
  #backendCount = 0
  /** Moves on when a workload was seen to answer for another service. */
  backendEpoch = 0
  /** The last pair seen of each destination: most records bring nothing new. */
  readonly #seen = new WeakMap<Name, ServiceName>()

  get bytes(): number {
    return this.names.bytes + this.services.bytes + this.places.bytes
  }

  /** The place with this key, made by `make` when there is none. */
  place(key: string, make: () => Place): Place {
    let place = this.#placeKeys.get(key)
    if (place === undefined) {
      place = make()
      this.#placeKeys.set(key, place)
    }
    return place
  }

  /** Forgets what no record from `firstSequence` on uses. */
  sweep(firstSequence: number): void {
    this.names.sweep(firstSequence)
    this.services.sweep(firstSequence)
    this.places.sweep(firstSequence)
  }

  /** `destination` has answered for `service`. */
  answered(service: ServiceName, destination: Name): void {
    if (this.#seen.get(destination) === service) return
    this.#seen.set(destination, service)
    const workload = workloadKey(destination)
    if (workload === undefined) return
    const key = serviceKey(service.namespace, service.name)
    const known = this.#backends.get(key)
    if (known?.has(workload)) return
    if (this.#backendCount >= MAX_BACKENDS) this.#forgetBackends()
    if (known === undefined) this.#backends.set(key, new Set([workload]))
    else known.add(workload)
    this.#backendCount++
    this.backendEpoch++
  }

  /** True when the pod, or another of its workload, was seen to answer for a service of this name. */
  answersFor(name: Name, namespace: string | undefined, service: string): boolean {
    const workload = workloadKey(name)
    if (workload === undefined) return false
    // A service and the pods behind it lie in one namespace.
    const home = namespace ?? name.namespace ?? ''
    return this.#backends.get(serviceKey(home, service))?.has(workload) ?? false
  }

  #forgetBackends(): void {
    for (const [key, workloads] of this.#backends) {
      this.#backends.delete(key)
      this.#backendCount -= workloads.size
      break
    }
  }
}

function serviceKey(namespace: string, name: string): string {
  return `${namespace}/${name}`
}

function workloadKey({ namespace, workload, pod }: Name): string | undefined {
  if (workload !== undefined) return `${namespace ?? ''}/${workload.kind}/${workload.name}`
  return pod === undefined ? undefined : `${namespace ?? ''}/${pod}`
}

function nameBytes(name: Name): number {
  let labels = 0
  for (const key in name.labels) labels += key.length + name.labels[key]!.length + 32
  return OBJECT_BYTES + 2 * endpointTail(name).length + labels
}

function serviceBytes(name: ServiceName): number {
  return OBJECT_BYTES + 4 * (name.namespace.length + name.name.length)
}

/** Names of nodes and interfaces are shared; a key has as many bytes as characters. */
function placeBytes({ key, bytes }: Place): number {
  return OBJECT_BYTES + key.length + bytes.length
}
