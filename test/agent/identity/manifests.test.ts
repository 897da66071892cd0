// Names from files: what is read, what is refused and where, and what happens when the files change.

import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import type { ClusterIdentity } from '../../../agent/identity/identity.js'
import { parseManifest } from '../../../agent/identity/manifest-file.js'
import { openIdentity } from '../../../agent/identity/open.js'
import { nameOf, quietLog } from './batch.js'

let directory: string
let identity: ClusterIdentity | undefined
let log: ReturnType<typeof quietLog>

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vethflow-manifests-'))
  log = quietLog()
})
afterEach(async () => {
  await identity?.close()
  identity = undefined
  await rm(directory, { recursive: true })
})

function pod(name: string, address: string, more = ''): string {
  return `apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: shop, uid: u-${name}}
spec: {nodeName: n1}
status: {phase: Running, podIP: ${address}${more}}
`
}

async function open(path = directory, manifestPollMs = 20): Promise<ClusterIdentity> {
  identity = await openIdentity({ manifests: path, nodeName: 'n1', log, manifestPollMs })
  return identity
}

describe('what is read', () => {
  test('single objects, several documents, mixed lists, JSON and YAML side by side', async () => {
    await writeFile(join(directory, 'a.yaml'), `${pod('a', '10.0.0.1')}---\n\n---\n${pod('b', '10.0.0.2')}`)
    const items = [
      {
        kind: 'Node',
        metadata: { name: 'n9' },
        status: { addresses: [{ type: 'InternalIP', address: '10.9.9.9' }] },
      },
      { kind: 'ConfigMap', metadata: { name: 'ignored' }, data: { 'x.yaml': 'kind: Pod' } },
      {
        kind: 'Pod',
        metadata: { name: 'c', namespace: 'shop' },
        status: { podIPs: [{ ip: '10.0.0.3' }, { ip: 'fd00::3' }] },
      },
    ]
    await writeFile(join(directory, 'b.json'), JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
    await writeFile(join(directory, 'notes.txt'), 'not a manifest')
    await writeFile(join(directory, '.hidden.yaml'), 'not: a manifest')
    const names = await open()
    const addresses = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::3', '10.9.9.9']
    expect(addresses.map((address) => nameOf(names, address))).toEqual([
      'shop/a',
      'shop/b',
      'shop/c',
      'shop/c',
      'node n9',
    ])
  })

  test('a finished pod holds no address, one that is being deleted does', async () => {
    const done = pod('done', '10.0.0.1').replace('Running', 'Succeeded')
    const failed = pod('failed', '10.0.0.2').replace('Running', 'Failed')
    const going = pod('going', '10.0.0.3').replace('uid:', 'deletionTimestamp: "2026-11-21T05:33:33Z", uid:')
    const host = pod('host', '10.0.0.4').replace('nodeName', 'hostNetwork: true, nodeName')
    await writeFile(join(directory, 'a.yaml'), [done, failed, going, host].join('---\n'))
    const names = await open()
    expect(['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'].map((address) => nameOf(names, address))).toEqual(
      ['world', 'world', 'shop/going', 'world'],
    )
  })

  test('owners: CronJob through its Job, the Job alone, Deployment by hash, Rollout through its ReplicaSet', async () => {
    const owned = (name: string, address: string, kind: string, owner: string, labels = '') =>
      pod(name, address).replace(
        'uid:',
        `labels: {x: y${labels}}, ownerReferences: [{kind: ${kind}, name: ${owner}, controller: true}], uid:`,
      )
    const owner = (kind: string, name: string, by: string) =>
      `kind: ${kind}\nmetadata: {name: ${name}, namespace: shop${by}}\n`
    const cron = ', ownerReferences: [{kind: CronJob, name: backup, controller: true}]'
    const rollout = ', ownerReferences: [{kind: Rollout, name: canary, controller: true}]'
    await writeFile(
      join(directory, 'a.yaml'),
      [
        owned('p1', '10.0.0.1', 'Job', 'backup-2911', ''),
        owned('p2', '10.0.0.2', 'Job', 'once-1', ''),
        owned('p3', '10.0.0.3', 'ReplicaSet', 'web-5f7', ', pod-template-hash: 5f7'),
        owned('p4', '10.0.0.4', 'ReplicaSet', 'canary-77', ''),
        owned('p5', '10.0.0.5', 'ReplicaSet', 'bare', ''),
        owned('p6', '10.0.0.6', 'Node', 'n1', ''),
        owner('Job', 'backup-2911', cron),
        owner('Job', 'once-1', ''),
        owner('ReplicaSet', 'canary-77', rollout),
      ].join('---\n'),
    )
    const names = await open()
    expect([1, 2, 3, 4, 5, 6].map((n) => nameOf(names, `10.0.0.${n}`))).toEqual([
      'shop/p1 CronJob/backup',
      'shop/p2 Job/once-1',
      'shop/p3 Deployment/web',
      'shop/p4 Rollout/canary',
      'shop/p5 ReplicaSet/bare',
      'shop/p6',
    ])
  })
})

describe('what is refused, with file and line', () => {
  test.each([
    ['text.yaml', 'just text\n', /text\.yaml:1: not a Kubernetes object/],
    ['list.yaml', '- a\n- b\n', /list\.yaml:1: not a Kubernetes object/],
    ['second.yaml', `${pod('a', '10.0.0.1')}---\nfoo: bar\n`, /second\.yaml:7: not a Kubernetes object/],
    ['syntax.yaml', 'kind: Pod\nmetadata: {name: [\n', /syntax\.yaml:\d+: not YAML/],
    ['syntax.json', '{\n"kind": "Pod",\n oops }', /syntax\.json:3: not JSON/],
    ['cut.json', '{\n"kind": "Pod",\n', /cut\.json:3: not JSON/],
    ['items.json', '{"kind": "PodList", "items": 7}', /items\.json:1: `items` of a PodList must be a list/],
    ['item.json', '{"kind": "List", "items": [{"metadata":{}}]}', /item\.json:1: item 0 of a List/],
    ['bomb.yaml', bomb(), /bomb\.yaml:1: not YAML: Excessive alias count/],
  ])('%s', async (name, content, message) => {
    await writeFile(join(directory, name), content)
    await expect(open()).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: expect.stringMatching(message),
    })
  })

  test('a path that is not there', async () => {
    await expect(open(join(directory, 'nowhere'))).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: expect.stringMatching(/cannot read manifests from .*nowhere/),
    })
  })

  test('an empty document is nothing', () => {
    expect(parseManifest('a.yaml', '')).toEqual([])
    expect(parseManifest('a.yaml', '# only a comment\n---\n')).toEqual([])
    expect(parseManifest('a.json', ' \n')).toEqual([])
  })
})

