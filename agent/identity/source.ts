// The seam between where objects come from (manifests, an API server) and the stores that keep what is needed of them.

import type { ResourceState } from './names.js'

/** Kinds that identity reads; `resource` is the name that status, RBAC and URLs use. */
export const KINDS = {
  Pod: 'pods',
  Service: 'services',
  EndpointSlice: 'endpointslices',
  Ingress: 'ingresses',
  Node: 'nodes',
  Namespace: 'namespaces',
  ReplicaSet: 'replicasets',
  Job: 'jobs',
} as const

export type Kind = keyof typeof KINDS

export function isKind(text: string): text is Kind {
  return Object.hasOwn(KINDS, text)
}

/**
 * Takes objects as Kubernetes writes them in JSON; they may be anything, and only what is needed is kept. All calls are
 * synchronous: names have changed when they return.
 */
export interface ObjectSink {
  /** A full list of `kind` begins: what is not upserted before `commit` is gone by then. A list may begin anew. */
  begin(kind: Kind): void
  /** False when `object` is not one that can be kept (no metadata, no name). */
  upsert(kind: Kind, object: unknown): boolean
  remove(kind: Kind, object: unknown): void
  commit(kind: Kind): void
  /** How many of `kind` are kept. */
  count(kind: Kind): number
}

/** Something that feeds an ObjectSink until it is closed. */
export interface ObjectSource {
  /** True when every resource has been read once, or is known to be out of reach for good. */
  readonly synced: boolean
  resources(): ResourceState[]
  /** Ends watches and timers. */
  close(): Promise<void>
}

/** One line to a log: the event in one clear sentence. */
export interface IdentityLog {
  info(message: string): void
  warn(message: string): void
}
