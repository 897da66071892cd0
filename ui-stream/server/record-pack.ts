// What columns do not hold of an encoded record, in as few bytes as its numbers need. Reads the record field by field; a
// record that is not as this server writes them (another's fields, another order) is kept as it is, so that what comes
// back out (record-unpack.ts) is the same to the byte, whatever went in. Knows nothing of chunks.
//
//     mask, [more], id, [start], [end], [forward], [reverse], [tcp], [icmp], [rest]

import { FlowFlag } from '../../agent/capture/flow-batch.js'
import type { Name, ServiceName } from '../../agent/identity/names.js'
import { WireReader } from '../protocol/wire-reader.js'
import type { ByteWriter } from './byte-writer.js'
import type { FlowRows } from './flow-rows.js'
import { endpointTail, serviceParts } from './name-bytes.js'
import type { Place } from './vocabulary.js'

/** Bits of the first byte. */
export const Mask = {
  START: 1,
  END: 2,
  /** Field 12 is there, as names and columns say it. */
  SERVICE: 4,
  /** Field 13 says that the destination is what the service became, and no more. */
  TRANSLATED: 8,
  FORWARD: 16,
  REVERSE: 32,
  TCP: 64,
  /** A second byte follows. */
  MORE: 128,
} as const

/** Bits of the second byte above the end reason's four. */
export const More = {
  REASON: 15,
  INFERRED: 16,
  ICMP: 32,
  /** Fields that are copied as they are: their length, then they, in the order of their numbers. */
  REST: 64,
  /** Nothing else: the record as it is. */
  WHOLE: 128,
} as const

/** Fields of Flow that may come more than once: policies, observations, views. */
const REPEATED: ReadonlySet<number> = new Set([19, 24, 25])
/** Differences of times that are worth writing as such. */
export const MOST_DIFFERENCE = 2 ** 51

/** Where a record says who captured it; bounds of bytes within the record's buffer, 0 and 0 where it does not say. */
export interface PlaceBytes {
  agentStart: number
  agentEnd: number
  nodeStart: number
  nodeEnd: number
  hooksStart: number
  hooksEnd: number
}

/** Packs records one by one; `place` and `pack` are called in turns for each. */
export class RecordPacker implements PlaceBytes {
  agentStart = 0
  agentEnd = 0
  nodeStart = 0
  nodeEnd = 0
  hooksStart = 0
  hooksEnd = 0
  readonly #reader = new WireReader()
  readonly #rest: number[] = []
  readonly #forward = new Float64Array(4)
  readonly #reverse = new Float64Array(4)
  #mask = 0
  #more = 0
  #id = 0
  #start = 0
  #end = 0
  #tcp = 0
  #rtt = 0
  #icmp = 0

