import { describe, expect, it } from 'vitest'
import { FlowFlag, MAX_OBSERVATIONS } from '../../../agent/capture/flow-batch.js'
import type { Name, NamedBatch } from '../../../agent/identity/names.js'
import { bytesOfWords } from '../../../ui-stream/protocol/address.js'
import {
  type EndpointMessage,
  type FlowMessage,
  StreamMessage,
} from '../../../ui-stream/protocol/messages.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import type { EncodedBatch } from '../../../ui-stream/server/encoded-batch.js'
import { FlowFilter } from '../../../ui-stream/server/filter.js'
import { History } from '../../../ui-stream/server/history.js'
import { hookInterface, Random, randomBatch } from './corpus.js'

const OPTIONS = { nodeName: 'node-1', agentId: '01jabc', hookInterface }

/** Numbers that are not zero; proto3 leaves the others out. */
function set<T extends object>(object: T): T {
  const entries = Object.entries(object).filter(
    ([, value]) => value !== 0 && value !== undefined && value !== false,
  )
  return Object.fromEntries(entries) as T
}

function endpoint(
  named: NamedBatch,
  end: 'source' | 'destination',
  row: number,
  labels: boolean,
): EndpointMessage {
  const { flows } = named
  const name: Name = named[end][row]!
  return set({
    kind: name.kind,
    ip: bytesOfWords(flows[end], row * 4, flows.ipVersion[row]!),
    port: flows[`${end}Port`][row]!,
    namespace: name.namespace,
    pod: name.pod,
    workload: name.workload,
    nodeName: name.nodeName,
    zone: name.zone,
    group: name.group,
    labels: labels ? name.labels : undefined,
    names: name.names,
    process: name.process,
  }) as EndpointMessage
}

/** The message that a row says, built the slow way from the schema and the contract alone. */
function message(named: NamedBatch, row: number, sequence: number, labels: boolean): FlowMessage {
  const { flows } = named
  const flags = flows.flags[row]!
  const version = flows.ipVersion[row]!
  const ip = (column: Uint32Array): Uint8Array => bytesOfWords(column, row * 4, version)
  const service = named.service[row]
  const protocol = flows.protocol[row]!
  const tcpFlags = set({ forward: flows.tcpFlagsForward[row]!, reverse: flows.tcpFlagsReverse[row]! })
  const tcp = set({
    state: flows.tcpState[row]!,
    flags: Object.keys(tcpFlags).length > 0 ? tcpFlags : undefined,
    handshakeRttUs: flows.handshakeRttUs[row]!,
    resetBy: flows.tcpResetBy[row]!,
  })
  const observations = []
  for (let i = 0; i < flows.observationCount[row]!; i++) {
    const hook = flows.observations[row * MAX_OBSERVATIONS + i]!
    const found = hookInterface(hook)
    observations.push(set({ interface: found?.interface, direction: found?.direction ?? (hook & 1) + 1 }))
  }
  const outer = flows.tunnel[row]
  const translated = set({
    ...((flags & FlowFlag.SOURCE_TRANSLATED) !== 0 && {
      sourceIp: ip(flows.translatedSource),
      sourcePort: flows.translatedSourcePort[row]!,
    }),
    ...((flags & FlowFlag.DESTINATION_TRANSLATED) !== 0 && {
      destinationIp: ip(flows.destination),
      destinationPort: flows.destinationPort[row]!,
    }),
  })
  return set({
    id: flows.id[row]!,
    agentId: OPTIONS.agentId,
    event: flows.event[row]!,
    timeUs: flows.timeUs[row]!,
    startTimeUs: flows.startUs[row]!,
    endTimeUs: flows.endUs[row]!,
    nodeName: OPTIONS.nodeName,
    ipVersion: version,
    protocol,
    source: endpoint(named, 'source', row, labels),
    destination: endpoint(named, 'destination', row, labels),
    service:
      service !== undefined || (flags & FlowFlag.DESTINATION_TRANSLATED) !== 0
        ? set({ ...service, ip: ip(flows.service), port: flows.servicePort[row]! })
        : undefined,
    translation: Object.keys(translated).length > 0 ? translated : undefined,
    direction: named.direction[row]!,
    forward: set({
      packets: flows.forwardPackets[row]!,
      bytes: flows.forwardBytes[row]!,
      totalPackets: flows.forwardTotalPackets[row]!,
      totalBytes: flows.forwardTotalBytes[row]!,
    }),
    reverse: set({
      packets: flows.reversePackets[row]!,
      bytes: flows.reverseBytes[row]!,
      totalPackets: flows.reverseTotalPackets[row]!,
      totalBytes: flows.reverseTotalBytes[row]!,
    }),
    verdict: flows.verdict[row]!,
    tcp: protocol === 6 && Object.keys(tcp).length > 0 ? tcp : undefined,
    icmp:
      protocol === 1 || protocol === 58
        ? set({ type: flows.icmpType[row]!, code: flows.icmpCode[row]! })
        : undefined,
    tunnel: outer === undefined ? undefined : set({ ...outer }),
    observations,
    initiatorInferred: (flags & FlowFlag.INITIATOR_INFERRED) !== 0,
    own: (flags & FlowFlag.OWN) !== 0,
    unseen: (flags & FlowFlag.FORWARD_UNSEEN) !== 0 ? 1 : (flags & FlowFlag.REVERSE_UNSEEN) !== 0 ? 2 : 0,
    endReason: flows.endReason[row]!,
    sequence,
  }) as FlowMessage
}

