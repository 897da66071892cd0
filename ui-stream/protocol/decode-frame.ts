// Protobuf frames to messages, several times faster than the generated code where frames are as servers write them: what
// records share (ends, services, observations) is decoded once and found again by its bytes. Whatever is out of the
// ordinary is left to the generated code, frame by frame, so that both always say the same. Runs in browsers.

import {
  type CountersMessage,
  Endpoint,
  type EndpointMessage,
  Flow,
  type FlowMessage,
  type ServiceMessage,
  StreamMessage,
  type StreamMessageMessage,
  Tcp,
  type TcpMessage,
} from './messages.js'
import { WireReader } from './wire-reader.js'

const SLOTS = 4096

/** Decoded things by the bytes that they were decoded from. One place for each hash: the later takes it. */
class ByteCache<T> {
  readonly #bytes = new Array<Uint8Array | undefined>(SLOTS).fill(undefined)
  readonly #values = new Array<T | undefined>(SLOTS).fill(undefined)

  /**
   * What bytes `from` to `to - 1` stand for, without those from `hole` to `holeEnd - 1`. `make` gets a copy of them; what
   * it gives is shared from then on, so nobody may change it.
   */
  get(
    bytes: Uint8Array,
    from: number,
    hole: number,
    holeEnd: number,
    to: number,
    make: (bytes: Uint8Array) => T,
  ): T {
    let hash = 0x811c9dc5
    for (let i = from; i < hole; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
    // Of what is long every third byte is enough to tell most apart; the comparison looks at all.
    const step = to - holeEnd > 40 ? 3 : 1
    for (let i = holeEnd; i < to; i += step) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1)
    const known = this.#bytes[slot]
    const head = hole - from
    if (known !== undefined && known.length === head + to - holeEnd) {
      let i = 0
      while (i < head && known[i] === bytes[from + i]) i++
      if (i === head) while (i < known.length && known[i] === bytes[holeEnd + i - head]) i++
      if (i === known.length) return this.#values[slot]!
    }
    const own = new Uint8Array(head + to - holeEnd)
    own.set(bytes.subarray(from, hole))
    own.set(bytes.subarray(holeEnd, to), head)
    const value = make(own)
    this.#bytes[slot] = own
    this.#values[slot] = value
    return value
  }
}

/** Decodes the frames of one connection, one after the other. What it gives shares parts: read, do not change. */
export class FrameDecoder {
  readonly #reader = new WireReader()
  readonly #ends = new ByteCache<EndpointMessage>()
  readonly #services = new ByteCache<ServiceMessage | null>()
  readonly #translations = new ByteCache<TranslationMessage | null>()
  readonly #hooks = new ByteCache<NonNullable<FlowMessage['observations']>>()
  readonly #texts = new ByteCache<string>()

  /** Throws what the generated code throws for bytes that are no StreamMessage. */
  decode(bytes: Uint8Array): StreamMessageMessage {
    let message: StreamMessageMessage | undefined
    try {
      message = this.#fast(bytes)
    } catch {
      // The generated code says what is wrong.
    }
    return message ?? StreamMessage.decode(bytes)
  }

