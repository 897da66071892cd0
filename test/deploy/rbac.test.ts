// The rights that the manifest grants are those that the code needs: none is missing, none is too much.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'

import { RESOURCES } from '../../agent/identity/kubernetes/resources.js'
import { repository } from '../testbed/tools.js'

interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}
interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly rules?: readonly Rule[]
  readonly roleRef?: object
  readonly subjects?: readonly object[]
}

const folder = join(repository, 'deploy/base')
const manifests = parseAllDocuments(readFileSync(join(folder, 'rbac.yaml'), 'utf8')).map(
  (document) => document.toJS() as Manifest,
)
const of = (kind: string) => manifests.find((manifest) => manifest.kind === kind)

/** `group/resource verb`, sorted. */
function rights(rules: readonly Rule[]): string[] {
  return rules
    .flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${group}/${resource} ${verb}`)),
      ),
    )
    .sort()
}

describe('the manifest', () => {
  test('grants what is read, and nothing else', () => {
    const needed = RESOURCES.map(({ group, name, verbs }) => ({
      apiGroups: [group],
      resources: [name],
      verbs,
    }))
    const granted = rights(of('ClusterRole')?.rules ?? [])
    expect(granted).toEqual(rights(needed))
    expect(new Set(granted).size).toBe(granted.length)
    for (const right of granted) expect(right).toMatch(/ (get|list|watch)$/)
    expect(granted.join()).not.toMatch(/secrets|\*/)
  })

  test('binds them to the account that it makes, in the namespace of the kustomization', () => {
    const { namespace, resources } = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8')) as {
      namespace: string
      resources: string[]
    }
    expect(resources).toContain('rbac.yaml')
    const account = of('ServiceAccount')?.metadata.name
    const binding = of('ClusterRoleBinding')
    expect(binding?.subjects).toEqual([{ kind: 'ServiceAccount', name: account, namespace }])
    expect(binding?.roleRef).toEqual({
      apiGroup: 'rbac.authorization.k8s.io',
      kind: 'ClusterRole',
      name: of('ClusterRole')?.metadata.name,
    })
  })
})
