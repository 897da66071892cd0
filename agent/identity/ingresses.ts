// Ingresses: which of them lead to a port of a service. Keeps the names of Ingresses and of what they lead to, nothing
// else. An Ingress leads to services of its own namespace only, so its name alone says which it is.

import type { Listed } from './named-map.js'
import { type Fields, fields, list, port, sharedText } from './object.js'
import { RecordStore } from './record-store.js'

/** Bounds of what one Ingress may name, and of how many are told of one service port. */
const MOST_BACKENDS = 4096
const MOST_TOLD = 16

interface Backend {
  readonly service: string
  /** A service's port is given by its name or by its number; 0 where by name. */
  readonly portName: string | undefined
  readonly port: number
}

interface IngressRecord extends Listed {
  readonly backends: readonly Backend[]
}

export class IngressStore extends RecordStore<IngressRecord> {
  /** Moves on when any Ingress has changed. */
  version = 0
  /** Namespace, then service, to the Ingresses that name it. */
  readonly #leading = new Map<string, Map<string, Set<IngressRecord>>>()

  /** Names of the Ingresses that lead to a service's port, sorted; undefined when there are none. */
  leadingTo(
    namespace: string,
    service: string,
    portName: string | undefined,
    portNumber: number,
  ): readonly string[] | undefined {
    const found = this.#leading.get(namespace)?.get(service)
    if (found === undefined) return undefined
    const names: string[] = []
    for (const record of found) {
      const leads = record.backends.some(
        (backend) =>
          backend.service === service &&
          (backend.portName === undefined ? backend.port === portNumber : backend.portName === portName),
      )
      if (leads) names.push(record.name)
    }
    return names.length === 0 ? undefined : names.sort().slice(0, MOST_TOLD)
  }

  protected put(namespace: string, name: string, ingress: Fields): void {
    const before = this.records.get(namespace, name)
    if (before !== undefined) this.gone(before)
    const record = { namespace, name, round: 0, backends: readBackends(fields(ingress.spec)) }
    this.records.set(record)
    this.#link(record)
  }

  protected gone(record: IngressRecord): void {
    this.version++
    const services = this.#leading.get(record.namespace)
    if (services === undefined) return
    for (const { service } of record.backends) {
      const there = services.get(service)
      there?.delete(record)
      if (there?.size === 0) services.delete(service)
    }
    if (services.size === 0) this.#leading.delete(record.namespace)
  }

  #link(record: IngressRecord): void {
    this.version++
    let services = this.#leading.get(record.namespace)
    if (services === undefined) {
      services = new Map()
      this.#leading.set(record.namespace, services)
    }
    for (const { service } of record.backends) {
      const there = services.get(service)
      if (there === undefined) services.set(service, new Set([record]))
      else there.add(record)
    }
  }
}

/** networking.k8s.io/v1: the default backend and each path's; what is no service is left out. */
function readBackends(spec: Fields): readonly Backend[] {
  const result: Backend[] = []
  const take = (value: unknown) => {
    const { name, port: entry } = fields(fields(value).service)
    const service = sharedText(name)
    const { name: portName, number } = fields(entry)
    if (service === undefined || result.length === MOST_BACKENDS) return
    result.push({ service, portName: sharedText(portName), port: port(number) })
  }
  take(spec.defaultBackend)
  for (const rule of list(spec.rules)) {
    for (const path of list(fields(fields(rule).http).paths)) take(fields(path).backend)
    if (result.length === MOST_BACKENDS) break
  }
  return result
}
