// Containers as kubelet and a container runtime leave them: real processes in control groups that are called like theirs,
// in a pod's network namespace or (host network) the node's own. The groups lie below this process's own group, in a
// directory of their own, and go with ContainerGroups.close() or the next time anybody makes some.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Manifest } from './manifests.js'
import { Namespace } from './namespace.js'
import type { RunOptions, RunResult } from './run.js'
import { run } from './run.js'
import { Task, type TaskOptions } from './task.js'

/** How a runtime calls a container's group: the driver of kubelet, and what stands in front of the id. */
export type Runtime =
  | 'containerd systemd'
  | 'cri-o systemd'
  | 'docker systemd'
  | 'containerd cgroupfs'
  | 'cri-o cgroupfs'

/** Which hierarchy the group is made on: that of version 2, or version 1's memory controller. */
export type Hierarchy = 'v2' | 'v1'

const PREFIX = 'vf-testbed-'

/** The directory of this process's own group on a hierarchy; undefined where this machine has none of that kind. */
export function ownGroup(hierarchy: Hierarchy): string | undefined {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
  const mount = mounts.find(([, , type, options]) =>
    hierarchy === 'v2' ? type === 'cgroup2' : type === 'cgroup' && options?.split(',').includes('memory'),
  )?.[1]
  const controllers = hierarchy === 'v2' ? '' : 'memory'
  const path = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([, names]) => (hierarchy === 'v2' ? names === '' : names?.split(',').includes(controllers)))?.[2]
  if (mount === undefined || path === undefined) return undefined
  const directory = join(mount, path)
  return existsSync(join(directory, 'cgroup.procs')) ? directory : undefined
}

/** 64 digits, as runtimes make them; the same for the same words. */
export function containerId(...words: readonly string[]): string {
  return createHash('sha256').update(words.join('\0')).digest('hex')
}

export interface ContainerOptions {
  readonly hierarchy?: Hierarchy
  readonly runtime?: Runtime
  /** Quality of service, which is part of the path: guaranteed pods have none. */
  readonly qos?: 'burstable' | 'besteffort'
  /** Groups that the container made for itself below its own. */
  readonly below?: string
}

/** One container: what is started or run here runs in its group, in the network namespace of `place`. */
export class Container extends Namespace {
  readonly name: string
  readonly id: string
  readonly podUid: string
  /** As a pod's status has it. */
  readonly containerID: string
  readonly group: string
  readonly #place: Namespace

  constructor(
    place: Namespace,
    name: string,
    podUid: string,
    id: string,
    containerID: string,
    group: string,
  ) {
    super(place.netns)
    this.#place = place
    this.name = name
    this.podUid = podUid
    this.id = id
    this.containerID = containerID
    this.group = group
  }

  // `ip netns exec` has a /sys of its own, without control groups: the group comes first.
  #inside(argv: readonly string[]): string[] {
    const enter = 'echo $$ > "$0"/cgroup.procs; exec "$@"'
    return ['sh', '-ec', enter, this.group, 'ip', 'netns', 'exec', this.netns, ...argv]
  }

  override async start(argv: readonly string[], options: TaskOptions = {}): Promise<Task> {
    const task = await Task.start(this.#inside(argv), options)
    this.#place.tasks.add(task)
    void task.ended.then(() => this.#place.tasks.delete(task))
    return task
  }

  override exec(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run(this.#inside(argv), options)
  }
}

/** The groups that one test has made. Close it after the processes in them have ended. */
export class ContainerGroups {
  readonly #roots = new Map<Hierarchy, string>()

  /** Makes a container's group below this process's own. `podUid` as the Pod object has it. */
  container(place: Namespace, podUid: string, name: string, options: ContainerOptions = {}): Container {
    const { hierarchy = 'v2', runtime = 'containerd systemd', qos, below } = options
    const id = containerId(podUid, name)
    const group = join(this.#root(hierarchy), pathOf(runtime, qos, podUid, id), below ?? '')
    mkdirSync(group, { recursive: true })
    const scheme = runtime.split(' ')[0]
    return new Container(place, name, podUid, id, `${scheme}://${id}`, group)
  }

  /** A group that is no container's, called as told. */
  plain(place: Namespace, path: string, hierarchy: Hierarchy = 'v2'): Container {
    const group = join(this.#root(hierarchy), path)
    mkdirSync(group, { recursive: true })
    return new Container(place, path, '', '', '', group)
  }

  /** Removes the groups; the processes in them have ended. */
  close(): void {
    for (const root of this.#roots.values()) removeGroups(root)
    this.#roots.clear()
  }

  #root(hierarchy: Hierarchy): string {
    const known = this.#roots.get(hierarchy)
    if (known !== undefined) return known
    const own = ownGroup(hierarchy)
    if (own === undefined) throw new Error(`this machine has no control groups of ${hierarchy}`)
    for (const name of readdirSync(own)) {
      const owner = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]
      if (owner !== undefined && !existsSync(`/proc/${owner}`)) removeGroups(join(own, name))
    }
    const root = join(own, `${PREFIX}${process.pid}-${made++}`)
    mkdirSync(root)
    this.#roots.set(hierarchy, root)
    return root
  }
}

let made = 0

function removeGroups(directory: string): void {
  if (!existsSync(directory)) return
  for (const entry of readdirSync(directory, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroups(join(directory, entry.name))
  rmdirSync(directory)
}

function pathOf(runtime: Runtime, qos: string | undefined, podUid: string, id: string): string {
  const [name, driver] = runtime.split(' ')
  if (driver === 'systemd') {
    const prefix = { containerd: 'cri-containerd', 'cri-o': 'crio', docker: 'docker' }[name ?? ''] ?? ''
    const pod = podUid.replaceAll('-', '_')
    const slice = qos === undefined ? 'kubepods' : `kubepods-${qos}`
    const between = qos === undefined ? '' : `kubepods-${qos}.slice/`
    return `kubepods.slice/${between}${slice}-pod${pod}.slice/${prefix}-${id}.scope`
  }
  const between = qos === undefined ? '' : `${qos}/`
  return `kubepods/${between}pod${podUid}/${name === 'cri-o' ? 'crio-' : ''}${id}`
}

/** A pod on its node's own network, as an API server would show it. */
export function hostPodManifest(
  node: { readonly name: string; readonly ip: string },
  pod: {
    readonly namespace: string
    readonly name: string
    readonly uid: string
    readonly configHash?: string
  },
  containers: readonly Container[],
): Manifest {
  const { namespace, name, uid, configHash } = pod
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      uid,
      ...(configHash === undefined ? {} : { annotations: { 'kubernetes.io/config.hash': configHash } }),
    },
    spec: {
      nodeName: node.name,
      hostNetwork: true,
      containers: containers.map((container) => ({ name: container.name, image: 'testbed' })),
    },
    status: {
      phase: 'Running',
      hostIP: node.ip,
      podIP: node.ip,
      podIPs: [{ ip: node.ip }],
      containerStatuses: containerStatuses(containers),
    },
  }
}

/** What a pod's status says of its containers. */
export function containerStatuses(containers: readonly Container[]): object[] {
  return containers.map((container) => ({
    name: container.name,
    containerID: container.containerID,
    ready: true,
    state: { running: {} },
  }))
}

/** Writes objects beside what Testbed.writeManifests wrote, in `directory`. */
export function addManifests(directory: string, file: string, items: readonly object[]): void {
  writeFileSync(
    join(directory, `${file}.json`),
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items }, null, 2),
  )
}
