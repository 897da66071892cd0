// How large the cluster is, and how much of it an agent therefore watches. Two requests, each for one object: the server
// says how many more there are.

import { fields } from '../object.js'
import type { Connection } from './connection.js'
import { readPage } from './list-page.js'
import { Projection } from './projection.js'
import { get } from './request.js'

/** `full`: all pods. `local`: this node's, and others when an address of theirs turns up. `auto`: by size. */
export type IdentityMode = 'auto' | 'full' | 'local'

/** With more pods than this an agent watches its own node's only (docs/identity.md says what either costs). */
export const MOST_PODS_IN_FULL = 5000
/** With more nodes than this an agent in local mode does not watch the others. */
export const MOST_NODES_WATCHED = 1000

export interface ClusterSize {
  readonly pods: number
  readonly nodes: number
}

const nothing = new Projection({})

/**
 * Counts pods and nodes.
 *
 * @throws StatusError or another error of `get` when the server does not say.
 */
export async function clusterSize(connection: Connection, signal: AbortSignal): Promise<ClusterSize> {
  const [pods, nodes] = await Promise.all(['/api/v1/pods', '/api/v1/nodes'].map(count))
  return { pods: pods ?? 0, nodes: nodes ?? 0 }

  async function count(path: string): Promise<number> {
    const response = await get(connection, {
      path,
      query: { limit: '1' },
      accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json',
      silenceMs: 30_000,
      watch: false,
      signal,
    })
    let here = 0
    const { metadata } = await readPage(response, nothing, () => {
      here++
    })
    const left = fields(metadata).remainingItemCount
    return here + (typeof left === 'number' && left > 0 ? left : 0)
  }
}

/** The mode for a cluster of this size. */
export function chooseMode(mode: IdentityMode, size: ClusterSize): 'full' | 'local' {
  return mode === 'auto' ? (size.pods > MOST_PODS_IN_FULL ? 'local' : 'full') : mode
}
