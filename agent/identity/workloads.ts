// Who is behind a pod: its owner, and that one's owner. Keeps nothing of ReplicaSets and Jobs but who controls them.
//
// A Deployment is known without its ReplicaSet: the controller names ReplicaSets `<deployment>-<hash>` and labels their
// pods with that hash, and no one else sets the label. So ReplicaSets are needed for the pods of others only
// (see `onWant`), and a cluster's old ReplicaSets need not be read at all.

import { type Listed, NamedMap } from './named-map.js'
import type { WorkloadName } from './names.js'
import { controller, fields, share, sharedText } from './object.js'

export type OwnerKind = 'ReplicaSet' | 'Job'

interface Owned extends Listed {
  readonly owner: WorkloadName | undefined
}

const MOST_SHARED = 32_768

export class WorkloadStore {
  /** Moves on when the owner of any of these has become known, or changed. */
  version = 0
  /** Told once for each kind, when the first pod turns up that cannot be named without it. */
  onWant: ((kind: OwnerKind) => void) | undefined

  readonly #known = { ReplicaSet: new NamedMap<Owned>(), Job: new NamedMap<Owned>() }
  readonly #wanted = new Set<OwnerKind>()
  #names = new Map<string, WorkloadName>()

  begin(kind: OwnerKind): void {
    this.#known[kind].begin()
  }

  upsert(kind: OwnerKind, object: unknown): boolean {
    const metadata = fields(fields(object).metadata)
    const namespace = sharedText(metadata.namespace)
    const name = sharedText(metadata.name)
    if (namespace === undefined || name === undefined) return false
    const found = controller(metadata)
    const owner = found === undefined ? undefined : this.#share(found.kind, found.name)
    const before = this.#known[kind].get(namespace, name)
    if (before !== undefined && before.owner === owner) {
      before.round = this.#known[kind].round
      return true
    }
    this.#known[kind].set({ namespace, name, owner, round: 0 })
    this.version++
    return true
  }

  /** The pods of what is removed keep their names: they are on their way out, too. */
  remove(kind: OwnerKind, object: unknown): void {
    const metadata = fields(fields(object).metadata)
    const namespace = sharedText(metadata.namespace)
    const name = sharedText(metadata.name)
    if (namespace !== undefined && name !== undefined) this.#known[kind].delete(namespace, name)
  }

  commit(kind: OwnerKind): void {
    this.#known[kind].sweep()
  }

  count(kind: OwnerKind): number {
    return this.#known[kind].size
  }

  /** A pod has turned up whose name hangs on this owner. */
  want(kind: OwnerKind, namespace: string, name: string): void {
    if (this.#wanted.has(kind) || this.#known[kind].get(namespace, name) !== undefined) return
    this.#wanted.add(kind)
    this.onWant?.(kind)
  }

  /** Which object decides over the name of a pod of this owner; undefined when the pod alone says it all. */
  decider(ownerKind: string, ownerName: string, templateHash: string | undefined): OwnerKind | undefined {
    if (ownerKind === 'Job') return 'Job'
    if (ownerKind !== 'ReplicaSet') return undefined
    return deploymentOf(ownerName, templateHash) === undefined ? 'ReplicaSet' : undefined
  }

  /** The workload of a pod that `ownerKind` `ownerName` controls; undefined for owners that are no workload. */
  resolve(
    namespace: string,
    ownerKind: string,
    ownerName: string,
    templateHash: string | undefined,
  ): WorkloadName | undefined {
    // Static pods are owned by their Node.
    if (ownerKind === 'Node') return undefined
    if (ownerKind === 'ReplicaSet' || ownerKind === 'Job') {
      const known = this.#known[ownerKind].get(namespace, ownerName)
      if (known?.owner !== undefined) return known.owner
      const deployment = deploymentOf(ownerName, templateHash)
      if (ownerKind === 'ReplicaSet' && known === undefined && deployment !== undefined) {
        return this.#share('Deployment', share(deployment))
      }
    }
    return this.#share(ownerKind, ownerName)
  }

  #share(kind: string, name: string): WorkloadName {
    const key = `${kind}/${name}`
    const known = this.#names.get(key)
    if (known !== undefined) return known
    if (this.#names.size >= MOST_SHARED) this.#names = new Map()
    const made = Object.freeze({ kind, name })
    this.#names.set(key, made)
    return made
  }
}

function deploymentOf(replicaSet: string, templateHash: string | undefined): string | undefined {
  if (templateHash === undefined || !replicaSet.endsWith(`-${templateHash}`)) return undefined
  const name = replicaSet.slice(0, -templateHash.length - 1)
  return name === '' ? undefined : name
}
