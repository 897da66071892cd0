// Flow messages of other servers as rows that filters understand, and as bytes with this server's sequence: what a
// gateway publishes. Messages come from the network: numbers out of range and odd addresses become "unknown", never an
// exception.

import { FlowBatch, FlowFlag } from '../../agent/capture/flow-batch.js'
import { EndpointKind, type Name, type ServiceName } from '../../agent/identity/names.js'
import runtime from '../../proto/runtime.js'
import { wordsOfBytes } from '../protocol/address.js'
import { type EndpointMessage, Flow, type FlowMessage, type ServiceMessage } from '../protocol/messages.js'
import type { EncodedRows } from './encode.js'
import type { FlowRows } from './flow-rows.js'

const MAX_INTERNED = 65_536

/** Keeps one object for equal things, the oldest out first when there are too many. */
class Interned<T> {
  readonly #known = new Map<string, T>()

  get(key: string, make: () => T): T {
    let value = this.#known.get(key)
    if (value === undefined) {
      if (this.#known.size >= MAX_INTERNED) {
        for (const oldest of this.#known.keys()) {
          this.#known.delete(oldest)
          break
        }
      }
      value = make()
      this.#known.set(key, value)
    }
    return value
  }
}

/** Turns decoded Flow messages into rows and bytes. Keeps one Name object for equal endpoints. */
export class FlowImporter {
  readonly #names = new Interned<Name>()
  readonly #services = new Interned<ServiceName>()
  readonly #interfaces = new Interned<readonly string[]>()

  /** The batch holds every field of the messages but labels, which are kept with the names; sequences are its own. */
  encode(flows: readonly FlowMessage[], firstSequence: number): EncodedRows {
    const rows = this.#rows(flows)
    const count = flows.length
    const offsets = new Uint32Array(count + 1)
    const writer = runtime.Writer.create()
    for (let row = 0; row < count; row++) {
      const flow = withoutLabels(flows[row]!, firstSequence + row)
      Flow.encode(flow, writer.uint32(0x0a).fork()).ldelim()
      offsets[row + 1] = writer.len
    }
    const timeUs = rows.columns.timeUs.slice(0, count)
    const lastSequence = firstSequence + count - 1
    return { batch: { count, bytes: writer.finish(), offsets, timeUs, lastSequence, shared: {} }, rows }
  }

  #rows(flows: readonly FlowMessage[]): FlowRows {
    const count = flows.length
    const columns = new FlowBatch(Math.max(1, count))
    columns.count = count
    const source: Name[] = []
    const destination: Name[] = []
    const service: (ServiceName | undefined)[] = []
    const nodeName: string[] = []
    const interfaces: (readonly string[])[] = []
    const dropReason: (string | undefined)[] = []
    const direction = new Uint8Array(count)
    for (let row = 0; row < count; row++) {
      const flow = flows[row]!
      columns.event[row] = flow.event ?? 0
      columns.timeUs[row] = flow.timeUs ?? 0
      columns.ipVersion[row] = flow.ipVersion ?? 0
      columns.protocol[row] = flow.protocol ?? 0
      columns.flags[row] = flow.own ? FlowFlag.OWN : 0
      columns.verdict[row] = flow.verdict ?? 0
      columns.tcpFlagsForward[row] = flow.tcp?.flags?.forward ?? 0
      columns.tcpFlagsReverse[row] = flow.tcp?.flags?.reverse ?? 0
      columns.sourcePort[row] = flow.source?.port ?? 0
      columns.destinationPort[row] = flow.destination?.port ?? 0
      columns.servicePort[row] = flow.service?.port ?? flow.destination?.port ?? 0
      const at = row * 4
      if (flow.source?.ip) wordsOfBytes(flow.source.ip, columns.source, at)
      const destinationIp = flow.destination?.ip
      if (destinationIp) wordsOfBytes(destinationIp, columns.destination, at)
      const serviceIp = flow.service?.ip?.length ? flow.service.ip : destinationIp
      if (serviceIp) wordsOfBytes(serviceIp, columns.service, at)
      direction[row] = flow.direction ?? 0
      source.push(this.#name(flow.source))
      destination.push(this.#name(flow.destination))
      service.push(this.#service(flow.service))
      nodeName.push(flow.nodeName ?? '')
      const names = (flow.observations ?? []).map((observation) => observation.interface ?? '')
      interfaces.push(
        this.#interfaces.get(names.join('\n'), () => [...new Set(names)].filter((name) => name !== '')),
      )
      dropReason.push(flow.drop?.reason || undefined)
    }
    return { count, columns, source, destination, service, direction, nodeName, interfaces, dropReason }
  }

  #name(message: EndpointMessage | null | undefined): Name {
    const { kind, namespace, pod, workload, nodeName, zone, group, labels, names, process } = message ?? {}
    const key = JSON.stringify([
      kind,
      namespace,
      pod,
      workload?.kind,
      workload?.name,
      nodeName,
      zone,
      group,
      labels,
      names,
      process?.pid,
      process?.command,
      process?.container,
    ])
    return this.#names.get(key, () => ({
      kind: kind || EndpointKind.UNKNOWN,
      ...(namespace && { namespace }),
      ...(pod && { pod }),
      ...(workload && { workload: { kind: workload.kind ?? '', name: workload.name ?? '' } }),
      ...(nodeName && { nodeName }),
      ...(zone && { zone }),
      ...(group && { group }),
      ...(labels && Object.keys(labels).length > 0 && { labels: { ...labels } }),
      ...(names && names.length > 0 && { names: [...names] }),
      ...(process && {
        process: {
          ...(process.pid && { pid: process.pid }),
          ...(process.command && { command: process.command }),
          ...(process.container && { container: process.container }),
        },
      }),
    }))
  }

  #service(message: ServiceMessage | null | undefined): ServiceName | undefined {
    if (!message?.name) return undefined
    const { name, namespace, type, portName, ingresses } = message
    return this.#services.get(JSON.stringify([namespace, name, type, portName, ingresses]), () => ({
      namespace: namespace ?? '',
      name,
      type: type ?? '',
      ...(portName && { portName }),
      ...(ingresses && ingresses.length > 0 && { ingresses: [...ingresses] }),
    }))
  }
}

/** A shallow copy with another sequence and without labels. */
function withoutLabels(flow: FlowMessage, sequence: number): FlowMessage {
  return {
    ...flow,
    sequence,
    ...(flow.source && { source: { ...flow.source, labels: null } }),
    ...(flow.destination && { destination: { ...flow.destination, labels: null } }),
  }
}
