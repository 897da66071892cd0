// What a socket adds to what its address says.

import { expect, test } from 'vitest'
import type { SocketOwner } from '../../../agent/capture/flow-batch.js'
import { ContainerIndex } from '../../../agent/identity/containers.js'
import type { Holder } from '../../../agent/identity/holder.js'
import { EndpointKind, type Name } from '../../../agent/identity/names.js'
import { Processes } from '../../../agent/identity/processes.js'

const UID = { a: '2a7c4f0e-91b3-4d1c-8c55-0d9b1f3e7a60', b: '2a7c4f0e-91b3-4d1c-8c55-0d9b1f3e7a61' }
const ID = { a: '6f'.repeat(32), b: '0e'.repeat(32) }
const NODE: Name = { kind: EndpointKind.NODE, nodeName: 'n1' }
const WORLD: Name = { kind: EndpointKind.WORLD }

function holder(name: Name, local = true): Holder {
  return { local, isNode: name.kind === EndpointKind.NODE, lease: undefined, describe: () => name }
}
const node = holder(NODE)
const pods = {
  a: holder({ kind: EndpointKind.POD, namespace: 'x', pod: 'a' }),
  b: holder({ kind: EndpointKind.POD, namespace: 'x', pod: 'b' }),
}

function setUp(): { index: ContainerIndex; processes: Processes } {
  const index = new ContainerIndex()
  for (const key of ['a', 'b'] as const)
    index.take(
      pods[key],
      UID[key],
      { status: { containerStatuses: [{ name: `main-${key}`, containerID: `docker://${ID[key]}` }] } },
      {},
    )
  return { index, processes: new Processes(index) }
}

const path = (key: 'a' | 'b') => `/kubepods/pod${UID[key]}/${ID[key]}`
function owner(paths: readonly string[] | undefined, pid = 7, command = 'curl'): SocketOwner {
  return { pid, command, group: paths === undefined ? undefined : { paths } }
}

test('a shared address is that of the pod whose socket it is', () => {
  const { processes } = setUp()
  expect(processes.name(NODE, node, owner([path('a')]))).toEqual({
    kind: EndpointKind.POD,
    namespace: 'x',
    pod: 'a',
    process: { pid: 7, command: 'curl', container: 'main-a' },
  })
  expect(processes.name(NODE, node, owner(['/system.slice/kubelet.service'], 9, 'kubelet'))).toEqual({
    ...NODE,
    process: { pid: 9, command: 'kubelet' },
  })
  const stranger = '/kubepods/pod99999999-9999-9999-9999-999999999999'
  expect(processes.name(NODE, node, owner([stranger]))).toEqual({
    ...NODE,
    process: { pid: 7, command: 'curl' },
  })
})

test("a pod's address keeps its name, and its socket has to be its own", () => {
  const { processes } = setUp()
  const name = pods.a.describe()
  expect(processes.name(name, pods.a, owner([path('a')]))).toEqual({
    ...name,
    process: { pid: 7, command: 'curl', container: 'main-a' },
  })
  expect(processes.name(name, pods.a, owner([path('b')]))).toBe(name)
  expect(processes.name(name, pods.a, owner(['/kubepods/pod99999999-9999-9999-9999-999999999999']))).toBe(
    name,
  )
  // a process that somebody put into its network namespace
  expect(processes.name(name, pods.a, owner(['/user.slice']))).toEqual({
    ...name,
    process: { pid: 7, command: 'curl' },
  })
})

test("another node's address has no socket here", () => {
  const { processes } = setUp()
  const far: Name = { kind: EndpointKind.NODE, nodeName: 'n2' }
  expect(processes.name(far, holder(far, false), owner([path('a')]))).toBe(far)
})

test('an address that nobody knows is that of the pod whose socket has it', () => {
  const { processes } = setUp()
  expect(processes.name(WORLD, undefined, owner([path('b')]))).toMatchObject({ pod: 'b' })
  expect(processes.name(WORLD, undefined, owner(undefined))).toEqual({
    ...WORLD,
    process: { pid: 7, command: 'curl' },
  })
})

test('where nothing but the group is known there is no process, but a container', () => {
  const { processes } = setUp()
  expect(processes.name(NODE, node, owner([path('a')], 0, ''))).toMatchObject({
    pod: 'a',
    process: { container: 'main-a' },
  })
  expect(processes.name(NODE, node, owner(['/system.slice/x'], 0, ''))).toBe(NODE)
})

test('equal pairs are one object, until something else is known', () => {
  const { index, processes } = setUp()
  const late = '2a7c4f0e-91b3-4d1c-8c55-0d9b1f3e7a62'
  const someone = owner([`/kubepods/pod${late}/${'aa'.repeat(32)}`])
  const curl = owner([path('a')])
  const before = processes.name(NODE, node, someone)
  const known = processes.name(NODE, node, curl)
  expect(before).toEqual({ ...NODE, process: { pid: 7, command: 'curl' } })
  expect(processes.name(NODE, node, someone)).toBe(before)
  // its pod becomes known: what is told from now on says so, and all else stays the same object
  const c = holder({ kind: EndpointKind.POD, namespace: 'x', pod: 'c' })
  index.take(c, late, {}, {})
  expect(processes.name(NODE, node, someone)).toMatchObject({ pod: 'c' })
  expect(processes.name(NODE, node, curl)).toBe(known)
})

test('a group whose name comes later is looked up again', () => {
  const { processes } = setUp()
  const group: { paths: readonly string[] } = { paths: [] }
  const curl: SocketOwner = { pid: 7, command: 'curl', group }
  expect(processes.name(NODE, node, curl)).toEqual({ ...NODE, process: { pid: 7, command: 'curl' } })
  group.paths = [path('a')]
  expect(processes.name(NODE, node, curl)).toMatchObject({ pod: 'a' })
})