  /**
   * Reads a record (`flows` field of StreamMessage, tag and length included). True when columns can stand for the rest of
   * it: the bounds of what makes its place are set then. False when it has to be kept whole.
   */
  read(bytes: Uint8Array, from: number, to: number, rows: FlowRows, row: number, sequence: number): boolean {
    this.agentStart = this.agentEnd = this.nodeStart = this.nodeEnd = this.hooksStart = this.hooksEnd = 0
    this.#mask = this.#more = this.#id = this.#start = this.#end = this.#tcp = this.#rtt = this.#icmp = 0
    this.#rest.length = 0
    const reader = this.#reader
    reader.begin(bytes, from + 1, to)
    if (bytes[from] !== 0x0a || reader.varint() !== to - reader.at) return false
    const { columns } = rows
    let event = 0
    let timeUs = 0
    let version = 0
    let protocol = 0
    let direction = 0
    let verdict = 0
    let own = 0
    let flagsSeen = 0
    let seen = 0
    let sequenceSeen = 0
    let last = 0
    while (reader.at < to && !reader.bad) {
      const start = reader.at
      const tag = reader.varint()
      const field = tag >>> 3
      // Fields in ascending order; only those that are repeated may follow one another.
      if (field < last || (field === last && !REPEATED.has(field))) return false
      last = field
      switch (tag) {
        case 0x08:
          this.#id = reader.positive()
          break
        case 0x12:
          this.agentStart = start
          reader.skip(2)
          this.agentEnd = reader.at
          break
        case 0x18:
          event = reader.positive()
          break
        case 0x20:
          timeUs = reader.positive()
          break
        case 0x28:
          this.#start = reader.positive()
          this.#mask |= Mask.START
          break
        case 0x30:
          this.#end = reader.positive()
          this.#mask |= Mask.END
          break
        case 0x3a:
          this.nodeStart = start
          reader.skip(2)
          this.nodeEnd = reader.at
          break
        case 0x40:
          version = reader.positive()
          break
        case 0x48:
          protocol = reader.positive()
          break
        case 0x52:
          seen |= 1
          if (!this.#endpoint(rows.source[row]!, columns.source, row, version, columns.sourcePort[row]!))
            return false
          break
        case 0x5a:
          seen |= 2
          if (
            !this.#endpoint(
              rows.destination[row]!,
              columns.destination,
              row,
              version,
              columns.destinationPort[row]!,
            )
          )
            return false
          break
        case 0x62:
          if (this.#service(rows.service[row], rows, row, version)) this.#mask |= Mask.SERVICE
          else this.#keep(start)
          break
        case 0x6a:
          if (this.#translation(rows, row, version)) this.#mask |= Mask.TRANSLATED
          else this.#keep(start)
          break
        case 0x70:
          direction = reader.positive()
          break
        case 0x7a:
          if (this.#counters(this.#forward)) this.#mask |= Mask.FORWARD
          else this.#keep(start)
          break
        case 0x82:
          if (this.#counters(this.#reverse)) this.#mask |= Mask.REVERSE
          else this.#keep(start)
          break
        case 0x88:
          verdict = reader.positive()
          break
        case 0xa2:
          if (this.#tcpFields(rows, row)) this.#mask |= Mask.TCP
          else this.#keep(start)
          break
        case 0xb2:
          if (this.#icmpFields()) this.#more |= More.ICMP
          else this.#keep(start)
          break
        case 0xc2:
          if (this.hooksStart === 0) this.hooksStart = start
          reader.skip(2)
          this.hooksEnd = reader.at
          break
        case 0xd0:
          if (reader.varint() !== 1) return false
          this.#more |= More.INFERRED
          break
        case 0xd8:
          own = reader.positive()
          flagsSeen = 1
          break
        case 0xe0: {
          const reason = reader.positive()
          if (reason > More.REASON) return false
          this.#more |= reason
          break
        }
        case 0xe8:
          sequenceSeen = reader.positive()
          break
        default:
          reader.skip(tag & 7)
          this.#keep(start)
      }
    }
    return (
      !reader.bad &&
      reader.at === to &&
      seen === 3 &&
      event === columns.event[row] &&
      timeUs === columns.timeUs[row] &&
      version === columns.ipVersion[row] &&
      protocol === columns.protocol[row] &&
      direction === rows.direction[row] &&
      verdict === columns.verdict[row] &&
      own === flagsSeen &&
      own === ((columns.flags[row]! & FlowFlag.OWN) === 0 ? 0 : 1) &&
      sequenceSeen === sequence &&
      ((this.#mask & Mask.START) === 0 || Math.abs(timeUs - this.#start) < MOST_DIFFERENCE) &&
      ((this.#mask & Mask.END) === 0 || Math.abs(timeUs - this.#end) < MOST_DIFFERENCE)
    )
  }

  /** True when the place says what the record that was read does. */
  isPlace(place: Place, bytes: Uint8Array): boolean {
    const { bytes: known, nodeAt, hooksAt } = place
    return (
      sameBytes(known, 0, nodeAt, bytes, this.agentStart, this.agentEnd) &&
      sameBytes(known, nodeAt, hooksAt, bytes, this.nodeStart, this.nodeEnd) &&
      sameBytes(known, hooksAt, known.length, bytes, this.hooksStart, this.hooksEnd)
    )
  }

  /** The bytes that make the place of the record that was read. */
  placeBytes(bytes: Uint8Array): Pick<Place, 'bytes' | 'nodeAt' | 'hooksAt'> {
    const nodeAt = this.agentEnd - this.agentStart
    const hooksAt = nodeAt + this.nodeEnd - this.nodeStart
    const taken = new Uint8Array(hooksAt + this.hooksEnd - this.hooksStart)
    taken.set(bytes.subarray(this.agentStart, this.agentEnd))
    taken.set(bytes.subarray(this.nodeStart, this.nodeEnd), nodeAt)
    taken.set(bytes.subarray(this.hooksStart, this.hooksEnd), hooksAt)
    return { bytes: taken, nodeAt, hooksAt }
  }

  /** Writes what was read last. */
  write(writer: ByteWriter, bytes: Uint8Array, timeUs: number): void {
    const rest = this.#rest
    let restBytes = 0
    for (let i = 0; i < rest.length; i += 2) restBytes += rest[i + 1]! - rest[i]!
    writer.reserve(128 + restBytes)
    if (restBytes > 0) this.#more |= More.REST
    if (this.#more !== 0) this.#mask |= Mask.MORE
    const mask = this.#mask
    writer.byte(mask)
    if (this.#more !== 0) writer.byte(this.#more)
    writer.varint(this.#id)
    if ((mask & Mask.START) !== 0) writer.varint(zigzag(timeUs - this.#start))
    if ((mask & Mask.END) !== 0) writer.varint(zigzag(timeUs - this.#end))
    if ((mask & Mask.FORWARD) !== 0) writeCounters(writer, this.#forward)
    if ((mask & Mask.REVERSE) !== 0) writeCounters(writer, this.#reverse)
    if ((mask & Mask.TCP) !== 0) {
      writer.byte(this.#tcp)
      writer.varint(this.#rtt)
    }
    if ((this.#more & More.ICMP) !== 0) {
      writer.byte(this.#icmp >>> 8)
      writer.byte(this.#icmp & 255)
    }
    if (restBytes === 0) return
    writer.varint(restBytes)
    for (let i = 0; i < rest.length; i += 2) writer.copy(bytes.subarray(rest[i]!, rest[i + 1]!))
  }

  #keep(start: number): void {
    this.#rest.push(start, this.#reader.at)
  }

  #endpoint(name: Name, words: Uint32Array, row: number, version: number, port: number): boolean {
    const reader = this.#reader
    const end = reader.length()
    if (name.kind !== 0 && (!reader.is(0x08) || reader.varint() !== name.kind)) return false
    if (!this.#address(0x12, words, row, version)) return false
    if (port !== 0 && (!reader.is(0x18) || reader.varint() !== port)) return false
    return reader.matches(endpointTail(name)) && reader.at === end
  }

  #address(tag: number, words: Uint32Array, row: number, version: number): boolean {
    const reader = this.#reader
    if (!reader.is(tag)) return false
    if (version === 4) return reader.is(4) && reader.isWord(words[row * 4 + 3]!)
    if (version !== 6 || !reader.is(16)) return false
    const at = row * 4
    return (
      reader.isWord(words[at]!) &&
      reader.isWord(words[at + 1]!) &&
      reader.isWord(words[at + 2]!) &&
      reader.isWord(words[at + 3]!)
    )
  }

  /** Reads field 12 whole; true when names and columns say it. */
  #service(name: ServiceName | undefined, rows: FlowRows, row: number, version: number): boolean {
    const reader = this.#reader
    const end = reader.length()
    const parts = name === undefined ? undefined : serviceParts(name)
    const port = rows.columns.servicePort[row]!
    const same =
      (parts === undefined || reader.matches(parts.head)) &&
      this.#address(0x2a, rows.columns.service, row, version) &&
      (port === 0 || (reader.is(0x30) && reader.varint() === port)) &&
      (parts === undefined || reader.matches(parts.tail)) &&
      reader.at === end
    reader.at = end
    return same
  }

  #translation(rows: FlowRows, row: number, version: number): boolean {
    const reader = this.#reader
    const end = reader.length()
    const port = rows.columns.destinationPort[row]!
    const same =
      this.#address(0x1a, rows.columns.destination, row, version) &&
      (port === 0 || (reader.is(0x20) && reader.varint() === port)) &&
      reader.at === end
    reader.at = end
    return same
  }

  /** Fields 1 to 4 of Counters, as packets, bytes, and what the totals have more. */
  #counters(into: Float64Array): boolean {
    const reader = this.#reader
    const end = reader.length()
    into.fill(0)
    let same = true
    for (let field = 0, last = 0; reader.at < end && same; last = field) {
      const tag = reader.varint()
      field = tag >>> 3
      if ((tag & 7) !== 0 || field <= last || field > 4) same = false
      else into[field - 1] = reader.positive()
    }
    into[2]! -= into[0]!
    into[3]! -= into[1]!
    same &&= reader.at === end && into[2]! >= 0 && into[3]! >= 0
    reader.at = end
    return same
  }

  #tcpFields(rows: FlowRows, row: number): boolean {
    const reader = this.#reader
    const end = reader.length()
    const forward = rows.columns.tcpFlagsForward[row]!
    const reverse = rows.columns.tcpFlagsReverse[row]!
    let state = 0
    let by = 0
    let rtt = 0
    let same = true
    let flags = false
    for (let last = 0; reader.at < end && same; ) {
      const tag = reader.varint()
      same = tag > last
      last = tag
      if (tag === 0x08) state = reader.positive()
      else if (tag === 0x18) rtt = reader.positive()
      else if (tag === 0x40) by = reader.positive()
      else if (tag === 0x12) {
        flags = true
        const inner = reader.length()
        same &&=
          (forward === 0 || (reader.is(0x08) && reader.varint() === forward)) &&
          (reverse === 0 || (reader.is(0x10) && reader.varint() === reverse)) &&
          reader.at === inner
      } else same = false
    }
    same &&= reader.at === end && flags === ((forward | reverse) !== 0) && state < 16 && by < 16
    this.#tcp = (state << 4) | by
    this.#rtt = rtt
    reader.at = end
    return same
  }

  #icmpFields(): boolean {
    const reader = this.#reader
    const end = reader.length()
    let type = 0
    let code = 0
    if (reader.at < end && reader.is(0x08)) type = reader.positive()
    if (reader.at < end && reader.is(0x10)) code = reader.positive()
    const same = reader.at === end && type < 256 && code < 256
    this.#icmp = (type << 8) | code
    reader.at = end
    return same
  }
}

function writeCounters(writer: ByteWriter, counters: Float64Array): void {
  for (let i = 0; i < 4; i++) writer.varint(counters[i]!)
}

/** Whole numbers of either sign as numbers that are not negative, small ones first. */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1
}

/** What zigzag was made of. */
export function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2
}

function sameBytes(
  known: Uint8Array,
  from: number,
  to: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  if (to - from !== end - start) return false
  for (let i = 0; i < to - from; i++) if (known[from + i] !== bytes[start + i]) return false
  return true
}

/** Writes a record that has to stay as it is. */
export function writeWhole(writer: ByteWriter, bytes: Uint8Array, from: number, to: number): void {
  writer.reserve(2 + to - from)
  writer.byte(Mask.MORE)
  writer.byte(More.WHOLE)
  writer.copy(bytes.subarray(from, to))
}
