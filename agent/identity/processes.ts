// Names of ends whose socket is known: the process beside what the address says, the container where the control group is
// a container's, and the pod itself where the address is shared: a node's, by all its host-network pods.

import type { SocketOwner } from '../capture/flow-batch.js'
import type { ContainerIndex, ContainerPlace } from './containers.js'
import type { Holder } from './holder.js'
import { EndpointKind, type Name, type ProcessName } from './names.js'

interface Made {
  /** Of the index of containers; -1 as long as the group has no name. */
  version: number
  readonly pod: Name | undefined
  readonly container: string | undefined
  readonly foreign: boolean
  readonly name: Name
}

export class Processes {
  readonly #containers: ContainerIndex
  /** By the name that the address gives, and the process: equal pairs get the same object. */
  readonly #made = new WeakMap<Name, WeakMap<SocketOwner, Made>>()

  constructor(containers: ContainerIndex) {
    this.#containers = containers
  }

  /**
   * The name of an end of this node whose address is called `base`, held by `holder`, and whose socket belongs to `owner`.
   * The same object until one of them says something else.
   */
  name(base: Name, holder: Holder | undefined, owner: SocketOwner): Name {
    // a socket here that has another node's address is not what that address names
    if (holder !== undefined && !holder.local) return base
    let byOwner = this.#made.get(base)
    if (byOwner === undefined) {
      byOwner = new WeakMap()
      this.#made.set(base, byOwner)
    }
    const { version } = this.#containers
    const known = byOwner.get(owner)
    if (known !== undefined && known.version === version) return known.name
    const paths = owner.group?.paths ?? []
    const place = this.#containers.place(paths)
    const pod = place.pod?.describe()
    const sure = owner.group !== undefined && paths.length === 0 ? -1 : version
    if (
      known !== undefined &&
      known.pod === pod &&
      known.container === place.container &&
      known.foreign === place.foreign
    ) {
      known.version = sure
      return known.name
    }
    const { container, foreign } = place
    const name = combine(base, holder, owner, place, pod)
    byOwner.set(owner, { version: sure, pod, container, foreign, name })
    return name
  }
}

function combine(
  base: Name,
  holder: Holder | undefined,
  owner: SocketOwner,
  place: ContainerPlace,
  pod: Name | undefined,
): Name {
  // another pod's process, or that of a pod that nobody knows: not the one that holds the address
  if (base.kind === EndpointKind.POD && (place.foreign || (place.pod !== undefined && place.pod !== holder)))
    return base
  const { container } = place
  const { pid, command } = owner
  const process: ProcessName | undefined =
    pid !== 0 || container !== undefined
      ? Object.freeze({
          ...(pid === 0 ? {} : { pid }),
          ...(command === '' ? {} : { command }),
          ...(container === undefined ? {} : { container }),
        })
      : undefined
  const named = base.kind === EndpointKind.POD ? base : (pod ?? base)
  return process === undefined ? named : Object.freeze({ ...named, process })
}
