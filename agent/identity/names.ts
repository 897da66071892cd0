// What identity says of the ends of a flow. Shared vocabulary of identity and stream: values only.
// Name and ServiceName objects are immutable and shared by every record that speaks of the same thing, so that a stage
// may cache by object identity (encoded bytes, filter results). A changed pod is a new object.

import type { FlowBatch } from '../capture/flow-batch.js'

/** Values of Name.kind; numbers are those of proto EndpointKind. */
export const EndpointKind = { POD: 1, NODE: 2, WORLD: 3, UNKNOWN: 4 } as const
/** Values of the `direction` column; numbers are those of proto Direction. */
export const Direction = { UNSPECIFIED: 0, INGRESS: 1, EGRESS: 2, LOCAL: 3, TRANSIT: 4 } as const

export interface WorkloadName {
  readonly kind: string
  readonly name: string
}

/** The process at an end that is a socket of this node, as far as it is known. */
export interface ProcessName {
  /** On the node (initial pid namespace). */
  readonly pid?: number
  readonly command?: string
  /** As the pod's spec calls it. */
  readonly container?: string
}

/** Who holds an address. Address and port themselves stand in the record. */
export interface Name {
  readonly kind: number
  readonly namespace?: string
  readonly pod?: string
  readonly workload?: WorkloadName
  readonly nodeName?: string
  readonly zone?: string
  readonly group?: string
  readonly labels?: Readonly<Record<string, string>>
  /** DNS names, most likely first. */
  readonly names?: readonly string[]
  readonly process?: ProcessName
}

/** A service port that a client addressed, or that exactly one service has for a backend. */
export interface ServiceName {
  readonly namespace: string
  readonly name: string
  /** ClusterIP, NodePort, LoadBalancer, ExternalIP, Headless, ExternalName */
  readonly type: string
  readonly portName?: string
  readonly ingresses?: readonly string[]
}

/** A FlowBatch with names; rows correspond. Reused by its owner like the batch itself. */
export interface NamedBatch {
  readonly flows: FlowBatch
  readonly source: Name[]
  readonly destination: Name[]
  readonly service: (ServiceName | undefined)[]
  /** Direction values. */
  readonly direction: Uint8Array
}

/** The state of one watched resource, for status. */
export interface ResourceState {
  readonly name: string
  readonly synced: boolean
  readonly objects: number
  /** Since the last word from the source, in ms. */
  readonly ageMs: number
  readonly restarts: number
  readonly lastError?: string
}

/** What the stages after identity, and main, see of it. */
export interface Identity {
  /** manifests, kubernetes, none */
  readonly source: string
  /** Fills names for every row of `batch`. The result is valid until the next call. */
  name(batch: FlowBatch): NamedBatch
  /** True when every resource has been read once. */
  readonly synced: boolean
  resources(): ResourceState[]
  /** Ends watches and timers. */
  close(): Promise<void>
}
