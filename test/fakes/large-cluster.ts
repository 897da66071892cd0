// A cluster of any size, object by object: each is a recorded one with other names, addresses and as much ballast as
// objects of busy clusters have. Nothing is kept of a pod but two numbers, so that the server that tells of it is quicker
// than whoever listens. The same numbers give the same cluster.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { repository } from '../testbed/tools.js'

export interface ClusterSize {
  readonly pods: number
  readonly services: number
  /** EndpointSlices; each pod stands in one. */
  readonly slices: number
  readonly nodes: number
}

/** Bytes of one pod as compact JSON, about what a pod with a sidecar and its managed fields comes to. */
const POD_BYTES = 5700
const NAMESPACES = 100
const PODS_OF_A_WORKLOAD = 10
/** Stands for what differs between objects of one kind. */
const MARK = /@(\w+)@/

export type Change = { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly pod: number }

/** Objects as JSON texts, and the changes that pods go through. */
export class LargeCluster {
  readonly size: ClusterSize
  /** How often each pod has been replaced by another of its workload. */
  readonly #generation: Uint32Array
  readonly #address: Uint32Array
  readonly #gone: number[] = []
  #turn = 0
  version = 1_000_000
  readonly #pod = template('list-pods.json', podTemplate)
  readonly #service = template('list-services.json', serviceTemplate)
  readonly #slice = template('list-endpointslices.json', sliceTemplate)
  readonly #node = template('list-nodes.json', nodeTemplate)

  constructor(size: ClusterSize) {
    this.size = size
    this.#generation = new Uint32Array(size.pods)
    this.#address = Uint32Array.from({ length: size.pods }, (_, i) => 0x0a400000 + i)
  }

  pod(i: number): string {
    const workload = Math.floor(i / PODS_OF_A_WORKLOAD)
    const app = `app-${workload}`
    const hash = `7d${(workload * 7919 + 100_003).toString(36)}`
    const node = i % this.size.nodes
    return fill(this.#pod, {
      name: this.podName(i),
      replicaset: `${app}-${hash}`,
      namespace: namespaceOf(workload),
      uid: this.#uid(i),
      app,
      hash,
      zone: `z${node % 3}`,
      node: nodeName(node),
      hostIp: nodeAddress(node),
      ip: this.podAddress(i),
      version: String(this.version),
    })
  }

  podName(i: number): string {
    const workload = Math.floor(i / PODS_OF_A_WORKLOAD)
    const hash = `7d${(workload * 7919 + 100_003).toString(36)}`
    return `app-${workload}-${hash}-${(i + (this.#generation[i] ?? 0) * 1_000_003 + 700_000).toString(36)}`
  }

  podNamespace(i: number): string {
    return namespaceOf(Math.floor(i / PODS_OF_A_WORKLOAD))
  }

  podNode(i: number): string {
    return nodeName(i % this.size.nodes)
  }

  podAddress(i: number): string {
    return dotted(this.#address[i] ?? 0)
  }

  service(i: number): string {
    return fill(this.#service, {
      name: `app-${i}`,
      namespace: namespaceOf(i),
      uid: uid(0x5e, i, 0),
      app: `app-${i}`,
      ip: dotted(0x0a600000 + i),
    })
  }

  slice(i: number): string {
    const { pods, slices, services } = this.size
    const each = Math.ceil(pods / slices)
    const service = Math.min(services - 1, Math.floor((i * each) / PODS_OF_A_WORKLOAD))
    const endpoints: string[] = []
    for (let pod = i * each; pod < Math.min(pods, (i + 1) * each); pod++) {
      const node = pod % this.size.nodes
      endpoints.push(
        `{"addresses":["${this.podAddress(pod)}"],"conditions":{"ready":true,"serving":true,"terminating":false},` +
          `"targetRef":{"kind":"Pod","namespace":"${this.podNamespace(pod)}","name":"${this.podName(pod)}",` +
          `"uid":"${this.#uid(pod)}"},"nodeName":"${nodeName(node)}","zone":"z${node % 3}"}`,
      )
    }
    return fill(this.#slice, {
      name: `app-${service}-${i.toString(36)}`,
      namespace: namespaceOf(service),
      uid: uid(0x51, i, 0),
      service: `app-${service}`,
      endpoints: endpoints.join(','),
    })
  }

  node(i: number): string {
    return fill(this.#node, {
      name: nodeName(i),
      uid: uid(0x0d, i, 0),
      zone: `z${i % 3}`,
      ip: nodeAddress(i),
      range: `${dotted(0x0a400000 + i * 256)}/24`,
    })
  }

  namespace(i: number): string {
    return `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"${namespaceOf(i)}","uid":"${uid(0xa5, i, 0)}","resourceVersion":"12","creationTimestamp":"2026-11-01T05:32:02Z","labels":{"kubernetes.io/metadata.name":"${namespaceOf(i)}","team":"team-${i % 17}"}}}`
  }

  get namespaces(): number {
    return Math.min(NAMESPACES, Math.ceil(this.size.pods / PODS_OF_A_WORKLOAD))
  }

  /**
   * The next change, with the pod's text as of then: now and then a status that says nothing new, and again and again a
   * pod that goes and another one that takes an address which somebody has just given up.
   */
  change(): Change & { readonly text: string } {
    const turn = this.#turn++
    this.version++
    const waiting = this.#gone.length
    if (waiting > 0 && (turn % 3 === 2 || waiting > 50)) {
      const pod = this.#gone.shift() ?? 0
      this.#generation[pod]!++
      return { type: 'ADDED', pod, text: this.pod(pod) }
    }
    const pod = (turn * 7907) % this.size.pods
    if (this.#gone.includes(pod) || turn % 3 === 0) return { type: 'MODIFIED', pod, text: this.pod(pod) }
    const text = this.pod(pod)
    // Its successor gets the address of whoever left before it.
    const before = this.#gone.at(-1)
    if (before !== undefined) {
      const address = this.#address[before] ?? 0
      this.#address[before] = this.#address[pod] ?? 0
      this.#address[pod] = address
    }
    this.#gone.push(pod)
    return { type: 'DELETED', pod, text }
  }

  isGone(pod: number): boolean {
    return this.#gone.length > 0 && this.#gone.includes(pod)
  }

  #uid(pod: number): string {
    return uid(0x90, pod, this.#generation[pod] ?? 0)
  }
}