  /** Undefined when there is something in it that is better left to the generated code. */
  #fast(bytes: Uint8Array): StreamMessageMessage | undefined {
    const reader = this.#reader
    reader.begin(bytes, 0, bytes.length)
    const flows: FlowMessage[] = []
    while (reader.at < bytes.length && bytes[reader.at] === 0x0a) {
      reader.at++
      const flow = this.#flow(reader.length())
      if (flow === undefined) return undefined
      flows.push(flow)
    }
    // Flows come first; behind them there is little.
    const rest = StreamMessage.decode(bytes.subarray(reader.at)) as StreamMessageMessage
    if ((rest.flows?.length ?? 0) > 0) return undefined
    rest.flows = flows
    return rest
  }

  #flow(end: number): FlowMessage | undefined {
    const reader = this.#reader
    const { bytes } = reader
    let id: number | null = null
    let agentId: string | null = null
    let event: number | null = null
    let timeUs: number | null = null
    let startTimeUs: number | null = null
    let endTimeUs: number | null = null
    let nodeName: string | null = null
    let ipVersion: number | null = null
    let protocol: number | null = null
    let source: EndpointMessage | null = null
    let destination: EndpointMessage | null = null
    let service: ServiceMessage | null = null
    let translation: TranslationMessage | null = null
    let direction: number | null = null
    let forward: CountersMessage | null = null
    let reverse: CountersMessage | null = null
    let verdict: number | null = null
    let tcp: TcpMessage | null = null
    let observations: NonNullable<FlowMessage['observations']> = []
    let initiatorInferred: boolean | null = null
    let own: boolean | null = null
    let endReason: number | null = null
    let sequence: number | null = null
    let unseen: number | null = null
    let last = 0
    /** Fields that are seldom there, from the first to the last of them. */
    let rest: number[] | undefined
    while (reader.at < end && !reader.bad) {
      const start = reader.at
      const tag = reader.varint()
      if (tag <= last) return undefined
      last = tag
      switch (tag) {
        case 0x08:
          id = reader.varint()
          break
        case 0x12:
          agentId = this.#text()
          break
        case 0x18:
          event = this.#small()
          break
        case 0x20:
          timeUs = reader.varint()
          break
        case 0x28:
          startTimeUs = reader.varint()
          break
        case 0x30:
          endTimeUs = reader.varint()
          break
        case 0x3a:
          nodeName = this.#text()
          break
        case 0x40:
          ipVersion = this.#small()
          break
        case 0x48:
          protocol = this.#small()
          break
        case 0x52:
          source = this.#endpoint()
          break
        case 0x5a:
          destination = this.#endpoint()
          break
        case 0x62: {
          const to = reader.length()
          service = this.#services.get(bytes, start, to, to, to, serviceOf)
          reader.at = to
          break
        }
        case 0x6a: {
          const to = reader.length()
          translation = this.#translations.get(bytes, start, to, to, to, translationOf)
          reader.at = to
          break
        }
        case 0x70:
          direction = this.#small()
          break
        case 0x7a:
          forward = this.#counters()
          break
        case 0x82:
          reverse = this.#counters()
          break
        case 0x88:
          verdict = this.#small()
          break
        case 0xa2:
          tcp = this.#tcp()
          break
        case 0xc2: {
          reader.skip(2)
          while (reader.at < end && bytes[reader.at] === 0xc2 && bytes[reader.at + 1] === 0x01) {
            reader.at += 2
            reader.skip(2)
          }
          observations = this.#hooks.get(bytes, start, reader.at, reader.at, reader.at, observationsOf)
          break
        }
        case 0xd0:
          initiatorInferred = reader.varint() !== 0
          break
        case 0xd8:
          own = reader.varint() !== 0
          break
        case 0xe0:
          endReason = this.#small()
          break
        case 0xe8:
          sequence = reader.varint()
          break
        case 0xf0:
          unseen = this.#small()
          break
        default:
          // Others, and those that may come more than once.
          if ((tag & 7) !== 2 || tag === 0x9a || tag === 0xca) return undefined
          reader.skip(2)
          rest ??= []
          rest.push(start, reader.at)
      }
    }
    if (reader.bad || reader.at !== end) return undefined
    const flow: FlowMessage = {
      id,
      agentId,
      event,
      timeUs,
      startTimeUs,
      endTimeUs,
      nodeName,
      ipVersion,
      protocol,
      source,
      destination,
      service,
      translation,
      direction,
      forward,
      reverse,
      verdict,
      tcp,
      observations,
      initiatorInferred,
      own,
      endReason,
      sequence,
      unseen,
    }
    // Lists of the generated message are empty but for the field that was decoded.
    for (let i = 0; rest !== undefined && i < rest.length; i += 2) {
      const { drop, dns, icmp, tunnel } = Flow.decode(bytes.subarray(rest[i]!, rest[i + 1]!))
      if (drop) flow.drop = drop
      else if (dns) flow.dns = dns
      else if (icmp) flow.icmp = icmp
      else if (tunnel) flow.tunnel = tunnel
      else return undefined
    }
    return flow
  }

  /** A number of a field of 32 bits; larger ones are cut by rules of their own. */
  #small(): number {
    const value = this.#reader.varint()
    if (value > 0x7fffffff) this.#reader.bad = true
    return value
  }

  #text(): string {
    const reader = this.#reader
    const end = reader.length()
    const text = this.#texts.get(reader.bytes, reader.at, end, end, end, textOf)
    reader.at = end
    return text
  }

  /** An end without its port is the same object for all records of it; with one it is a copy that has the port. */
  #endpoint(): EndpointMessage {
    const reader = this.#reader
    const { bytes } = reader
    const end = reader.length()
    const from = reader.at
    let port = 0
    if (reader.is(0x08)) reader.varint()
    if (reader.is(0x12)) reader.at = reader.length()
    const hole = reader.at
    if (reader.is(0x18)) port = this.#small()
    const holeEnd = reader.at
    if (holeEnd > end || reader.bad) {
      reader.bad = true
      return NOBODY
    }
    const shared = this.#ends.get(bytes, from, hole, holeEnd, end, endpointOf)
    // A second port behind the names: nobody writes that.
    if (shared.port !== null) reader.bad = true
    reader.at = end
    if (port === 0) return shared
    const { kind, ip, namespace, pod, workload, nodeName, zone, group, labels, names, process } =
      shared as Whole
    return { kind, ip, port, namespace, pod, workload, nodeName, zone, group, labels, names, process }
  }

  #counters(): CountersMessage {
    const reader = this.#reader
    const end = reader.length()
    let packets: number | null = null
    let bytes: number | null = null
    let totalPackets: number | null = null
    let totalBytes: number | null = null
    if (reader.at < end && reader.is(0x08)) packets = reader.varint()
    if (reader.at < end && reader.is(0x10)) bytes = reader.varint()
    if (reader.at < end && reader.is(0x18)) totalPackets = reader.varint()
    if (reader.at < end && reader.is(0x20)) totalBytes = reader.varint()
    if (reader.at !== end) reader.bad = true
    return { packets, bytes, totalPackets, totalBytes }
  }

  #tcp(): TcpMessage {
    const reader = this.#reader
    const end = reader.length()
    let state: number | null = null
    let flags: TcpMessage['flags'] = null
    let handshakeRttUs: number | null = null
    if (reader.at < end && reader.is(0x08)) state = this.#small()
    if (reader.at < end && reader.is(0x12)) {
      const inner = reader.length()
      let forward: number | null = null
      let reverse: number | null = null
      if (reader.at < inner && reader.is(0x08)) forward = this.#small()
      if (reader.at < inner && reader.is(0x10)) reverse = this.#small()
      if (reader.at !== inner || inner > end) reader.bad = true
      flags = { forward, reverse }
    }
    if (reader.at < end && reader.is(0x18)) handshakeRttUs = this.#small()
    const tcp: TcpMessage = { state, flags, handshakeRttUs }
    if (reader.at === end) return tcp
    // What is behind these is not in every record.
    const behind = Tcp.decode(reader.bytes.subarray(reader.at, end))
    const { smoothedRttUs, retransmits, outOfOrder, zeroWindows, resetBy } = behind
    if (reader.at > end || behind.state || behind.flags || behind.handshakeRttUs) reader.bad = true
    reader.at = end
    return {
      ...tcp,
      ...(smoothedRttUs && { smoothedRttUs }),
      ...(retransmits && { retransmits }),
      ...(outOfOrder && { outOfOrder }),
      ...(zeroWindows && { zeroWindows }),
      ...(resetBy && { resetBy }),
    }
  }
}

