// What tests and the demo use of the testbed.

export type { PortMapping } from './cni.js'
export type { Manifest } from './manifests.js'
export { type Counters, Namespace } from './namespace.js'
export { Node, type NodeOptions } from './node.js'
export { type Owner, Pod, type PodOptions } from './pod.js'
export { RunError, type RunResult, run } from './run.js'
export type { Backend, Service, ServicePort } from './services.js'
export { Task, type TaskEnd, type TaskOptions } from './task.js'
export { Testbed, World } from './testbed.js'
export { repository, tool } from './tools.js'
export * from './traffic.js'
