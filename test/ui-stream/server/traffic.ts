// Traffic as a node of a cluster sees it, from a seed: pods behind services, connections that open, go on and close, some
// refused, some from the world. For what depends on how much alike records are (history's size, encoding, filters).

import { FlowBatch } from '../../../agent/capture/flow-batch.js'
import type { Name, NamedBatch, ServiceName } from '../../../agent/identity/names.js'
import { Random } from './corpus.js'

const PODS = 1000
const LOCAL_PODS = 100
const SERVICES = 50
const TCP = 6
const UDP = 17

interface Connection {
  id: number
  source: number
  destination: number
  sourcePort: number
  startUs: number
  packets: number
  bytes: number
  events: number
}

/** Hook numbers and their interfaces, as `traffic` observes them. */
export function trafficInterface(hook: number): { interface: string; direction: number } {
  return {
    interface: hook >> 1 === 0 ? 'eth0' : `veth${(hook >> 1).toString(16).padStart(8, '0')}`,
    direction: (hook & 1) + 1,
  }
}

/** Makes batches of records of one node. Each batch is valid until the next. */
export class Traffic {
  readonly names: readonly Name[]
  readonly services: readonly ServiceName[]
  readonly #random: Random
  readonly #live: Connection[] = []
  readonly #named: NamedBatch
  #id = 0

  /** @param rows of the largest batch */
  constructor(rows: number, seed = 1) {
    this.#random = new Random(seed)
    this.services = Array.from({ length: SERVICES }, (_, i) => ({
      namespace: `team-${i % 10}`,
      name: `service-${i}`,
      type: 'ClusterIP',
      portName: 'http',
    }))
    this.names = Array.from({ length: PODS }, (_, i) => {
      const app = `service-${i % SERVICES}`
      return {
        kind: 1,
        namespace: `team-${(i % SERVICES) % 10}`,
        pod: `${app}-${(0x9e3779b1 * (i + 1)).toString(36).slice(0, 9)}-${i.toString(36).padStart(5, 'x')}`,
        workload: { kind: 'Deployment', name: app },
        nodeName: `node-${i % 10}`,
        zone: `zone-${i % 3}`,
        labels: { app, version: `v${i % 4}` },
      }
    })
    const flows = new FlowBatch(rows)
    this.#named = {
      flows,
      source: new Array<Name>(rows),
      destination: new Array<Name>(rows),
      service: new Array<ServiceName | undefined>(rows),
      direction: new Uint8Array(rows),
    }
  }

  /** The next `count` records, made at `timeUs` and after, `stepUs` apart. */
  next(count: number, timeUs: number, stepUs = 1000): NamedBatch {
    const named = this.#named
    named.flows.count = count
    for (let row = 0; row < count; row++) this.#record(row, timeUs + row * stepUs)
    return named
  }

  #record(row: number, timeUs: number): void {
    const random = this.#random
    const { flows } = this.#named
    const fresh = this.#live.length < 2000 || random.chance(0.4)
    const connection = fresh ? this.#open(timeUs) : this.#live[random.below(this.#live.length)]!
    if (fresh && this.#live.length > 4000) {
      this.#live[random.below(this.#live.length)] = this.#live.at(-1)!
      this.#live.pop()
    }
    const packets = fresh ? 1 : 1 + random.below(40)
    const bytes = packets * (52 + random.below(900))
    connection.packets += packets
    connection.bytes += bytes
    connection.events++
    const closes = !fresh && connection.events > 2
    const { source, destination } = connection
    const target = this.names[destination]!
    const service = this.services[destination % SERVICES]!
    const protocol = connection.id % 5 === 0 ? UDP : TCP
    flows.id[row] = connection.id
    flows.event[row] = fresh ? 1 : closes ? 3 : 2
    flows.timeUs[row] = timeUs
    flows.startUs[row] = connection.startUs
    flows.endUs[row] = fresh ? connection.startUs : timeUs - random.below(1_000_000)
    flows.ipVersion[row] = 4
    flows.protocol[row] = protocol
    flows.flags[row] = 2
    this.#address(flows.source, row, 0x0af40000 + source)
    this.#address(flows.destination, row, 0x0af40000 + destination)
    this.#address(flows.service, row, 0x0a600000 + (destination % SERVICES))
    flows.sourcePort[row] = connection.sourcePort
    flows.destinationPort[row] = 8080
    flows.servicePort[row] = 80
    flows.forwardPackets[row] = packets
    flows.forwardBytes[row] = bytes
    flows.forwardTotalPackets[row] = connection.packets
    flows.forwardTotalBytes[row] = connection.bytes
    flows.reversePackets[row] = fresh ? 0 : packets
    flows.reverseBytes[row] = fresh ? 0 : bytes * 3
    flows.reverseTotalPackets[row] = fresh ? 0 : connection.packets - 1
    flows.reverseTotalBytes[row] = fresh ? 0 : connection.bytes * 3
    flows.verdict[row] = fresh ? 0 : connection.id % 17 === 0 ? 3 : 1
    flows.endReason[row] = closes ? 1 : 0
    flows.tcpState[row] = protocol === TCP ? (fresh ? 1 : closes ? 5 : 3) : 0
    flows.tcpFlagsForward[row] = protocol === TCP ? (fresh ? 2 : 26) : 0
    flows.tcpFlagsReverse[row] = protocol === TCP && !fresh ? 26 : 0
    flows.tcpResetBy[row] = 0
    flows.handshakeRttUs[row] = protocol === TCP && !fresh ? 80 + (connection.id % 700) : 0
    const local = destination % 10 === 0
    flows.observationCount[row] = fresh ? 1 : 2
    flows.observations[row * 8] = 2 + 2 * (source % LOCAL_PODS)
    flows.observations[row * 8 + 1] = local ? 3 + 2 * (((destination / 10) % LOCAL_PODS) | 0) : 1
    this.#named.source[row] = this.names[source]!
    this.#named.destination[row] = target
    this.#named.service[row] = service
    this.#named.direction[row] = local ? 3 : 2
    if (closes) connection.events = 0
  }

  #open(timeUs: number): Connection {
    const random = this.#random
    const connection = {
      id: ++this.#id,
      source: random.below(LOCAL_PODS) * 10,
      destination: random.below(PODS),
      sourcePort: 32768 + random.below(28_000),
      startUs: timeUs - random.below(2000),
      packets: 0,
      bytes: 0,
      events: 0,
    }
    this.#live.push(connection)
    return connection
  }

  #address(column: Uint32Array, row: number, word: number): void {
    column[row * 4] = 0
    column[row * 4 + 1] = 0
    column[row * 4 + 2] = 0xffff
    column[row * 4 + 3] = word
  }
}
