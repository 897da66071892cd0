// Control groups as container runtimes call them, to pods and containers.

import { describe, expect, it } from 'vitest'
import { ContainerIndex, parseContainerPath } from '../../../agent/identity/containers.js'
import type { Holder } from '../../../agent/identity/holder.js'
import type { Name } from '../../../agent/identity/names.js'
import type { Fields } from '../../../agent/identity/object.js'

const UID = '2a7c4f0e-91b3-4d1c-8c55-0d9b1f3e7a60'
const SLICE = UID.replaceAll('-', '_')
const HASH = 'a1b2c3d4e5f60718293a4b5c6d7e8f90'
const ID = '6f'.repeat(32)
const OTHER = '0e'.repeat(32)

const PATHS: readonly (readonly [string, string, string | undefined, string | undefined])[] = [
  [
    'containerd, systemd, burstable',
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${SLICE}.slice/cri-containerd-${ID}.scope`,
    UID,
    ID,
  ],
  ['cri-o, systemd, guaranteed', `/kubepods.slice/kubepods-pod${SLICE}.slice/crio-${ID}.scope`, UID, ID],
  [
    'docker, systemd',
    `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${SLICE}.slice/docker-${ID}.scope`,
    UID,
    ID,
  ],
  ['containerd, cgroupfs', `/kubepods/burstable/pod${UID}/${ID}`, UID, ID],
  ['cri-o, cgroupfs', `/kubepods/besteffort/pod${UID}/crio-${ID}`, UID, ID],
  [
    'containerd with systemd names on cgroupfs',
    `/system.slice/containerd.service/kubepods-burstable-pod${SLICE}.slice:cri-containerd:${ID}`,
    UID,
    ID,
  ],
  [
    'below a root of kubelet’s own (kind)',
    `/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod${SLICE}.slice/cri-containerd-${ID}.scope`,
    UID,
    ID,
  ],
  ['a static pod', `/kubepods/burstable/pod${HASH}/${ID}`, HASH, ID],
  ['a static pod, systemd', `/kubepods.slice/kubepods-pod${HASH}.slice/crio-${ID}.scope`, HASH, ID],
  ['groups below a container', `/kubepods/pod${UID}/${ID}/system.slice/nginx.service`, UID, ID],
  ['a container in a container', `/kubepods/pod${UID}/${ID}/docker/${OTHER}`, UID, ID],
  [
    'a cluster in a pod: the node’s own pod counts',
    `/kubepods/pod${UID}/${ID}/kubelet/kubepods/pod11111111-2222-3333-4444-555555555555/${OTHER}`,
    UID,
    ID,
  ],
  ['the pod’s own group', `/kubepods/burstable/pod${UID}`, UID, undefined],
  [
    'what a runtime keeps beside the container',
    `/kubepods.slice/kubepods-pod${SLICE}.slice/crio-conmon-${ID}.scope`,
    UID,
    ID,
  ],
  ['docker without Kubernetes', `/system.slice/docker-${ID}.scope`, undefined, ID],
  ['upper case', `/kubepods/pod${UID.toUpperCase()}/${ID.toUpperCase()}`, UID, ID],
  ['cut at the front', `-burstable-pod${SLICE}.slice/cri-containerd-${ID}.scope`, UID, ID],
  ['a service', '/system.slice/kubelet.service', undefined, undefined],
  ['the root', '', undefined, undefined],
  ['a uid that is too short', '/kubepods/pod2a7c4f0e-91b3-4d1c-8c55/x', undefined, undefined],
  ['an id that is too short', `/kubepods/pod${UID}/${ID.slice(1)}`, UID, undefined],
  ['an id that is too long', `/kubepods/pod${UID}/${ID}0`, UID, undefined],
  ['a name that plays the pod', `/user.slice/xpod${UID}x/${ID}`, undefined, ID],
  ['lines and escapes', `/kubepods/pod${UID}\n/\u001b[31m${ID}`, undefined, undefined],
]

describe('the path of a control group', () => {
  it.each(PATHS)('%s', (_, path, pod, container) => {
    expect(parseContainerPath(path)).toEqual({ pod, container })
  })

  it('of any length is read in time', () => {
    const began = performance.now()
    for (const path of ['-'.repeat(100_000), `/${'a-'.repeat(50_000)}pod`, '/pod'.repeat(25_000)])
      expect(parseContainerPath(path)).toEqual({ pod: undefined, container: undefined })
    expect(performance.now() - began).toBeLessThan(1000)
  })
})

function holder(pod: string): Holder {
  const name: Name = { kind: 1, namespace: 'default', pod }
  return { local: true, isNode: false, lease: undefined, describe: () => name }
}

function statuses(name: string, id: string): Fields {
  return { status: { containerStatuses: [{ name, containerID: `containerd://${id}` }] } }
}

describe('the containers of this node', () => {
  it('are found by their id, else the pod by its uid, else it is somebody else’s pod', () => {
    const index = new ContainerIndex()
    const web = holder('web')
    index.take(web, UID, statuses('app', ID), {})
    expect(index.place([`/kubepods/pod${UID}/${ID}`])).toEqual({ pod: web, container: 'app', foreign: false })
    expect(index.place([`/kubepods/pod${UID}/${OTHER}`])).toEqual({
      pod: web,
      container: undefined,
      foreign: false,
    })
    const foreign = { pod: undefined, container: undefined, foreign: true }
    expect(index.place([`/kubepods/pod${HASH}/${OTHER}`])).toEqual(foreign)
    expect(index.place(['/system.slice/sshd.service'])).toEqual({ ...foreign, foreign: false })
    expect(index.place([])).toEqual({ ...foreign, foreign: false })
  })

  it('are found on either hierarchy', () => {
    const index = new ContainerIndex()
    const web = holder('web')
    index.take(web, UID, statuses('app', ID), {})
    const here = { pod: web, container: 'app', foreign: false }
    expect(index.place(['/system.slice/containerd.service', `/kubepods/pod${UID}/${ID}`])).toEqual(here)
    expect(index.place([`/kubepods/pod${HASH}/${OTHER}`, `/kubepods/pod${UID}/${ID}`])).toEqual(here)
  })

  it('of a static pod bear the hash of its file', () => {
    const index = new ContainerIndex()
    const web = holder('manager')
    index.take(web, UID, {}, { annotations: { 'kubernetes.io/config.hash': HASH } })
    expect(index.place([`/kubepods/burstable/pod${HASH}/${ID}`]).pod).toBe(web)
    expect(index.place([`/kubepods/burstable/pod${UID}/${ID}`]).pod).toBe(web)
  })

  it('that ran before a restart are still known, and all kinds of containers are', () => {
    const index = new ContainerIndex()
    const web = holder('web')
    const entry = (name: string, id: string, last?: string) => ({
      name,
      containerID: `cri-o://${id}`,
      ...(last === undefined ? {} : { lastState: { terminated: { containerID: `cri-o://${last}` } } }),
    })
    index.take(
      web,
      UID,
      {
        status: {
          containerStatuses: [entry('app', ID, OTHER)],
          initContainerStatuses: [entry('init', 'aa'.repeat(32))],
          ephemeralContainerStatuses: [entry('debugger', 'bb'.repeat(32))],
        },
      },
      {},
    )
    const named = (id: string) => index.place([`/kubepods/pod${UID}/${id}`]).container
    expect([ID, OTHER, 'aa'.repeat(32), 'bb'.repeat(32)].map(named)).toEqual([
      'app',
      'app',
      'init',
      'debugger',
    ])
  })

  it('are bounded, and a status that says the same again changes nothing', () => {
    const index = new ContainerIndex()
    const web = holder('web')
    index.take(web, UID, statuses('app', ID), {})
    const { version } = index
    index.take(web, UID, statuses('app', ID), {})
    expect(index.version).toBe(version)
    for (let i = 0; i < 17_000; i++)
      index.take(web, UID, statuses('other', i.toString(16).padStart(64, '0')), {})
    expect(index.place([`/x/${ID}`]).container).toBeUndefined()
    expect(index.place([`/x/${(16_999).toString(16).padStart(64, '0')}`]).container).toBe('other')
  })

  it('takes any object for what it is', () => {
    const index = new ContainerIndex()
    for (const status of [
      null,
      7,
      [],
      { containerStatuses: [null, 'x', { name: 3 }, { name: 'a', containerID: {} }] },
    ])
      index.take(holder('x'), UID, { status }, { annotations: 'none' })
    expect(index.place([`/x/${ID}`]).container).toBeUndefined()
  })
})