const everything = FlowFilter.compile({ filters: [], own: true })

describe('FlowEncoder', () => {
  it.each([false, true])('writes what protobufjs writes, byte for byte (labels: %s)', (labels) => {
    const encoder = new FlowEncoder(OPTIONS)
    const random = new Random(7)
    let sequence = 1
    for (let round = 0; round < 40; round++) {
      const named = randomBatch(random, random.pick([0, 1, 2, 100]))
      const { batch: plain, rows } = encoder.encode(named, sequence)
      expect(plain.count).toBe(named.flows.count)
      expect(plain.lastSequence).toBe(sequence + named.flows.count - 1)
      const history = new History(16 * 1024 * 1024, undefined, sequence)
      history.push(plain, rows)
      // What comes back out of history is what went in, and can have labels beside.
      const piece = (labelled: boolean): EncodedBatch =>
        history.read(sequence, sequence + plain.count, everything, labelled, { scan: 1e9, records: 1e9 })
          .batch ?? plain
      expect(Buffer.compare(piece(false).bytes, plain.bytes)).toBe(0)
      expect(piece(false).offsets).toEqual(plain.offsets)
      const encoded = labels ? piece(true) : plain
      const flows: FlowMessage[] = []
      for (let row = 0; row < named.flows.count; row++) {
        flows.push(message(named, row, sequence + row, labels))
        const one = StreamMessage.encode({ flows: [flows[row]!] }).finish()
        const ours = encoded.bytes.subarray(encoded.offsets[row]!, encoded.offsets[row + 1]!)
        if (Buffer.compare(one, ours) !== 0) {
          expect(StreamMessage.decode(ours).flows[0]).toEqual(StreamMessage.decode(one).flows[0])
          expect(Buffer.from(ours).toString('hex')).toBe(Buffer.from(one).toString('hex'))
        }
      }
      expect(Buffer.compare(StreamMessage.encode({ flows }).finish(), encoded.bytes)).toBe(0)
      sequence += named.flows.count
    }
    expect(sequence).toBeGreaterThan(500)
  })

  it('keeps bytes apart from later batches', () => {
    const encoder = new FlowEncoder(OPTIONS)
    const random = new Random(1)
    const first = encoder.encode(randomBatch(random, 50), 1).batch
    const before = Buffer.from(first.bytes)
    encoder.encode(randomBatch(random, 80), 51)
    expect(Buffer.compare(before, first.bytes)).toBe(0)
  })

  it('names an interface as it is called when the record is encoded', () => {
    const names = new Map([[6, { interface: 'eth0', direction: 1 }]])
    const encoder = new FlowEncoder({ ...OPTIONS, hookInterface: (hook) => names.get(hook) })
    const named = randomBatch(new Random(3), 1)
    named.flows.observationCount[0] = 1
    named.flows.observations[0] = 6
    const name = (): string | null | undefined =>
      StreamMessage.decode(encoder.encode(named, 1).batch.bytes).flows[0]!.observations![0]!.interface
    expect(name()).toBe('eth0')
    names.set(6, { interface: 'uplink', direction: 1 })
    expect(name()).toBe('uplink')
  })

  it('is at least twice as fast as the generated code', () => {
    const encoder = new FlowEncoder(OPTIONS)
    const named = randomBatch(new Random(5), 1024)
    const { flows } = StreamMessage.decode(encoder.encode(named, 1).batch.bytes)
    const seconds = (run: () => unknown, rounds: number): number => {
      const start = process.cpuUsage()
      for (let i = 0; i < rounds; i++) run()
      const { user, system } = process.cpuUsage(start)
      return (user + system) / 1e6 / rounds
    }
    const ours = (): unknown => encoder.encode(named, 1)
    const theirs = (): unknown => StreamMessage.encode({ flows }).finish()
    seconds(ours, 30)
    seconds(theirs, 10)
    // Taken in turns and the best of each: the machine is not ours alone.
    let [best, reference] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
    for (let i = 0; i < 5; i++) {
      best = Math.min(best, seconds(ours, 30))
      reference = Math.min(reference, seconds(theirs, 10))
    }
    expect(reference / best).toBeGreaterThan(2)
  })
})
