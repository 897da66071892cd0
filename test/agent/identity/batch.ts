// Rows for identity's tests: a batch from a few words each, and names read back in a form that reads well.

import { FlowBatch, FlowFlag } from '../../../agent/capture/flow-batch.js'
import { parseAddress } from '../../../agent/identity/address.js'
import {
  Direction,
  EndpointKind,
  type Identity,
  type Name,
  type ServiceName,
} from '../../../agent/identity/names.js'

export interface Row {
  readonly source: string
  readonly destination: string
  readonly port?: number
  /** What the client addressed, where it is not the destination. */
  readonly service?: string
  readonly servicePort?: number
  readonly protocol?: number
  readonly flags?: number
  /** First and last packet, ms since the Unix epoch. */
  readonly start?: number
  readonly end?: number
}

function put(column: Uint32Array, row: number, text: string): void {
  const words = parseAddress(text)
  if (words === undefined) throw new Error(`${text} is not an address`)
  column.set(words, row * 4)
}

export function batchOf(rows: readonly Row[]): FlowBatch {
  const batch = new FlowBatch(Math.max(rows.length, 1))
  batch.count = rows.length
  for (const [r, row] of rows.entries()) {
    put(batch.source, r, row.source)
    put(batch.destination, r, row.destination)
    put(batch.service, r, row.service ?? row.destination)
    batch.sourcePort[r] = 40_000
    batch.destinationPort[r] = row.port ?? 80
    batch.servicePort[r] = row.servicePort ?? row.port ?? 80
    batch.protocol[r] = row.protocol ?? 6
    batch.flags[r] = (row.flags ?? 0) | (row.service === undefined ? 0 : FlowFlag.DESTINATION_TRANSLATED)
    const end = row.end ?? row.start ?? Date.now()
    batch.startUs[r] = (row.start ?? end) * 1000
    batch.endUs[r] = end * 1000
    batch.timeUs[r] = end * 1000
  }
  return batch
}

/** `shop/db-0 StatefulSet/db`, `node n1`, `world`, `unknown` */
export function say(name: Name | undefined): string {
  if (name === undefined) return 'absent'
  if (name.kind === EndpointKind.WORLD) return 'world'
  if (name.kind === EndpointKind.UNKNOWN) return 'unknown'
  if (name.kind === EndpointKind.NODE) return `node ${name.nodeName ?? '-'}`
  const workload = name.workload === undefined ? '' : ` ${name.workload.kind}/${name.workload.name}`
  return `${name.namespace}/${name.pod}${workload}`
}

/** `shop/web ClusterIP http`, or `absent` */
export function sayService(service: ServiceName | undefined): string {
  if (service === undefined) return 'absent'
  return `${service.namespace}/${service.name} ${service.type} ${service.portName ?? '-'}`
}

const directions = Object.entries(Direction)

export interface Said {
  readonly source: string
  readonly destination: string
  readonly service: string
  readonly direction: string
}

export function nameRows(identity: Identity, rows: readonly Row[]): Said[] {
  const named = identity.name(batchOf(rows))
  return rows.map((_, r) => ({
    source: say(named.source[r]),
    destination: say(named.destination[r]),
    service: sayService(named.service[r]),
    direction: directions.find(([, value]) => value === named.direction[r])?.[0] ?? '',
  }))
}

/** The name of whoever holds `address`. */
export function nameOf(identity: Identity, address: string, at?: number): string {
  const row = {
    source: '192.0.2.1',
    destination: address,
    port: 1,
    ...(at === undefined ? {} : { start: at }),
  }
  return nameRows(identity, [row])[0]?.destination ?? ''
}

/** A log that remembers its warnings. */
export function quietLog(): { info(message: string): void; warn(message: string): void; warnings: string[] } {
  const warnings: string[] = []
  return { info: () => undefined, warn: (message) => void warnings.push(message), warnings }
}
