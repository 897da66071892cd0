// Identity from a live API server: a reflector for each resource, those on demand when somebody needs them.

import type { ResourceState } from '../names.js'
import type { IdentityLog, Kind, ObjectSink, ObjectSource } from '../source.js'
import type { Connection } from './connection.js'
import { Reflector } from './reflector.js'
import type { ReflectorTimes } from './reflector-times.js'
import { RESOURCES, type Resource } from './resources.js'

export interface ApiServerOptions {
  /** Ours from now on: closed with the source. */
  readonly connection: Connection
  readonly sink: ObjectSink
  readonly log: IdentityLog
  readonly times?: ReflectorTimes
  readonly resources?: readonly Resource[]
}

/** How long the same trouble of another resource is part of one outage, in ms. */
const OUTAGE_MS = 30_000

/** A log that says once what all resources have to say about a server that is away. */
function oncePerOutage(log: IdentityLog): IdentityLog {
  const said = new Map<string, number>()
  let well = true
  const say = (message: string, isWell: boolean, print: (message: string) => void) => {
    if (isWell !== well) said.clear()
    well = isWell
    const text = message.slice(message.indexOf(': ') + 2)
    const now = performance.now()
    for (const [old, at] of said) if (now - at > OUTAGE_MS) said.delete(old)
    if (!said.has(text)) print(message)
    said.set(text, now)
  }
  return {
    info: (message) => say(message, true, (text) => log.info(text)),
    warn: (message) => say(message, false, (text) => log.warn(text)),
  }
}

export class ApiServerSource implements ObjectSource {
  readonly #options: ApiServerOptions
  readonly #reflectors = new Map<Kind, Reflector>()
  readonly #resources: readonly Resource[]
  #closed = false

  constructor(options: ApiServerOptions) {
    this.#options = { ...options, log: oncePerOutage(options.log) }
    this.#resources = options.resources ?? RESOURCES
    for (const resource of this.#resources) if (!resource.onDemand) this.#start(resource)
  }

  /** Every resource that is always read has been read once, or may not be. */
  get synced(): boolean {
    for (const { resource, synced, barred } of this.#reflectors.values()) {
      if (!resource.onDemand && !synced && !barred) return false
    }
    return true
  }

  /** Somebody cannot be named without objects of `kind`. */
  demand(kind: Kind): void {
    const resource = this.#resources.find((entry) => entry.kind === kind)
    if (resource !== undefined && !this.#reflectors.has(kind)) this.#start(resource)
  }

  resources(): ResourceState[] {
    return [...this.#reflectors.values()].map((reflector) => reflector.state())
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#reflectors.values()].map((reflector) => reflector.close()))
    this.#options.connection.close()
  }

  #start(resource: Resource): void {
    if (this.#closed) return
    const { connection, sink, log, times } = this.#options
    this.#reflectors.set(
      resource.kind,
      new Reflector(resource, { connection, sink, log, ...(times === undefined ? {} : { times }) }),
    )
  }
}
