// What is read of the API server: one line a resource. The only list of it; deploy/base/rbac.yaml grants exactly this
// (test/deploy/rbac.test.ts).

import { KINDS, type Kind } from '../source.js'

export interface Resource {
  readonly kind: Kind
  /** Plural, as in URLs and RBAC rules. */
  readonly name: string
  /** API group as RBAC rules write it; empty for core. */
  readonly group: string
  readonly path: string
  /** What is done with it, as RBAC rules write it. */
  readonly verbs: readonly Verb[]
  /** Ask for PartialObjectMetadata: nothing but metadata is needed. */
  readonly metadataOnly: boolean
  /** Read only once something is seen that cannot be named without it. */
  readonly onDemand: boolean
}

/** An agent changes nothing in a cluster. */
export type Verb = 'get' | 'list' | 'watch'

function resource(kind: Kind, group: string, version: string, more: Partial<Resource> = {}): Resource {
  const name = KINDS[kind]
  const path = group === '' ? `/api/${version}/${name}` : `/apis/${group}/${version}/${name}`
  return { kind, name, group, path, verbs: ['list', 'watch'], metadataOnly: false, onDemand: false, ...more }
}

export const RESOURCES: readonly Resource[] = [
  // Single ones are read where not all of them are watched.
  resource('Pod', '', 'v1', { verbs: ['get', 'list', 'watch'] }),
  resource('Service', '', 'v1'),
  resource('EndpointSlice', 'discovery.k8s.io', 'v1'),
  resource('Ingress', 'networking.k8s.io', 'v1'),
  resource('Node', '', 'v1'),
  resource('Namespace', '', 'v1', { metadataOnly: true }),
  resource('ReplicaSet', 'apps', 'v1', { metadataOnly: true, onDemand: true }),
  resource('Job', 'batch', 'v1', { metadataOnly: true, onDemand: true }),
]

/** The rule that somebody must grant, in words. */
export function ruleOf({ verbs, name, group }: Resource): string {
  const words = verbs.join(', ').replace(/, (\w+)$/, ' and $1')
  return `${words} on ${name} in API group "${group}" at cluster scope`
}
