// The past of all agents as one: each is asked for its own, and what they say is merged by time and joined, at the pace
// of whoever reads. Keeps no more than one frame of each agent, and the last N where that was asked for.

import type { ConnectOptions } from '../client/feed.js'
import { type FlowMessage, type LostMessage, Stage, Unit } from '../protocol/messages.js'
import type { Subscription } from '../protocol/subscription.js'
import { Join } from './join.js'
import type { Upstream } from './upstream.js'

/** Flows that are handed on at once. */
const CHUNK = 1024
/** Most of `last` that is kept in memory; more begins later than asked for. */
const MOST_LAST = 100_000
/** An agent that says nothing for so long is left out, and that is told. */
const SILENCE_MS = 10_000

/** One piece, in the order of time. */
export interface PastPiece {
  readonly flows: readonly FlowMessage[]
  readonly lost: readonly LostMessage[]
}

/** `joined`: one record of what two nodes tell of one connection. Ends when `signal` aborts. */
export async function* readPast(
  upstreams: readonly Upstream[],
  subscription: Subscription,
  joined: boolean,
  signal: AbortSignal,
): AsyncGenerator<PastPiece, void, void> {
  const { last, sinceUs = 0, untilUs = Number.POSITIVE_INFINITY } = subscription
  const lost: LostMessage[] = []
  for (const { connected, nodeName } of upstreams) if (!connected) lost.push(missing(nodeName, sinceUs))
  const there = upstreams.filter(({ connected }) => connected)
  const sources = there.map((upstream) => {
    const source = new Source(upstream, optionsOf(subscription, signal))
    return { source, missing: () => lost.push(missing(upstream.nodeName, sinceUs)) }
  })
  const pieces = mergeByTime(sources, (us) => us >= sinceUs && us <= untilUs)
  const join = joined ? new Join() : undefined
  const kept: FlowMessage[] = []
  const most = last === undefined ? 0 : Math.min(last, MOST_LAST)
  for await (const piece of pieces) {
    const flows = join === undefined ? piece : joinPiece(join, piece)
    if (last === undefined) yield { flows, lost: lost.splice(0) }
    else {
      kept.push(...flows)
      if (kept.length > 2 * most + CHUNK) kept.splice(0, kept.length - most)
    }
    if (signal.aborted) return
  }
  const rest = join?.end() ?? []
  kept.push(...rest)
  if (last === undefined) yield { flows: rest, lost: lost.splice(0) }
  else {
    const newest = most === 0 ? [] : kept.slice(-most)
    yield { flows: [], lost: lost.splice(0) }
    for (let i = 0; i < newest.length; i += CHUNK) yield { flows: newest.slice(i, i + CHUNK), lost: [] }
  }
}

function joinPiece(join: Join, piece: readonly FlowMessage[]): FlowMessage[] {
  for (const flow of piece) join.announce(flow, (flow.timeUs ?? 0) / 1000)
  const joined = piece.flatMap((flow) => join.join(flow, (flow.timeUs ?? 0) / 1000))
  return [...joined, ...join.late((piece.at(-1)?.timeUs ?? 0) / 1000)]
}

function optionsOf(subscription: Subscription, signal: AbortSignal): Partial<ConnectOptions> {
  const { filters, expression, last, sinceUs, untilUs, labels, own } = subscription
  return {
    filters,
    signal,
    labels: labels === true,
    own: own === true,
    ...(expression !== undefined && { expression }),
    ...(last !== undefined && { last: Math.min(last, MOST_LAST) }),
    // Dates have milliseconds; what lies outside by less is left out here.
    ...(sinceUs !== undefined && { since: new Date(Math.floor(sinceUs / 1000)) }),
    ...(untilUs !== undefined && { until: new Date(Math.ceil(untilUs / 1000)) }),
  }
}

function missing(nodeName: string, sinceUs: number): LostMessage {
  return {
    nodeName,
    stage: Stage.STAGE_GATEWAY,
    unit: Unit.UNIT_RECORDS,
    count: 0,
    sinceUs,
    untilUs: Date.now() * 1000,
  }
}

/** The flows of one agent, one frame ahead. */
class Source {
  readonly #frames: AsyncGenerator<readonly FlowMessage[], void, void>
  #frame: readonly FlowMessage[] = []
  #at = 0

  constructor(upstream: Upstream, options: Partial<ConnectOptions>) {
    this.#frames = upstream.past(options)
  }

  get head(): FlowMessage | undefined {
    return this.#frame[this.#at]
  }

  /** True when there is a head; false at the end. Rejects when the agent cannot be read, or is silent. */
  async fill(): Promise<boolean> {
    if (this.#at < this.#frame.length) return true
    let timer: NodeJS.Timeout | undefined
    const silent = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error('the agent is silent')), SILENCE_MS)
    })
    try {
      const next = await Promise.race([this.#frames.next(), silent])
      if (next.done) return false
      this.#frame = next.value
      this.#at = 0
      return true
    } finally {
      clearTimeout(timer)
    }
  }

  take(): FlowMessage {
    return this.#frame[this.#at++]!
  }

  close(): void {
    void this.#frames.return().catch(() => undefined)
  }
}

async function* mergeByTime(
  sources: readonly { readonly source: Source; readonly missing: () => void }[],
  wanted: (us: number) => boolean,
): AsyncGenerator<FlowMessage[], void, void> {
  let open = [...sources]
  const fill = async (each: (typeof open)[number]): Promise<void> => {
    let more = false
    try {
      more = await each.source.fill()
    } catch {
      each.missing()
    }
    if (!more) {
      open = open.filter((other) => other !== each)
      each.source.close()
    }
  }
  try {
    await Promise.all(open.map(fill))
    let piece: FlowMessage[] = []
    while (open.length > 0) {
      let first = open[0]!
      for (const each of open) {
        if ((each.source.head?.timeUs ?? 0) < (first.source.head?.timeUs ?? 0)) first = each
      }
      const flow = first.source.take()
      if (wanted(flow.timeUs ?? 0)) piece.push(flow)
      if (piece.length >= CHUNK) {
        yield piece
        piece = []
      }
      if (first.source.head === undefined) await fill(first)
    }
    yield piece
  } finally {
    for (const { source } of open) source.close()
  }
}
