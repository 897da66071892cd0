// What a testbed built, as the Kubernetes objects that an API server would hold of it. Pure: reads, never changes.

import { createHash } from 'node:crypto'
import type { Node } from './node.js'
import type { Pod } from './pod.js'
import type { Service } from './services.js'

interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller: true
}

/** A Kubernetes object as `kubectl get -o json` prints it, the parts that anybody reads. */
export interface Manifest {
  apiVersion: string
  kind: string
  metadata: {
    name: string
    namespace?: string
    uid: string
    labels?: Readonly<Record<string, string>>
    annotations?: Readonly<Record<string, string>>
    ownerReferences?: OwnerReference[]
  }
  [part: string]: unknown
}

const API_VERSIONS: Readonly<Record<string, string>> = {
  Deployment: 'apps/v1',
  ReplicaSet: 'apps/v1',
  StatefulSet: 'apps/v1',
  DaemonSet: 'apps/v1',
  Job: 'batch/v1',
  CronJob: 'batch/v1',
}

/** Nodes, namespaces, pods, the workloads that own them, services and endpoint slices. */
export function manifests(nodes: readonly Node[], services: readonly Service[]): Manifest[] {
  const pods = nodes.flatMap((node) => node.pods)
  const namespaces = new Set([
    'default',
    ...pods.map((pod) => pod.namespace),
    ...services.map((service) => service.namespace),
  ])
  const workloads = new Map<string, Manifest>()
  const podObjects = pods.map((pod) => podObject(pod, workloads))
  return [
    ...nodes.map(nodeObject),
    ...[...namespaces].map((name) =>
      object('v1', 'Namespace', undefined, name, { 'kubernetes.io/metadata.name': name }),
    ),
    ...workloads.values(),
    ...podObjects,
    ...services.flatMap((service) => [
      serviceObject(service),
      sliceObject(service, 4),
      ...(service.clusterIP6 === undefined ? [] : [sliceObject(service, 6)]),
    ]),
  ]
}

/** The same object has the same uid in every run: a version 4 shape out of a hash. */
function uid(...parts: readonly (string | undefined)[]): string {
  const hex = createHash('sha256').update(parts.join('\0')).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** The suffix that stands for a pod template's hash. */
function templateHash(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 9)
}

function object(
  apiVersion: string,
  kind: string,
  namespace: string | undefined,
  name: string,
  labels?: Readonly<Record<string, string>>,
  owner?: Manifest,
): Manifest {
  return {
    apiVersion,
    kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      uid: uid(kind, namespace, name),
      ...(labels === undefined ? {} : { labels }),
      ...(owner === undefined ? {} : { ownerReferences: [reference(owner)] }),
    },
  }
}

function reference(owner: Manifest): OwnerReference {
  const { apiVersion, kind, metadata } = owner
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true }
}

function nodeObject(node: Node): Manifest {
  const labels = {
    'kubernetes.io/hostname': node.name,
    ...(node.zone === undefined ? {} : { 'topology.kubernetes.io/zone': node.zone }),
    ...node.labels,
  }
  const ranges = [node.podCidr, ...(node.podCidr6 === undefined ? [] : [node.podCidr6])]
  const addresses = [node.ip, ...(node.ip6 === undefined ? [] : [node.ip6])]
  return {
    ...object('v1', 'Node', undefined, node.name, labels),
    spec: { podCIDR: node.podCidr, podCIDRs: ranges },
    status: {
      addresses: [
        ...addresses.map((address) => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: node.name },
      ],
    },
  }
}

/** The object that owns the pod, made (with what owns it in turn) when it is not there yet. */
function ownerObject(pod: Pod, workloads: Map<string, Manifest>): Manifest | undefined {
  if (pod.owner === undefined) return undefined
  const { kind, name } = pod.owner
  const make = (ownKind: string, ownName: string, owner?: Manifest): Manifest => {
    const key = `${ownKind}/${pod.namespace}/${ownName}`
    let made = workloads.get(key)
    if (made === undefined) {
      made = object(API_VERSIONS[ownKind] ?? 'v1', ownKind, pod.namespace, ownName, undefined, owner)
      workloads.set(key, made)
    }
    return made
  }
  const top = make(kind, name)
  if (kind === 'Deployment') return make('ReplicaSet', `${name}-${templateHash(name)}`, top)
  if (kind === 'CronJob') return make('Job', pod.name.replace(/-[a-z0-9]+$/, ''), top)
  return top
}

function podObject(pod: Pod, workloads: Map<string, Manifest>): Manifest {
  const ips = [pod.ip, ...(pod.ip6 === undefined ? [] : [pod.ip6])]
  const ports = Object.entries(pod.ports).map(([name, containerPort]) => ({ name, containerPort }))
  const started = '2026-01-01T00:00:00Z'
  return {
    ...object(
      'v1',
      'Pod',
      pod.namespace,
      pod.name,
      pod.owner?.kind === 'Deployment'
        ? { ...pod.labels, 'pod-template-hash': templateHash(pod.owner.name) }
        : pod.labels,
      ownerObject(pod, workloads),
    ),
    spec: {
      nodeName: pod.node.name,
      containers: [{ name: 'main', image: 'testbed', ...(ports.length === 0 ? {} : { ports }) }],
    },
    status: {
      phase: 'Running',
      hostIP: pod.node.ip,
      podIP: pod.ip,
      podIPs: ips.map((ip) => ({ ip })),
      startTime: started,
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

function serviceObject(service: Service): Manifest {
  const ingresses = service.ingresses ?? []
  const six = service.clusterIP6 === undefined ? [] : [service.clusterIP6]
  return {
    ...object('v1', 'Service', service.namespace, service.name),
    spec: {
      type: service.type ?? 'ClusterIP',
      clusterIP: service.clusterIP,
      clusterIPs: [service.clusterIP, ...six],
      ipFamilies: ['IPv4', ...(six.length === 0 ? [] : ['IPv6'])],
      ports: service.ports.map((port) => ({
        ...(port.name === undefined ? {} : { name: port.name }),
        protocol: (port.protocol ?? 'tcp').toUpperCase(),
        port: port.port,
        targetPort: port.targetPort,
        ...(port.nodePort === undefined ? {} : { nodePort: port.nodePort }),
      })),
    },
    status: { loadBalancer: ingresses.length === 0 ? {} : { ingress: ingresses.map((ip) => ({ ip })) } },
  }
}

function sliceObject(service: Service, family: 4 | 6): Manifest {
  const labels = {
    'kubernetes.io/service-name': service.name,
    'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
  }
  return {
    ...object(
      'discovery.k8s.io/v1',
      'EndpointSlice',
      service.namespace,
      `${service.name}-${templateHash(`${service.name}${family === 4 ? '' : family}`).slice(0, 5)}`,
      labels,
      object('v1', 'Service', service.namespace, service.name),
    ),
    addressType: `IPv${family}`,
    endpoints: service.backends.map((backend) => ({
      addresses: [(family === 4 ? backend.ip : backend.ip6) ?? ''],
      conditions: { ready: true, serving: true, terminating: false },
      ...('name' in backend
        ? {
            nodeName: backend.node.name,
            targetRef: {
              kind: 'Pod',
              namespace: backend.namespace,
              name: backend.name,
              uid: uid('Pod', backend.namespace, backend.name),
            },
          }
        : {}),
    })),
    ports: service.ports.map((port) => ({
      name: port.name ?? '',
      protocol: (port.protocol ?? 'tcp').toUpperCase(),
      port: port.targetPort,
    })),
  }
}