function bomb(): string {
  let text = 'kind: Pod\na0: &a0 [x, x, x, x, x, x, x, x, x]\n'
  for (let i = 1; i < 9; i++) text += `a${i}: &a${i} [${new Array(9).fill(`*a${i - 1}`).join(', ')}]\n`
  return text
}

describe('what changes', () => {
  test('a file that is written anew, one that is added, one that goes', async () => {
    const file = join(directory, 'a.yaml')
    await writeFile(file, pod('a', '10.0.0.1'))
    const names = await open()
    const first = Date.now()
    await writeFile(file, pod('b', '10.0.0.1'))
    await expect.poll(() => nameOf(names, '10.0.0.1')).toBe('shop/b')
    // Packets that flew before are still those of the pod before.
    expect(nameOf(names, '10.0.0.1', first - 1000)).toBe('shop/a')
    await writeFile(join(directory, 'b.yaml'), pod('c', '10.0.0.2'))
    await expect.poll(() => nameOf(names, '10.0.0.2')).toBe('shop/c')
    await rm(join(directory, 'b.yaml'))
    await expect.poll(() => nameOf(names, '10.0.0.2')).toBe('unknown')
  })

  test('a file that is replaced, as editors and atomic writers do', async () => {
    const file = join(directory, 'a.yaml')
    await writeFile(file, pod('a', '10.0.0.1'))
    // Looking now and then is switched off in effect: inotify must do.
    const names = await open(file, 3_600_000)
    await writeFile(join(directory, 'a.tmp'), pod('b', '10.0.0.1'))
    await rename(join(directory, 'a.tmp'), file)
    await expect.poll(() => nameOf(names, '10.0.0.1')).toBe('shop/b')
  })

  test('the symlink swap of a ConfigMap volume', async () => {
    for (const [version, name] of [
      ['..1', 'a'],
      ['..2', 'b'],
    ] as const) {
      await mkdir(join(directory, version))
      await writeFile(join(directory, version, 'pods.yaml'), pod(name, '10.0.0.1'))
    }
    await symlink('..1', join(directory, '..data'))
    await symlink('..data/pods.yaml', join(directory, 'pods.yaml'))
    const names = await open()
    expect(nameOf(names, '10.0.0.1')).toBe('shop/a')
    await symlink('..2', join(directory, '..data_tmp'))
    await rename(join(directory, '..data_tmp'), join(directory, '..data'))
    await expect.poll(() => nameOf(names, '10.0.0.1')).toBe('shop/b')
  })

  test('a broken file keeps the names of before, says so once, and is right again when it is', async () => {
    const file = join(directory, 'a.yaml')
    await writeFile(file, pod('a', '10.0.0.1'))
    const names = await open()
    await writeFile(file, 'kind: [')
    await expect.poll(() => log.warnings.length).toBe(1)
    expect(log.warnings[0]).toMatch(/keeping the names of before: MANIFEST_INVALID: .*a\.yaml:\d+: not YAML/)
    expect(names.resources()[0]).toMatchObject({ name: 'pods', synced: true, objects: 1 })
    expect(names.resources()[0]?.lastError).toMatch(/not YAML/)
    expect(nameOf(names, '10.0.0.1')).toBe('shop/a')
    // At once: a reading between a removal and a new file would say that there is none.
    await writeFile(join(directory, 'a.tmp'), pod('b', '10.0.0.1'))
    await rename(join(directory, 'a.tmp'), file)
    await expect.poll(() => nameOf(names, '10.0.0.1')).toBe('shop/b')
    expect(names.resources()[0]?.lastError).toBeUndefined()
    expect(log.warnings).toHaveLength(1)
  })
})
