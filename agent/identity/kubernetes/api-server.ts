// Identity from a live API server: a reflector for each resource, those on demand when somebody needs them. In the local
// mode the pods of this node only, and a way to ask for the others.

import { describeError } from '../../errors.js'
import type { Cluster } from '../cluster.js'
import type { ResourceState } from '../names.js'
import type { IdentityLog, Kind, ObjectSink, ObjectSource } from '../source.js'
import { Strangers } from '../strangers.js'
import { Backoff, pause } from './backoff.js'
import {
  type ClusterSize,
  chooseMode,
  clusterSize,
  type IdentityMode,
  MOST_NODES_WATCHED,
} from './cluster-size.js'
import type { Connection } from './connection.js'
import { oncePerOutage } from './outage-log.js'
import { BURST, PodLookup, tokensPerSecond } from './pod-lookup.js'
import { Reflector } from './reflector.js'
import { FIELD_TIMES, type ReflectorTimes } from './reflector-times.js'
import { StatusError } from './request.js'
import { RESOURCES, type Resource } from './resources.js'

export interface ApiServerOptions {
  /** Ours from now on: closed with the source. */
  readonly connection: Connection
  readonly cluster: Cluster
  /** Where objects go, when not to `cluster` itself. */
  readonly sink?: ObjectSink
  readonly log: IdentityLog
  readonly nodeName: string
  /** auto unless told. */
  readonly mode?: IdentityMode
  readonly times?: ReflectorTimes
  /** Told once it is clear that not all pods are watched. */
  readonly onStrangers?: (strangers: Strangers) => void
}

/** What hangs on the mode, and waits until it has been chosen. */
const BY_MODE: readonly Kind[] = ['Pod', 'Node', 'EndpointSlice']

export class ApiServerSource implements ObjectSource {
  readonly #options: ApiServerOptions
  readonly #times: ReflectorTimes
  readonly #log: IdentityLog
  readonly #reflectors = new Map<Kind, Reflector>()
  readonly #closing = new AbortController()
  readonly #choosing: Promise<void>
  readonly #began = performance.now()
  #strangers: Strangers | undefined
  #tries = 0
  #chooseError: string | undefined

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#times = options.times ?? FIELD_TIMES
    this.#log = oncePerOutage(options.log)
    for (const resource of RESOURCES) {
      if (!resource.onDemand && !BY_MODE.includes(resource.kind)) this.#start(resource)
    }
    this.#choosing = this.#choose()
  }

  /** Every resource that is always read has been read once, or may not be. */
  get synced(): boolean {
    for (const { kind, onDemand } of RESOURCES) {
      const reflector = this.#reflectors.get(kind)
      if (!onDemand && reflector?.synced !== true && reflector?.barred !== true) return false
    }
    return true
  }

  /** Somebody cannot be named without objects of `kind`. */
  demand(kind: Kind): void {
    const resource = RESOURCES.find((entry) => entry.kind === kind)
    if (resource !== undefined && !this.#reflectors.has(kind)) this.#start(resource)
  }

  resources(): ResourceState[] {
    const states: ResourceState[] = []
    for (const { kind, name, onDemand } of RESOURCES) {
      const reflector = this.#reflectors.get(kind)
      if (reflector !== undefined) states.push(reflector.state())
      else if (!onDemand) states.push(this.#waiting(name))
    }
    if (this.#strangers !== undefined) states.push(lookups(this.#strangers))
    return states
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#strangers?.close()
    await this.#choosing
    await Promise.all([...this.#reflectors.values()].map((reflector) => reflector.close()))
    this.#options.connection.close()
  }

  /** Asks how large the cluster is until somebody says, and starts what hangs on that. */
  async #choose(): Promise<void> {
    const { connection, mode = 'auto', log } = this.#options
    const { signal } = this.#closing
    const backoff = new Backoff({ firstMs: this.#times.backoffFirst, mostMs: this.#times.backoffMost })
    let size: ClusterSize | undefined = mode === 'full' ? { pods: 0, nodes: 0 } : undefined
    while (size === undefined) {
      try {
        size = await clusterSize(connection, signal)
      } catch (error) {
        if (signal.aborted) return
        // Who may not count may not read, either: the reflectors say what is missing.
        if (error instanceof StatusError && (error.status === 403 || error.status === 404)) {
          size = { pods: 0, nodes: 0 }
          break
        }
        this.#tries++
        const what = describeError(error)
        if (what !== this.#chooseError) this.#log.warn(`pods: ${what}`)
        this.#chooseError = what
        const wait = error instanceof StatusError ? error.retryAfterMs : 0
        await pause(Math.max(wait, backoff.next()), signal)
      }
    }
    if (signal.aborted) return
    if (this.#chooseError !== undefined) this.#log.info('pods: in order again')
    this.#chooseError = undefined
    const chosen = chooseMode(mode, size)
    if (mode === 'auto' && chosen === 'local')
      log.info(`watching the pods of this node only, since there are ${size.pods}; others are looked up`)
    if (chosen === 'local') this.#lookUp(size)
    this.#startByMode(chosen, size)
  }

  #startByMode(mode: 'full' | 'local', size: ClusterSize): void {
    const { nodeName } = this.#options
    const selectors: Partial<Record<Kind, string>> = {}
    if (mode === 'local') {
      selectors.Pod = `spec.nodeName=${nodeName}`
      if (size.nodes > MOST_NODES_WATCHED) selectors.Node = `metadata.name=${nodeName}`
    }
    for (const resource of RESOURCES) {
      if (BY_MODE.includes(resource.kind)) this.#start(resource, selectors[resource.kind])
    }
  }

  #lookUp(size: ClusterSize): void {
    const { connection, cluster, onStrangers } = this.#options
    const lookup = new PodLookup(connection, cluster, this.#closing.signal)
    const strangers = new Strangers({
      ask: (address) => lookup.ask(address),
      cost: (address) => lookup.cost(address),
      tokensPerSecond: tokensPerSecond(size.nodes),
      burst: BURST,
      nowUs: cluster.nowUs,
    })
    this.#strangers = strangers
    cluster.endpointSlices.keepPods = true
    cluster.endpointSlices.onPod = ([w0, w1, w2, w3]) => strangers.doubt(w0, w1, w2, w3)
    onStrangers?.(strangers)
  }

  #waiting(name: string): ResourceState {
    const error = this.#chooseError
    return {
      name,
      synced: false,
      objects: 0,
      ageMs: Math.round(performance.now() - this.#began),
      restarts: this.#tries,
      ...(error === undefined ? {} : { lastError: error }),
    }
  }

  #start(resource: Resource, fieldSelector?: string): void {
    if (this.#closing.signal.aborted) return
    const { connection, cluster, sink = cluster } = this.#options
    this.#reflectors.set(
      resource.kind,
      new Reflector(resource, {
        connection,
        sink,
        log: this.#log,
        times: this.#times,
        ...(fieldSelector === undefined ? {} : { query: { fieldSelector } }),
      }),
    )
  }
}

/** The lookups as one more line of the status. */
function lookups(strangers: Strangers): ResourceState {
  const { lent, asked, lastError } = strangers.state()
  return {
    name: `pods by address (asked ${asked} times)`,
    synced: true,
    objects: lent,
    ageMs: 0,
    restarts: 0,
    ...(lastError === undefined ? {} : { lastError }),
  }
}
