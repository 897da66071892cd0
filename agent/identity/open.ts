// Chooses where names come from, and puts the stage together.

import { usageError } from '../errors.js'
import { Cluster } from './cluster.js'
import { type AddressGroup, AddressGroups } from './groups.js'
import { ClusterIdentity } from './identity.js'
import { ApiServerSource } from './kubernetes/api-server.js'
import type { IdentityMode } from './kubernetes/cluster-size.js'
import type { Connection } from './kubernetes/connection.js'
import { type InClusterOptions, inClusterConnection, runsInCluster } from './kubernetes/in-cluster.js'
import { kubeconfigConnection } from './kubernetes/kubeconfig.js'
import type { ReflectorTimes } from './kubernetes/reflector-times.js'
import { ManifestSource } from './manifests.js'
import type { IdentityLog } from './source.js'

export interface IdentityOptions {
  /** File or directory of manifests in place of an API server. */
  readonly manifests?: string | undefined
  /** Path of a kubeconfig; undefined: this pod's service account, where there is one. */
  readonly kubeconfig?: string | undefined
  /** False: no API server is asked (`--no-kubernetes`); manifests are read all the same. True unless told. */
  readonly kubernetes?: boolean
  /** How much of the cluster is watched; by its size unless told. */
  readonly mode?: IdentityMode
  /** The user's own names for address ranges. */
  readonly groups?: readonly AddressGroup[]
  /** This node, as Kubernetes calls it. */
  readonly nodeName: string
  readonly log: IdentityLog
  /** Milliseconds since the Unix epoch, on the clock that dates the records; Date.now unless told. */
  readonly now?: () => number
  readonly manifestPollMs?: number
  readonly inCluster?: InClusterOptions
  readonly times?: ReflectorTimes
}

/**
 * Opens the stage; the caller closes it. An API server that is away is no error: names come when it does, and
 * `resources()` says what is wrong until then. Without any source it names this node and the world.
 *
 * @throws VethflowError MANIFEST_INVALID, KUBECONFIG_INVALID, or USAGE where both are given.
 */
export async function openIdentity(options: IdentityOptions): Promise<ClusterIdentity> {
  const { manifests, kubeconfig, log, now = Date.now } = options
  if (manifests !== undefined && kubeconfig !== undefined) {
    throw usageError('--manifests and --kubeconfig exclude each other', 'Names come from one of them')
  }
  const cluster = new Cluster(options.nodeName, () => now() * 1000)
  const { groups: given = [] } = options
  const groups = given.length === 0 ? undefined : new AddressGroups(given)
  if (manifests !== undefined) {
    const { manifestPollMs: pollMs } = options
    const source = await ManifestSource.open(manifests, cluster, {
      log,
      ...(pollMs === undefined ? {} : { pollMs }),
    })
    return new ClusterIdentity('manifests', cluster, source, groups)
  }
  const connection =
    options.kubernetes === false ? undefined : await openConnection(options.kubeconfig, options.inCluster)
  if (connection === undefined && options.kubernetes !== false) {
    log.info('no API server: give --kubeconfig or --manifests for names')
  }
  if (connection === undefined) return new ClusterIdentity('none', cluster, undefined, groups)
  const { times, mode, nodeName } = options
  const source = new ApiServerSource({
    connection,
    cluster,
    log,
    nodeName,
    onStrangers: (strangers) => identity.lookUp(strangers),
    ...(mode === undefined ? {} : { mode }),
    ...(times === undefined ? {} : { times }),
  })
  cluster.nodes.onForeign = () =>
    log.warn(
      `no node of the cluster is called ${nodeName}: pods of this node are not known as such; give --node-name`,
    )
  cluster.workloads.onWant = (kind) => source.demand(kind)
  const identity = new ClusterIdentity('kubernetes', cluster, source, groups)
  return identity
}

/**
 * The API server of a kubeconfig, or of the pod that this is; undefined where there is neither. The caller closes it.
 *
 * @throws VethflowError KUBECONFIG_INVALID.
 */
export async function openConnection(
  kubeconfig: string | undefined,
  inCluster?: InClusterOptions,
): Promise<Connection | undefined> {
  if (kubeconfig !== undefined) return kubeconfigConnection(kubeconfig)
  return (await runsInCluster(inCluster)) ? inClusterConnection(inCluster) : undefined
}
