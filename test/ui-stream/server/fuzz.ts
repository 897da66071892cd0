// Hostile input to both directions of the stream, from a seed. Each case damages something whole or makes something up,
// and hands it to the code that would read it; a case that takes too long or ends in anything but an answer or an error of
// this project's own is a failure.

import { VethflowError } from '../../../agent/errors.js'
import { parseCursor } from '../../../ui-stream/protocol/cursor.js'
import { frameToJson } from '../../../ui-stream/protocol/frame-json.js'
import { ClientMessage, StreamMessage } from '../../../ui-stream/protocol/messages.js'
import { formatQuery, parseQuery, type Subscription } from '../../../ui-stream/protocol/subscription.js'
import { readClientMessage } from '../../../ui-stream/server/client-message.js'
import { FlowEncoder } from '../../../ui-stream/server/encode.js'
import { FlowFilter } from '../../../ui-stream/server/filter.js'
import { FlowImporter } from '../../../ui-stream/server/from-proto.js'
import { History } from '../../../ui-stream/server/history.js'
import { hookInterface, Random, randomBatch } from './corpus.js'

const NOW = 1_790_000_000_000
const LIMITS = { scan: 256, records: 16 }

const QUERIES = [
  'from-pod=default/web&port=80&not.namespace=kube-system',
  'label=app in (web, api),tier!=cache&ip=10.0.0.0/8&ip=fd00::/8',
  'dns=*.example.com&interface=veth*&tcp-flags=syn,ack&verdict=dropped&drop-reason=NO_SOCKET',
  'last=100&since=5m&until=2026-12-01T00:00:00Z&cursor=run1:17&follow=true&labels=true&own=1&status=',
  'from-service=shop/web&to-service=web&workload=Deployment/web&node=n1&direction=egress&event=closed',
  'filter=source.port == 80.0 && source.pod.startsWith("w")',
]
const EXPRESSIONS = [
  'source.namespace == "shop" && destination.port in [80, 443]',
  'destination.names.exists(n, n.endsWith(".com")) || !has(service.name)',
  'source.pod.matches("^web-[0-9]+(a|b)*$") ? forward.bytes > 10.0 : reverse.bytes <= 5.5',
  'time > timestamp("2026-01-01T00:00:00Z") && size(source.pod) == 5 && "syn" in tcp.flags.forward',
  '[1, 2, 3].all(x, x > 0) && {"a": 1}["a"] == 1 && dyn(id) * 2.0 - 1.0 > double("3")',
]
const TOKENS = [
  ...'()[]{}.,:?!&|<>=+-*/%"\'\\ \n0123456789abxyz_'.split(''),
  ...' true false null has( .all(x, .exists(y, .map(z, .matches(" .size() source destination.port names forward.bytes timestamp( duration( && || == != in 1.0 9999999999999999999 1e308 "\\u0000"'.split(
    ' ',
  ),
]

/** How one case went. */
export interface FuzzResult {
  readonly cases: number
  /** Cases that were answered, and those that were refused with an error of our own. */
  accepted: number
  refused: number
  /** Of one case, ms of CPU. */
  slowest: number
  slowestCase: string
}

class Fuzz {
  /** Of one case: made anew for each, so that a case can be repeated. */
  random: Random
  readonly #encoder = new FlowEncoder({ nodeName: 'node-1', agentId: 'run1', hookInterface })
  readonly #importer = new FlowImporter()
  readonly #history = new History(2 * 1024 * 1024)
  readonly #everything = FlowFilter.compile({ filters: [], own: true })

  constructor(seed: number) {
    this.random = new Random(seed)
    const { batch, rows } = this.#encoder.encode(randomBatch(this.random, 300), 1)
    this.#history.push(batch, rows)
  }

  /** What a client may send, by query. */
  query(): string {
    const text = this.#damagedText(this.random.pick(QUERIES), '&=%.,/:*?()[] ')
    const subscription = parseQuery(new URLSearchParams(text), NOW)
    this.#ask(subscription)
    // What was understood can be said again.
    parseQuery(formatQuery(subscription), NOW)
    return text
  }

