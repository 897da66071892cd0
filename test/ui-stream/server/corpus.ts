// Random named batches for the stream's tests, from a seed: every column is filled in every way that capture and identity
// may fill it. No expectations live here.

import { FlowBatch, MAX_OBSERVATIONS, type TunnelInfo } from '../../../agent/capture/flow-batch.js'
import type { Name, NamedBatch, ServiceName } from '../../../agent/identity/names.js'

/** A small deterministic generator (mulberry32). */
export class Random {
  #state: number
  constructor(seed: number) {
    this.#state = seed
  }
  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  /** From 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.next() * n)
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!
  }
  chance(p: number): boolean {
    return this.next() < p
  }
}

export const NAMES: readonly Name[] = [
  {
    kind: 1,
    namespace: 'default',
    pod: 'web-7d4b9c6f5-abcde',
    workload: { kind: 'Deployment', name: 'web' },
    nodeName: 'n1',
    zone: 'eu-1a',
    labels: { app: 'web', tier: 'front', empty: '' },
  },
  {
    kind: 1,
    namespace: 'shop',
    pod: 'api-0',
    workload: { kind: 'StatefulSet', name: 'api' },
    nodeName: 'n2',
    labels: { app: 'api' },
    process: { pid: 70_123, command: 'api "x"\n\u001b[31m', container: 'main' },
  },
  { kind: 1, namespace: 'default', pod: 'bare', nodeName: 'n1' },
  { kind: 2, nodeName: 'n2', zone: 'eu-1b' },
  { kind: 2, nodeName: 'n1', process: { pid: 1 } },
  { kind: 1, namespace: 'default', pod: 'bare', labels: { a: 'b' }, process: { container: 'c' } },
  { kind: 3, names: ['example.com', 'www.example.com'] },
  { kind: 3 },
  { kind: 4, group: 'Büro ☃ 東京' },
  {
    kind: 1,
    namespace: 'x'.repeat(63),
    pod: 'p'.repeat(253),
    labels: { long: 'v'.repeat(63) },
    names: ['n'.repeat(253)],
  },
]

export const SERVICES: readonly (ServiceName | undefined)[] = [
  undefined,
  { namespace: 'default', name: 'web', type: 'ClusterIP', portName: 'http' },
  { namespace: 'shop', name: 'api', type: 'LoadBalancer', ingresses: ['api.example.com', '203.0.113.9'] },
  { namespace: 'shop', name: 'headless', type: 'Headless' },
]

const TUNNELS: readonly (TunnelInfo | undefined)[] = [
  undefined,
  undefined,
  { type: 1, id: 42, source: Uint8Array.of(192, 0, 2, 1), destination: Uint8Array.of(192, 0, 2, 2) },
  { type: 1, id: 0, source: new Uint8Array(16).fill(1), destination: new Uint8Array(16).fill(2) },
  { type: 4, id: 0xfffffffe, source: Uint8Array.of(10, 0, 0, 1), destination: Uint8Array.of(10, 0, 0, 2) },
]

const COUNTS = [
  0,
  1,
  127,
  128,
  16383,
  16384,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 32 + 5,
  2 ** 45 + 77,
  2 ** 53 - 1,
]

/** Interfaces of the corpus by hook; hook 14 and 15 have none any more. */
export function hookInterface(hook: number): { interface: string; direction: number } | undefined {
  return hook >= 14 ? undefined : { interface: `veth${hook >> 1}`, direction: (hook & 1) + 1 }
}

/** A NamedBatch of `count` rows. */
export function randomBatch(random: Random, count: number): NamedBatch {
  const flows = new FlowBatch(Math.max(1, count))
  flows.count = count
  const named = {
    flows,
    source: [] as Name[],
    destination: [] as Name[],
    service: [] as (ServiceName | undefined)[],
    direction: new Uint8Array(count),
  }
  const word = (): number => Math.floor(random.next() * 2 ** 32)
  for (let row = 0; row < count; row++) {
    const version = random.chance(0.7) ? 4 : 6
    flows.id[row] = random.pick(COUNTS)
    flows.event[row] = 1 + random.below(4)
    flows.timeUs[row] = 1_790_000_000_000_000 + row * 1000
    flows.startUs[row] = random.chance(0.1) ? 0 : 1_789_999_999_000_000 + random.below(1e6)
    flows.endUs[row] = flows.timeUs[row]! - random.below(1000)
    flows.ipVersion[row] = version
    flows.protocol[row] = random.pick([6, 6, 6, 17, 1, 58, 132, 47, 0, 255])
    flows.flags[row] = random.below(256)
    for (const column of [flows.source, flows.destination, flows.service, flows.translatedSource]) {
      for (let i = 0; i < 4; i++) column[row * 4 + i] = version === 6 ? word() : [0, 0, 0xffff, word()][i]!
    }
    for (const column of [
      flows.sourcePort,
      flows.destinationPort,
      flows.servicePort,
      flows.translatedSourcePort,
    ]) {
      column[row] = random.pick([0, 53, 80, 127, 128, 8080, 16383, 16384, 65535])
    }
    for (const column of [
      flows.forwardPackets,
      flows.forwardBytes,
      flows.forwardTotalPackets,
      flows.forwardTotalBytes,
      flows.reversePackets,
      flows.reverseBytes,
      flows.reverseTotalPackets,
      flows.reverseTotalBytes,
    ]) {
      column[row] = random.pick(COUNTS)
    }
    flows.verdict[row] = random.below(5)
    flows.endReason[row] = random.below(6)
    flows.tcpState[row] = random.below(6)
    flows.tcpFlagsForward[row] = random.pick([0, 2, 18, 127, 255])
    flows.tcpFlagsReverse[row] = random.pick([0, 4, 18, 128, 255])
    flows.tcpResetBy[row] = random.below(3)
    flows.handshakeRttUs[row] = random.pick([0, 1, 300, 70_000, 2 ** 32 - 1])
    flows.icmpType[row] = random.pick([0, 3, 8, 128])
    flows.icmpCode[row] = random.pick([0, 1, 255])
    flows.observationCount[row] = random.below(MAX_OBSERVATIONS + 1)
    for (let i = 0; i < MAX_OBSERVATIONS; i++)
      flows.observations[row * MAX_OBSERVATIONS + i] = random.below(16)
    flows.tunnel[row] = random.pick(TUNNELS)
    named.source.push(random.pick(NAMES))
    named.destination.push(random.pick(NAMES))
    named.service.push(random.pick(SERVICES))
    named.direction[row] = random.below(5)
  }
  return named
}