export function nodeName(i: number): string {
  return `node-${i}.pool.example`
}

export function nodeAddress(i: number): string {
  return dotted(0xac100000 + i + 1)
}

function namespaceOf(workload: number): string {
  return `team-${workload % NAMESPACES}`
}

export function dotted(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`
}

function uid(kind: number, i: number, generation: number): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0')
  return `${hex(kind, 2)}${hex(i, 6)}-7f9a-4e11-9376-${hex(generation, 12)}`
}

type Template = readonly string[]

function fill(parts: Template, values: Readonly<Record<string, string>>): string {
  let text = parts[0] ?? ''
  for (let i = 1; i < parts.length; i += 2) text += (values[parts[i] ?? ''] ?? '') + (parts[i + 1] ?? '')
  return text
}

// biome-ignore lint/suspicious/noExplicitAny: recorded objects, whose shape the recording itself shows
type Recorded = any

function template(file: string, make: (items: Recorded[]) => Recorded): Template {
  const path = join(repository, 'test/fixtures/kubernetes', file)
  const { items } = JSON.parse(readFileSync(path, 'utf8')) as { items: Recorded[] }
  const text = JSON.stringify(make(items))
  return text.replaceAll('"@endpoints@"', '@endpoints@').split(MARK)
}

function podTemplate(items: Recorded[]): Recorded {
  const pod = structuredClone(items.find((item) => item.metadata.name.startsWith('web-')))
  Object.assign(pod.metadata, {
    name: '@name@',
    generateName: '@replicaset@-',
    namespace: '@namespace@',
    uid: '@uid@',
    resourceVersion: '@version@',
    labels: {
      app: '@app@',
      'app.kubernetes.io/name': '@app@',
      'app.kubernetes.io/part-of': 'platform',
      'pod-template-hash': '@hash@',
      'topology.kubernetes.io/zone': '@zone@',
    },
    annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '9102' },
  })
  pod.metadata.ownerReferences[0].name = '@replicaset@'
  pod.spec.nodeName = '@node@'
  Object.assign(pod.status, {
    hostIP: '@hostIp@',
    hostIPs: [{ ip: '@hostIp@' }],
    podIP: '@ip@',
    podIPs: [{ ip: '@ip@' }],
  })
  const container = pod.spec.containers[0]
  container.env = []
  for (let i = 0; JSON.stringify(pod).length < POD_BYTES; i++)
    container.env.push({ name: `SETTING_${i}`, value: `a value with "quotes" and \\ of setting ${i}` })
  return pod
}

function serviceTemplate(items: Recorded[]): Recorded {
  const service = structuredClone(items.find((item) => item.metadata.name === 'web'))
  Object.assign(service.metadata, { name: '@name@', namespace: '@namespace@', uid: '@uid@' })
  Object.assign(service.spec, { clusterIP: '@ip@', clusterIPs: ['@ip@'], selector: { app: '@app@' } })
  service.spec.ports = [
    { name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 },
    { name: 'metrics', protocol: 'TCP', port: 9102, targetPort: 9102 },
  ]
  return service
}

function sliceTemplate(items: Recorded[]): Recorded {
  const slice = structuredClone(items.find((item) => item.metadata.name.startsWith('web-')))
  Object.assign(slice.metadata, { name: '@name@', namespace: '@namespace@', uid: '@uid@' })
  slice.metadata.labels['kubernetes.io/service-name'] = '@service@'
  slice.endpoints = ['@endpoints@']
  slice.ports = [
    { name: 'http', protocol: 'TCP', port: 8080 },
    { name: 'metrics', protocol: 'TCP', port: 9102 },
  ]
  return slice
}

function nodeTemplate(items: Recorded[]): Recorded {
  const node = structuredClone(items[0])
  Object.assign(node.metadata, { name: '@name@', uid: '@uid@' })
  node.metadata.labels['topology.kubernetes.io/zone'] = '@zone@'
  node.metadata.labels['kubernetes.io/hostname'] = '@name@'
  Object.assign(node.spec, { podCIDR: '@range@', podCIDRs: ['@range@'] })
  node.status.addresses = [
    { type: 'InternalIP', address: '@ip@' },
    { type: 'Hostname', address: '@name@' },
  ]
  // The kubelet lists up to 50 images.
  node.status.images = Array.from({ length: 30 }, (_, i) => ({
    names: [`registry.invalid/team/image-${i}@sha256:${String(i).padStart(64, '0')}`],
    sizeBytes: 100_000_000 + i,
  }))
  return node
}