  /** The same in a message of JSON. */
  json(): string {
    const whole = JSON.stringify({ subscribe: this.#subscribeJson() })
    const text = this.#damagedText(whole, '{}[]",:\\0e-')
    this.#ask(readClientMessage(Buffer.from(text), false, true, NOW))
    return text
  }

  /** The same in a message of protobuf. */
  protobuf(): string {
    const filters = parseQuery(new URLSearchParams(this.random.pick(QUERIES)), NOW).filters
    const subscribe = {
      filters: filters.map(({ name, values, negate }) => ({ name, values: [...values], negate })),
      last: this.random.below(1e6),
      sinceUs: this.random.below(1e9),
      cursor: 'run1:5',
    }
    const bytes = this.#damagedBytes(ClientMessage.encode({ subscribe }).finish())
    this.#ask(readClientMessage(Buffer.from(bytes), true, false, NOW))
    return Buffer.from(bytes).toString('hex')
  }

  /** A text that is to be a cursor. */
  cursor(): string {
    const text = this.#damagedText(this.random.pick(['run1:17', 'a:9007199254740991', 'x:0', '::']), ':0 9\n')
    const cursor = parseCursor(text)
    if (cursor !== undefined && !Number.isSafeInteger(cursor.sequence)) throw new Error(`read ${text}`)
    return text
  }

  /** A text that is to be an expression. */
  expression(): string {
    let text = this.random.pick(EXPRESSIONS)
    const edits = this.random.below(6)
    for (let i = 0; i < edits; i++) {
      const at = this.random.below(text.length + 1)
      const cut = this.random.chance(0.4) ? this.random.below(12) : 0
      text = text.slice(0, at) + this.random.pick(TOKENS) + text.slice(at + cut)
    }
    if (this.random.chance(0.02)) text = text.repeat(1 + this.random.below(40))
    const filter = FlowFilter.compile({ filters: [], own: true, expression: text })
    const from = this.#history.firstSequence
    const { batch } = this.#history.read(from, from + 5, this.#everything, false, LIMITS)
    filter.expression!.pick(batch!, 0, batch!.count)
    return text
  }

  /** What a server may send: to a client, and to a gateway, which keeps it and filters it. */
  frame(): string {
    const { batch } = this.#encoder.encode(randomBatch(this.random, 1 + this.random.below(3)), 1)
    const tail = StreamMessage.encode({
      lost: [{ nodeName: 'n', stage: 4, unit: 1, count: 3 }],
      history: { beginsUs: 5, records: 7 },
      cursor: 'run1:3',
    }).finish()
    const bytes = this.#damagedBytes(Buffer.concat([batch.bytes, tail]))
    const message = decoded(bytes)
    JSON.stringify(frameToJson(message))
    const flows = message.flows ?? []
    if (flows.length === 0) return ''
    const { batch: again, rows } = this.#importer.encode(flows, this.#history.nextSequence)
    this.#history.push(again, rows)
    const next = this.#history.nextSequence
    const back = this.#history.read(next - again.count, next, this.#everything, true, LIMITS).batch
    if (back === undefined) throw new Error('history has lost what it was just given')
    return Buffer.from(bytes).toString('hex')
  }

  get historyBytes(): number {
    return this.#history.bytes
  }

  #ask(subscription: Subscription): void {
    const filter = FlowFilter.compile(subscription)
    this.#history.read(this.#history.firstSequence, this.#history.nextSequence, filter, false, LIMITS)
  }

  #subscribeJson(): Record<string, unknown> {
    const { random } = this
    return {
      filters: [
        { name: random.pick(['from-pod', 'label', 'ip']), values: ['a/b', '10.0.0.1'], negate: true },
      ],
      last: random.below(1e9),
      since: '5m',
      cursor: 'a:1',
      follow: random.chance(0.5),
      expression: random.chance(0.3) ? random.pick(EXPRESSIONS) : '',
    }
  }

  #damagedText(text: string, marks: string): string {
    const { random } = this
    let result = text
    const edits = random.below(5)
    for (let i = 0; i < edits; i++) {
      const at = random.below(result.length + 1)
      const piece = random.chance(0.5)
        ? random.pick([...marks])
        : random.chance(0.5)
          ? String.fromCharCode(random.below(0x3000))
          : result.slice(at, at + random.below(20))
      result = result.slice(0, at) + piece + result.slice(at + random.below(4))
    }
    return random.chance(0.01) ? result.repeat(1 + random.below(60)) : result
  }

  #damagedBytes(bytes: Uint8Array): Uint8Array {
    const { random } = this
    let result = Uint8Array.from(bytes)
    const edits = random.below(4)
    for (let i = 0; i < edits && result.length > 0; i++) {
      const at = random.below(result.length)
      const kind = random.below(4)
      if (kind === 0) result[at] = random.below(256)
      else if (kind === 1) result[at]! ^= 1 << random.below(8)
      else if (kind === 2) result = result.slice(0, at)
      else {
        const longer = new Uint8Array(result.length + 3)
        longer.set(result.subarray(0, at))
        for (let j = 0; j < 3; j++) longer[at + j] = random.below(256)
        longer.set(result.subarray(at), at + 3)
        result = longer
      }
    }
    return result
  }
}

/** What a client's decoder says of it; throws what the feed turns into PROTOCOL. */
function decoded(bytes: Uint8Array): ReturnType<typeof StreamMessage.decode> {
  try {
    return StreamMessage.decode(bytes)
  } catch (cause) {
    throw new VethflowError('PROTOCOL', 'no StreamMessage', { cause })
  }
}

/** CPU time from which a case is tried again. */
const SLOW_MS = 25

const KINDS = ['query', 'json', 'protobuf', 'cursor', 'expression', 'frame'] as const

/** Runs so many cases. Throws with the case's number and kind on anything but an answer or an error of our own. */
export function fuzz(cases: number, seed: number): FuzzResult & { readonly historyBytes: number } {
  const fuzzer = new Fuzz(seed)
  const result: FuzzResult = { cases, accepted: 0, refused: 0, slowest: 0, slowestCase: '' }
  for (let i = 0; i < cases; i++) {
    const kind = KINDS[i % KINDS.length]!
    const once = (): number => {
      fuzzer.random = new Random(seed * 1_000_003 + i)
      const began = process.cpuUsage()
      try {
        fuzzer[kind]()
        result.accepted++
      } catch (error) {
        if (!(error instanceof VethflowError)) {
          throw new Error(`case ${i} of seed ${seed} (${kind})`, { cause: error })
        }
        result.refused++
      }
      const { user, system } = process.cpuUsage(began)
      return (user + system) / 1000
    }
    let ms = once()
    // A collection of garbage, or a neighbour on the machine, may have fallen into it: what is slow is slow again.
    for (let again = 0; ms > SLOW_MS && again < 3; again++) {
      const { accepted, refused } = result
      ms = Math.min(ms, once())
      result.accepted = accepted
      result.refused = refused
    }
    if (ms > result.slowest) {
      result.slowest = ms
      result.slowestCase = `${i} (${kind})`
    }
  }
  return { ...result, historyBytes: fuzzer.historyBytes }
}
