// A port of a service as it is addressed, and what it is called there. The name is made anew when Ingresses have changed.

import type { IngressStore } from './ingresses.js'
import type { ServiceName } from './names.js'

export class ServicePort {
  readonly type: string
  readonly portName: string | undefined
  /** The service's own port; 0 for all of them. */
  readonly port: number
  readonly #namespace: string
  readonly #service: string
  readonly #ingresses: IngressStore
  #name: ServiceName | undefined
  #version = -1

  constructor(
    ingresses: IngressStore,
    { namespace, name }: { readonly namespace: string; readonly name: string },
    type: string,
    portName: string | undefined,
    port: number,
  ) {
    this.#ingresses = ingresses
    this.#namespace = namespace
    this.#service = name
    this.type = type
    this.portName = portName
    this.port = port
  }

  /** The same object as long as nothing has changed. */
  describe(): ServiceName {
    const { version } = this.#ingresses
    const before = this.#name
    if (before !== undefined && this.#version === version) return before
    this.#version = version
    const ingresses = this.#ingresses.leadingTo(this.#namespace, this.#service, this.portName, this.port)
    if (before !== undefined && before.ingresses?.join() === ingresses?.join()) return before
    this.#name = Object.freeze({
      namespace: this.#namespace,
      name: this.#service,
      type: this.type,
      ...(this.portName === undefined ? {} : { portName: this.portName }),
      ...(ingresses === undefined ? {} : { ingresses }),
    })
    return this.#name
  }
}
