// Control groups to pods and containers: what a container runtime called a group says which container runs in it, and the
// pod's status says what that container is called. Only pods of this node are asked for. Neither a pod's uid nor a
// container's id is ever used again, so nothing has to be taken back: entries stay until there are too many.

import type { Holder } from './holder.js'
import { type Fields, fields, list, sharedText, text } from './object.js'

const MAX_PODS = 4_096
const MAX_CONTAINERS = 16_384
/** Containers taken of one pod. */
const MOST_CONTAINERS = 256
/** Of a static pod: the uid that kubelet gave it before the API server did, which its groups bear. */
export const CONFIG_HASH_ANNOTATION = 'kubernetes.io/config.hash'

/**
 * The pod's level of a path. systemd's names say it all (`kubepods-burstable-pod<uid>.slice`, with underscores), those of
 * cgroupfs only themselves (`pod<uid>`); a static pod's uid is a hash.
 */
const POD_LEVEL =
  /^(?:[\w.-]*-)?pod([\da-f]{8}(?:[-_][\da-f]{4}){3}[-_][\da-f]{12}|[\da-f]{32})(?:\.slice)?$/i
/** The container's: its id, behind what the runtime puts in front (`cri-containerd-`, `crio-`, `docker-`, nothing). */
const CONTAINER_LEVEL = /^(?:[\w.]+-)*([\da-f]{64})(?:\.scope)?$/i
/** containerd with cgroupfs names, told to use systemd: `…-pod<uid>.slice:cri-containerd:<id>` is one level. */
const LEVELS = /[/:]/

/** What a path says by itself: uid with dashes, ids in lower case. */
export interface ContainerPath {
  readonly pod: string | undefined
  readonly container: string | undefined
}

/** A group's pod and container, as far as they are known; `foreign`: it is a pod's, of which nothing is known. */
export interface ContainerPlace {
  readonly pod: Holder | undefined
  readonly container: string | undefined
  readonly foreign: boolean
}

const NOWHERE: ContainerPlace = Object.freeze({ pod: undefined, container: undefined, foreign: false })
const FOREIGN: ContainerPlace = Object.freeze({ pod: undefined, container: undefined, foreign: true })

/**
 * The outermost pod of a path and the container right below it: kubelet's own, also where the container runs containers
 * of its own. Where there is no pod, the innermost container.
 */
export function parseContainerPath(path: string): ContainerPath {
  let pod: string | undefined
  let container: string | undefined
  for (const level of path.split(LEVELS)) {
    if (pod === undefined) {
      const found = POD_LEVEL.exec(level)?.[1]
      if (found !== undefined) {
        pod = found.replaceAll('_', '-').toLowerCase()
        container = undefined
        continue
      }
    } else if (container !== undefined) break
    container = CONTAINER_LEVEL.exec(level)?.[1]?.toLowerCase() ?? container
  }
  return { pod, container }
}

interface KnownContainer {
  readonly pod: Holder
  readonly name: string
}

export class ContainerIndex {
  /** Moves on with every pod or container that has become known. */
  version = 0
  readonly #pods = new Map<string, Holder>()
  readonly #containers = new Map<string, KnownContainer>()

  /** Takes what a Pod object of this node says of its containers. `uid` may be empty. */
  take(pod: Holder, uid: string, object: Fields, metadata: Fields): void {
    for (const name of [uid, text(fields(metadata.annotations)[CONFIG_HASH_ANNOTATION])])
      if (name !== undefined && name !== '') this.#put(this.#pods, name.toLowerCase(), pod, MAX_PODS)
    const status = fields(object.status)
    const statuses = [
      ...list(status.containerStatuses),
      ...list(status.initContainerStatuses),
      ...list(status.ephemeralContainerStatuses),
    ]
    for (const entry of statuses.slice(0, MOST_CONTAINERS)) {
      const { name, containerID, lastState } = fields(entry)
      const known = sharedText(name)
      if (known === undefined) continue
      for (const id of [containerID, fields(fields(lastState).terminated).containerID])
        this.#note(pod, known, id)
    }
  }

  /** Who runs in a control group of these paths. */
  place(paths: readonly string[]): ContainerPlace {
    let foreign = false
    for (const path of paths) {
      const found = parseContainerPath(path)
      const container = found.container === undefined ? undefined : this.#containers.get(found.container)
      if (container !== undefined) return { pod: container.pod, container: container.name, foreign: false }
      if (found.pod === undefined) continue
      const pod = this.#pods.get(found.pod)
      if (pod !== undefined) return { pod, container: undefined, foreign: false }
      foreign = true
    }
    return foreign ? FOREIGN : NOWHERE
  }

  /** `id` as a status has it: `containerd://` and the like in front. */
  #note(pod: Holder, name: string, id: unknown): void {
    const found = text(id)
    if (found === undefined) return
    const key = found.slice(found.lastIndexOf('/') + 1).toLowerCase()
    const known = this.#containers.get(key)
    if (key === '' || (known !== undefined && known.pod === pod && known.name === name)) return
    this.#put(this.#containers, key, { pod, name }, MAX_CONTAINERS)
  }

  #put<T>(map: Map<string, T>, key: string, value: T, limit: number): void {
    if (map.get(key) === value) return
    if (map.size >= limit && !map.has(key)) {
      const oldest = map.keys().next().value
      if (oldest !== undefined) map.delete(oldest)
    }
    map.set(key, value)
    this.version++
  }
}
