// What the stores read of each kind of object, and so all that is taken out of an answer (see projection.ts). A store
// that reads another field needs it here; test/agent/identity/kubernetes/shapes.test.ts finds out when it does not.

import { CONFIG_HASH_ANNOTATION } from '../containers.js'
import { ADDRESS_ANNOTATIONS } from '../nodes.js'
import type { Kind } from '../source.js'
import { Projection, type Shape } from './projection.js'

/** Of bookmarks: the end of the initial events. */
export const INITIAL_END = 'k8s.io/initial-events-end'

/** networking.k8s.io/v1 IngressBackend. */
const ingressBackend = { service: { name: true, port: { name: true, number: true } } } satisfies Shape

const metadata = {
  name: true,
  namespace: true,
  uid: true,
  resourceVersion: true,
  labels: true,
  annotations: { [INITIAL_END]: true },
  ownerReferences: [{ kind: true, name: true, controller: true }],
} satisfies Shape

const containers = [
  { name: true, containerID: true, lastState: { terminated: { containerID: true } } },
] satisfies Shape

/** By kind; `metadata` alone where nothing else is read. */
export const SHAPES: Readonly<Record<Kind, Readonly<Record<string, Shape>>>> = {
  Pod: {
    metadata: { ...metadata, annotations: { ...metadata.annotations, [CONFIG_HASH_ANNOTATION]: true } },
    spec: { nodeName: true, hostNetwork: true },
    status: {
      phase: true,
      hostIP: true,
      podIP: true,
      podIPs: [{ ip: true }],
      containerStatuses: containers,
      initContainerStatuses: containers,
      ephemeralContainerStatuses: containers,
    },
  },
  Service: {
    metadata,
    spec: {
      clusterIP: true,
      clusterIPs: true,
      externalIPs: true,
      ports: [{ name: true, port: true, protocol: true, nodePort: true }],
    },
    status: { loadBalancer: { ingress: [{ ip: true }] } },
  },
  EndpointSlice: {
    metadata,
    ports: [{ name: true, port: true, protocol: true }],
    endpoints: [
      {
        addresses: true,
        conditions: { ready: true, serving: true },
        nodeName: true,
        targetRef: { kind: true, namespace: true, name: true },
      },
    ],
  },
  Ingress: {
    metadata,
    spec: {
      defaultBackend: ingressBackend,
      rules: [{ http: { paths: [{ backend: ingressBackend }] } }],
    },
  },
  Node: {
    metadata: {
      ...metadata,
      annotations: {
        ...metadata.annotations,
        ...Object.fromEntries(ADDRESS_ANNOTATIONS.map((annotation) => [annotation, true as const])),
      },
    },
    spec: { podCIDR: true, podCIDRs: true },
    status: { addresses: [{ address: true }] },
  },
  Namespace: { metadata },
  ReplicaSet: { metadata },
  Job: { metadata },
}

/** Reads objects of a kind. */
export function objectProjection(kind: Kind): Projection {
  return new Projection(SHAPES[kind])
}

/** Reads events of a watch; the object of an ERROR is a Status. */
export function eventProjection(kind: Kind): Projection {
  return new Projection({
    type: true,
    object: { ...SHAPES[kind], code: true, message: true, reason: true },
  })
}
