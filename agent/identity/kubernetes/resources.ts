// What is read of the API server: one line a resource. The only list of it; RBAC rules follow from here.

import { KINDS, type Kind } from '../source.js'

export interface Resource {
  readonly kind: Kind
  /** Plural, as in URLs and RBAC rules. */
  readonly name: string
  /** API group as RBAC rules write it; empty for core. */
  readonly group: string
  readonly path: string
  /** Ask for PartialObjectMetadata: nothing but metadata is needed. */
  readonly metadataOnly: boolean
  /** Read only once something is seen that cannot be named without it. */
  readonly onDemand: boolean
}

/** The verbs that every resource needs, as RBAC rules write them. */
export const VERBS = ['list', 'watch'] as const

function resource(kind: Kind, group: string, version: string, more: Partial<Resource> = {}): Resource {
  const name = KINDS[kind]
  const path = group === '' ? `/api/${version}/${name}` : `/apis/${group}/${version}/${name}`
  return { kind, name, group, path, metadataOnly: false, onDemand: false, ...more }
}

export const RESOURCES: readonly Resource[] = [
  resource('Pod', '', 'v1'),
  resource('Service', '', 'v1'),
  resource('EndpointSlice', 'discovery.k8s.io', 'v1'),
  resource('Ingress', 'networking.k8s.io', 'v1'),
  resource('Node', '', 'v1'),
  resource('Namespace', '', 'v1', { metadataOnly: true }),
  resource('ReplicaSet', 'apps', 'v1', { metadataOnly: true, onDemand: true }),
  resource('Job', 'batch', 'v1', { metadataOnly: true, onDemand: true }),
]

/** The rule that somebody must grant, in words. */
export function ruleOf(resource: Resource): string {
  return `${VERBS.join(' and ')} on ${resource.name} in API group "${resource.group}" at cluster scope`
}
