// Asks the API server who has an address. Where an EndpointSlice names the pod, that pod is read, which costs the server
// next to nothing; else its cache is searched by address, which costs it a walk over all pods.

import type { IncomingMessage } from 'node:http'

import { VethflowError } from '../../errors.js'
import { formatAddress, parseAddress } from '../address.js'
import type { Cluster } from '../cluster.js'
import { type Fields, fields, list, text } from '../object.js'
import type { Found } from '../strangers.js'
import type { Connection } from './connection.js'
import { MOST_BYTES } from './event-lines.js'
import { readPage } from './list-page.js'
import { get, StatusError } from './request.js'
import { RESOURCES, ruleOf } from './resources.js'
import { objectProjection } from './shapes.js'

/** Tokens that a question takes (docs/identity.md): reading one pod, and searching all. */
const READ_COST = 1
const SEARCH_COST = 50
/** Of all agents together, a second. */
const CLUSTER_TOKENS = 5000
const LEAST_TOKENS = 1
const MOST_TOKENS = 20
const SILENCE_MS = 10_000

type Address = readonly [number, number, number, number]

/** How much one agent of a cluster of so many nodes may ask a second. */
export function tokensPerSecond(nodes: number): number {
  return Math.min(MOST_TOKENS, Math.max(LEAST_TOKENS, CLUSTER_TOKENS / Math.max(nodes, 1)))
}

/** Enough for a search and a few dozen pods at once. */
export const BURST = 100

export class PodLookup {
  readonly #connection: Connection
  readonly #cluster: Cluster
  readonly #signal: AbortSignal
  readonly #projection = objectProjection('Pod')

  constructor(connection: Connection, cluster: Cluster, signal: AbortSignal) {
    this.#connection = connection
    this.#cluster = cluster
    this.#signal = signal
  }

  cost([w0, w1, w2, w3]: Address): number {
    return this.#cluster.endpointSlices.podOf(w0, w1, w2, w3) === undefined ? SEARCH_COST : READ_COST
  }

  /**
   * The pod that has this address, or the node, where its pods are on the host's network; undefined when there is none.
   *
   * @throws StatusError or another error of `get` when the server does not say.
   */
  async ask(address: Address): Promise<Found | undefined> {
    const [w0, w1, w2, w3] = address
    const named = this.#cluster.endpointSlices.podOf(w0, w1, w2, w3)
    const pods = named === undefined ? await this.#search(address) : await this.#read(named)
    const holder = this.#cluster.addresses.get(w0, w1, w2, w3, 0, this.#cluster.nowUs())
    // Somebody who is watched has come to hold it meanwhile: that is newer than what the server's cache said.
    if (holder !== undefined && holder.lease === undefined) return undefined
    for (const pod of pods) {
      if (!holds(pod, address)) continue
      const spec = fields(pod.spec)
      const nodeName = text(spec.nodeName)
      if (spec.hostNetwork !== true) return this.#cluster.strangers.lend(pod)
      if (nodeName !== undefined) return this.#cluster.nodes.lend(nodeName, address)
    }
    return undefined
  }

  async #read({ namespace, name }: { namespace: string; name: string }): Promise<Fields[]> {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`
    try {
      const response = await this.#get(path, { resourceVersion: '0' })
      return [fields(this.#projection.read(await whole(response)))]
    } catch (error) {
      if (error instanceof StatusError && error.status === 404) return []
      if (error instanceof StatusError && error.status === 403) throw forbidden(error)
      throw error
    }
  }

  async #search([w0, w1, w2, w3]: Address): Promise<Fields[]> {
    const found: Fields[] = []
    const response = await this.#get('/api/v1/pods', {
      fieldSelector: `status.podIP=${formatAddress(w0, w1, w2, w3)}`,
      // Out of the server's cache; etcd would have to read every pod.
      resourceVersion: '0',
    })
    await readPage(response, this.#projection, (pod) => {
      // Of pods that have finished there may be many.
      if (found.length < 1000) found.push(fields(pod))
    })
    return found
  }

  #get(path: string, query: Readonly<Record<string, string>>): Promise<IncomingMessage> {
    const accept = 'application/json'
    const options = { path, query, accept, silenceMs: SILENCE_MS, watch: false, signal: this.#signal }
    return get(this.#connection, options)
  }
}

/** True when the pod is there and its status lists the address, be it its own or its node's. */
function holds(pod: Fields, address: Address): boolean {
  const status = fields(pod.status)
  if (status.phase === 'Succeeded' || status.phase === 'Failed') return false
  const texts = [status.podIP, ...list(status.podIPs).map((entry) => fields(entry).ip)]
  return texts.some((entry) => {
    const words = typeof entry === 'string' ? parseAddress(entry) : undefined
    return words?.every((word, i) => word === address[i]) === true
  })
}

function forbidden(cause: Error): Error {
  const pods = RESOURCES.find(({ kind }) => kind === 'Pod')!
  return new VethflowError('KUBERNETES_FORBIDDEN', `the right to ${ruleOf(pods)} is missing`, { cause })
}

async function whole(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MOST_BYTES) {
      response.destroy()
      throw new VethflowError('KUBERNETES_ANSWER', `an object of more than ${MOST_BYTES} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