type TranslationMessage = NonNullable<FlowMessage['translation']>
type Whole = Required<Omit<EndpointMessage, '$unknowns'>>

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOf(bytes: Uint8Array): string {
  return utf8.decode(bytes)
}

function serviceOf(bytes: Uint8Array): ServiceMessage | null {
  return Flow.decode(bytes).service ?? null
}

function translationOf(bytes: Uint8Array): TranslationMessage | null {
  return Flow.decode(bytes).translation ?? null
}

function observationsOf(bytes: Uint8Array): NonNullable<FlowMessage['observations']> {
  return Flow.decode(bytes).observations
}

/** What is not there is null, as in all that is made here: encoded again, it is left out. */
function endpointOf(bytes: Uint8Array): EndpointMessage {
  const { kind, ip, port, namespace, pod, workload, nodeName, zone, group, labels, names, process } =
    Endpoint.decode(bytes)
  return {
    kind: kind || null,
    ip: ip.length > 0 ? ip : null,
    port: port || null,
    namespace: namespace || null,
    pod: pod || null,
    workload: workload ?? null,
    nodeName: nodeName || null,
    zone: zone || null,
    group: group || null,
    labels,
    names,
    process: process ?? null,
  }
}

const NOBODY: EndpointMessage = Object.freeze({})
