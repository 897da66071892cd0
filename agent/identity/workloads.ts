// Who is behind a pod: its owner, and that one's owner. Keeps nothing of ReplicaSets and Jobs but who controls them.
//
// A Deployment is known without its ReplicaSet: the controller names ReplicaSets `<deployment>-<hash>` and labels their
// pods with that hash, and no one else sets the label. So ReplicaSets are needed for the pods of others only
// (see `onWant`), and a cluster's old ReplicaSets need not be read at all.

import type { Listed } from './named-map.js'
import type { WorkloadName } from './names.js'
import { controller, type Fields, share } from './object.js'
import { RecordStore } from './record-store.js'

export type OwnerKind = 'ReplicaSet' | 'Job'

interface Owned extends Listed {
  readonly owner: WorkloadName | undefined
}

const MOST_SHARED = 32_768

/** ReplicaSets, or Jobs: who controls each of them. */
class OwnedStore extends RecordStore<Owned> {
  readonly #workloads: WorkloadStore

  constructor(workloads: WorkloadStore) {
    super()
    this.#workloads = workloads
  }

  find(namespace: string, name: string): Owned | undefined {
    return this.records.get(namespace, name)
  }

  protected put(namespace: string, name: string, _: Fields, metadata: Fields): void {
    const owner = this.#workloads.owner(metadata)
    const before = this.records.get(namespace, name)
    if (before !== undefined && before.owner === owner) before.round = this.records.round
    else {
      this.records.set({ namespace, name, owner, round: 0 })
      this.#workloads.version++
    }
  }

  /** The pods of what is removed keep their names: they are on their way out, too. */
  protected gone(): void {}
}

export class WorkloadStore {
  /** Moves on when the owner of any of these has become known, or changed. */
  version = 0
  /** Told once for each kind, when the first pod turns up that cannot be named without it. */
  onWant: ((kind: OwnerKind) => void) | undefined
  readonly owners: Readonly<Record<OwnerKind, OwnedStore>>

  readonly #wanted = new Set<OwnerKind>()
  #names = new Map<string, WorkloadName>()

  constructor() {
    this.owners = { ReplicaSet: new OwnedStore(this), Job: new OwnedStore(this) }
  }

  /** Who controls an object, by its metadata; equal ones are the same object. */
  owner(metadata: Fields): WorkloadName | undefined {
    const found = controller(metadata)
    return found === undefined ? undefined : this.#share(found.kind, found.name)
  }

  /** A pod has turned up whose name hangs on this owner. */
  want(kind: OwnerKind, namespace: string, name: string): void {
    if (this.#wanted.has(kind) || this.owners[kind].find(namespace, name) !== undefined) return
    this.#wanted.add(kind)
    this.onWant?.(kind)
  }

  /** Which object decides over the name of a pod of this owner; undefined when the pod alone says it all. */
  decider(owner: WorkloadName, templateHash: string | undefined): OwnerKind | undefined {
    if (owner.kind === 'Job') return 'Job'
    if (owner.kind !== 'ReplicaSet') return undefined
    return deploymentOf(owner.name, templateHash) === undefined ? 'ReplicaSet' : undefined
  }

  /** The workload of a pod that `owner` controls; undefined for owners that are no workload. */
  resolve(
    namespace: string,
    owner: WorkloadName,
    templateHash: string | undefined,
  ): WorkloadName | undefined {
    const { kind, name } = owner
    // Static pods are owned by their Node.
    if (kind === 'Node') return undefined
    if (kind === 'ReplicaSet' || kind === 'Job') {
      const known = this.owners[kind].find(namespace, name)
      if (known?.owner !== undefined) return known.owner
      const deployment = deploymentOf(name, templateHash)
      if (kind === 'ReplicaSet' && known === undefined && deployment !== undefined) {
        return this.#share('Deployment', share(deployment))
      }
    }
    return owner
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
