// What tests and the demo use of the testbed.
//
//   const bed = await Testbed.create('shop')
//   const [n1, n2] = await Promise.all([bed.node('n1'), bed.node('n2', { cni: 'ptp' })])
//   await bed.routes() // or bed.vxlan()
//   const [web, client] = await Promise.all([n2.pod({ name: 'web' }), n1.pod({ name: 'client' })])
//   await bed.services([{ namespace: 'default', name: 'web', clusterIP: '10.96.0.9',
//     ports: [{ port: 80, targetPort: 8080 }], backends: [web] }])
//   const server = await tcpServer(web, 8080)
//   const report = await tcpConnect(client, '10.96.0.9:80', { count: 100, bytesIn: 5000 })
//   await bed.close()

export { Capture, type CapturedPacket, type Tally, tally } from './capture.js'
export type { PortMapping } from './cni.js'
export {
  addManifests,
  type Container,
  ContainerGroups,
  type ContainerOptions,
  containerStatuses,
  hostPodManifest,
  ownGroup,
} from './containers.js'
export type { Manifest } from './manifests.js'
export { type Counters, Namespace } from './namespace.js'
export { Node, type NodeOptions } from './node.js'
export { type Owner, Pod, type PodOptions } from './pod.js'
export { RunError, type RunOptions, type RunResult, run } from './run.js'
export type { Backend, Service, ServicePort } from './services.js'
export { Task, type TaskEnd, type TaskOptions } from './task.js'
export { Testbed, World } from './testbed.js'
export { repository, tool } from './tools.js'
export * from './traffic.js'
