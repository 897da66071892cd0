// How large the cluster is, and how much of it an agent therefore watches. Two requests, each for one object: the server
// says how many more there are.

import { fields } from '../object.js'
import type { Connection } from './connection.js'
import { readPage } from './list-page.js'
import { Projection } from './projection.js'
import { FIELD_TIMES } from './reflector-times.js'
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
 * Counts pods and nodes. Of a server that does not say how many there are beyond the first, only whether there are more
 * than matters here.
 *
 * @throws StatusError or another error of `get` when the server does not say.
 */
export async function clusterSize(connection: Connection, signal: AbortSignal): Promise<ClusterSize> {
  const count = async (path: string, enough: number): Promise<number> => {
    const first = await countOnce(connection, path, 1, signal)
    return first.left === undefined
      ? (await countOnce(connection, path, enough, signal)).here
      : first.here + first.left
  }
  const [pods, nodes] = await Promise.all([
    count('/api/v1/pods', MOST_PODS_IN_FULL + 1),
    count('/api/v1/nodes', MOST_NODES_WATCHED + 1),
  ])
  return { pods, nodes }
}

/** How many objects came of `limit`, and how many are left; undefined: some. */
async function countOnce(
  connection: Connection,
  path: string,
  limit: number,
  signal: AbortSignal,
): Promise<{ here: number; left: number | undefined }> {
  const response = await get(connection, {
    path,
    query: { limit: String(limit) },
    accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json',
    silenceMs: FIELD_TIMES.answer,
    watch: false,
    signal,
  })
  let here = 0
  const list = await readPage(response, nothing, () => {
    here++
  })
  const metadata = fields(list.metadata)
  const left = metadata.remainingItemCount
  if (typeof left === 'number' && left >= 0) return { here, left }
  return { here, left: typeof metadata.continue === 'string' && metadata.continue !== '' ? undefined : 0 }
}

/** The mode for a cluster of this size. */
export function chooseMode(mode: IdentityMode, size: ClusterSize): 'full' | 'local' {
  return mode === 'auto' ? (size.pods > MOST_PODS_IN_FULL ? 'local' : 'full') : mode
}
