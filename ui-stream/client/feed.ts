// The feed: one stream of messages over as many connections as it takes. Knows the protocol, not the platform.

import { ExitCode, usageError, VethflowError } from '../../agent/errors.js'
import { FrameDecoder } from '../protocol/decode-frame.js'
import type { FilterSpec } from '../protocol/filters.js'
import {
  ClientMessage,
  type ErrorMessage,
  type LostMessage,
  Stage,
  type StreamMessageMessage,
  Unit,
} from '../protocol/messages.js'
import { CloseCode, ErrorCode, Subprotocol } from '../protocol/names.js'
import { follows, formatQuery, type Subscription, toSubscribeMessage } from '../protocol/subscription.js'
import { parseMoment } from '../protocol/time.js'
import { backoffMs, wait } from './backoff.js'
import type { FeedControl } from './feed-control.js'
import { Line } from './line.js'
import type { FeedMessage } from './messages.js'
import { flowsUrl, serverUrl } from './server-url.js'
import type { ClientIdentity, ConnectionEnd, Dial } from './transport.js'

/** What to read, and how. */
export interface ConnectOptions {
  /** `ws://host:port`, also wss, http, https or `host:port`. */
  readonly server: string
  readonly filters?: readonly FilterSpec[]
  /** CEL, and'ed to the filters. */
  readonly expression?: string
  /** This many of the newest flows of history. */
  readonly last?: number
  /** A duration before now by the server's clock (`5m`), RFC 3339, or a date. */
  readonly since?: string | Date
  readonly until?: string | Date
  /** Only what comes behind this place. */
  readonly cursor?: string
  /** Go on after history. Taken for granted when none of last, since and until is given. */
  readonly follow?: boolean
  /** With the labels of endpoints. */
  readonly labels?: boolean
  /** With vethflow's own connections. */
  readonly own?: boolean
  /** With Status messages. */
  readonly status?: boolean
  /** With a message that says where history begins. */
  readonly history?: boolean
  /** Have frames compressed: about a tenth of the bytes, for some work at both ends. */
  readonly compress?: boolean
  /** Bearer token; a function is asked before each connection, since tokens expire. */
  readonly token?: string | (() => string | undefined)
  /** PEM of the authority that signed the server's certificate (Node only). */
  readonly ca?: string | (() => string)
  /** Certificate and key to show (Node only); a function is asked before each connection, since they expire. */
  readonly identity?: ClientIdentity | (() => ClientIdentity)
  /** The name in the server's certificate, where `server` is an address (Node only). */
  readonly serverName?: string
  /** Connect again when the connection breaks (default true). A request that only reads history is not repeated. */
  readonly reconnect?: boolean
  /** Throw when the very first connection cannot be made, also with `reconnect` (default false). */
  readonly failFirst?: boolean
  /** Longest wait between two tries, ms (default 15,000). */
  readonly maxRetryMs?: number
  /** Changes what is asked for while the feed runs. */
  readonly control?: FeedControl
  /** Ends the feed; the iterator then is done, without an error. */
  readonly signal?: AbortSignal
}

/** Connections that stood this long begin anew with short waits. */
const SETTLED_MS = 10_000

/**
 * Reads a stream until what was asked for has come, `signal` says so, or an error: then throws a VethflowError with code
 * UNREACHABLE (no connection, and no more tries), UNAUTHORIZED, REFUSED or the server's own code.
 */
export async function* feed(dial: Dial, options: ConnectOptions): AsyncGenerator<FeedMessage, void, void> {
  const base = serverUrl(options.server)
  const server = `${base.protocol}//${base.host}${base.pathname.replace(/\/$/, '')}`
  let subscription = subscriptionOf(options)
  const endless = follows(subscription)
  let open: Line | undefined
  /** Subscriptions that were sent and not answered; until then flows are still those of the one before. */
  let unanswered = 0
  const { signal } = options
  let cursor = options.cursor
  const decoder = new FrameDecoder()
  let attempt = 0
  /** When the last connection that stood ended, by this machine's clock. */
  let brokenAtUs: number | undefined
  /** When the last flow that came was made. */
  let latestUs = 0

  const ask = (line: Line): void => {
    unanswered++
    const { last: _last, untilUs: _until, ...rest } = subscription
    const subscribe = toSubscribeMessage({
      ...rest,
      follow: true,
      history: true,
      ...(cursor !== undefined && { cursor }),
    })
    line.send(ClientMessage.encode({ subscribe }).finish())
  }
  options.control?.listen((change) => {
    subscription = { ...subscription, ...change }
    if (open !== undefined) ask(open)
  })

  for (;;) {
    if (signal?.aborted) return
    const resumes = brokenAtUs !== undefined
    const asked = subscription
    const line = new Line(dial, {
      url: urlOf(base, subscription, options, cursor, resumes),
      subprotocol: options.compress === true ? Subprotocol.DEFLATE : Subprotocol.PROTOBUF,
      token: typeof options.token === 'function' ? options.token() : options.token,
      ca: typeof options.ca === 'function' ? options.ca() : options.ca,
      serverName: options.serverName,
      identity: typeof options.identity === 'function' ? options.identity() : options.identity,
    })
    let openedAtMs: number | undefined
    let end: ConnectionEnd | undefined
    let refusal: ErrorMessage | undefined
    /** A cursor was given, and whether it still leads somewhere has not been seen. */
    let unsure = cursor !== undefined
    try {
      while (end === undefined) {
        const item = await line.next(signal)
        if (item === undefined) return
        if (item.type === 'opened') {
          openedAtMs = Date.now()
          open = line
          unanswered = 0
          if (asked !== subscription) ask(line)
          yield { type: 'connected', server, resumed: resumes && cursor !== undefined }
          if (brokenAtUs !== undefined && cursor === undefined) {
            yield gap('nothing had come yet that the stream could be resumed behind', brokenAtUs)
          }
        } else if (item.type === 'closed') end = item.end
        else if (item.type === 'dropped') yield ownLoss(item.flows)
        else {
          const message = decode(decoder, item.bytes, server)
          if (unanswered > 0) {
            if (message.history || message.errors?.length) unanswered--
            // They come again, if they are still wanted: the server reads on behind the cursor it was given.
            yield* parts({ ...message, flows: [], history: null, cursor: null }, undefined)
            continue
          }
          const next = message.cursor ?? ''
          const untold = unsure ? message.lost?.find(({ count }) => !count) : undefined
          const anew = unsure && next !== '' && runOf(next) !== runOf(cursor!)
          if (untold !== undefined || anew) {
            unsure = false
            const untilUs = untold?.untilUs || Date.now() * 1000
            yield gap('the server was started anew', latestUs || brokenAtUs || 0, untilUs)
          }
          if (next !== '') {
            // All frames of a run carry its cursors: its gap is told once.
            cursor = next
            unsure = false
            brokenAtUs = undefined
            latestUs = message.flows?.at(-1)?.timeUs ?? latestUs
          }
          refusal = message.errors?.[0] ?? refusal
          yield* parts(message, untold)
        }
      }
    } finally {
      open = undefined
      line.close()
    }

    if (openedAtMs !== undefined && end.code === CloseCode.DONE) return
    const failure = failureOf(end, refusal, server)
    const settled = openedAtMs !== undefined
    const again =
      options.reconnect !== false &&
      failure.again &&
      (settled || brokenAtUs !== undefined || options.failFirst !== true) &&
      (endless || !settled)
    if (!again) throw failure.error
    if (openedAtMs !== undefined) {
      brokenAtUs ??= Date.now() * 1000
      if (Date.now() - openedAtMs > SETTLED_MS) attempt = 0
    }
    attempt++
    const retryInMs = backoffMs(attempt, options.maxRetryMs)
    yield { type: 'disconnected', server, reason: failure.reason, retryInMs }
    await wait(retryInMs, signal)
  }
}

function subscriptionOf(options: ConnectOptions): Subscription {
  const { filters, expression, last, follow, labels, own, status, history, cursor } = options
  const sinceUs = moment('since', options.since)
  const untilUs = moment('until', options.until)
  return {
    filters: filters ?? [],
    ...(expression !== undefined && { expression }),
    ...(last !== undefined && { last }),
    ...(sinceUs !== undefined && { sinceUs }),
    ...(untilUs !== undefined && { untilUs }),
    ...(cursor !== undefined && { cursor }),
    ...(follow !== undefined && { follow }),
    ...(labels === true && { labels }),
    ...(own === true && { own }),
    ...(status === true && { status }),
    ...(history === true && { history }),
  }
}

function moment(name: string, value: string | Date | undefined): number | undefined {
  if (value === undefined) return undefined
  const us = typeof value === 'string' ? parseMoment(value, Date.now()) : value.getTime() * 1000
  if (us === undefined || Number.isNaN(us)) {
    throw usageError(`${name} takes a duration before now as in 5m, or a time as in 2026-01-31T12:00:00Z`)
  }
  return us
}

function urlOf(
  base: URL,
  subscription: Subscription,
  options: ConnectOptions,
  cursor: string | undefined,
  resumes: boolean,
): URL {
  const url = flowsUrl(base)
  const { last, sinceUs, cursor: _first, ...rest } = subscription
  // What of history was asked for at first has come already when a stream is resumed behind a flow.
  const behind = resumes && cursor !== undefined
  const query = formatQuery({
    ...rest,
    ...(!behind && last !== undefined && { last }),
    ...(!behind && sinceUs !== undefined && { sinceUs }),
    ...(cursor !== undefined && { cursor }),
    ...(behind && { follow: true }),
  })
  // Durations go by the server's clock.
  if (!behind && typeof options.since === 'string') query.set('since', options.since)
  if (!resumes && typeof options.until === 'string') query.set('until', options.until)
  url.search = query.toString()
  return url
}

function decode(decoder: FrameDecoder, bytes: Uint8Array, server: string): StreamMessageMessage {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new VethflowError('PROTOCOL', `${server} sent a frame that is no vethflow.v1.StreamMessage`, {
      cause,
    })
  }
}

/** What a frame says, but for the loss that was told as a gap. */
function* parts(
  message: StreamMessageMessage,
  gapLoss: LostMessage | undefined,
): Generator<FeedMessage, void, void> {
  if (message.history) yield { type: 'history', history: message.history }
  for (const error of message.errors ?? []) yield { type: 'error', error }
  for (const status of message.status ?? []) yield { type: 'status', status, cursor: message.cursor ?? '' }
  for (const lost of message.lost ?? []) if (lost !== gapLoss) yield { type: 'lost', lost }
  const flows = message.flows ?? []
  if (flows.length > 0) yield { type: 'flows', flows, cursor: message.cursor ?? '' }
}

function ownLoss(count: number): FeedMessage {
  const nowUs = Date.now() * 1000
  return {
    type: 'lost',
    lost: { stage: Stage.STAGE_CLIENT, unit: Unit.UNIT_RECORDS, count, sinceUs: nowUs, untilUs: nowUs },
  }
}

function gap(reason: string, sinceUs: number, untilUs = Date.now() * 1000): FeedMessage {
  return { type: 'gap', reason, sinceUs, untilUs }
}

/** The part of a cursor that says which run of which server it is of. */
function runOf(cursor: string): string {
  return cursor.slice(0, cursor.lastIndexOf(':'))
}

interface Failure {
  readonly again: boolean
  readonly reason: string
  readonly error: VethflowError
}

function failureOf(end: ConnectionEnd, refusal: ErrorMessage | undefined, server: string): Failure {
  const { httpStatus, code } = end
  if (refusal?.code === ErrorCode.ACCESS_REVOKED) {
    // Connecting again shows what is left, if anything is.
    const reason = refusal.message || 'access was revoked'
    const error = new VethflowError(ErrorCode.ACCESS_REVOKED, `${server}: ${reason}`, {
      exitCode: ExitCode.NO_PERMISSION,
    })
    return { again: true, reason, error }
  }
  if (refusal !== undefined && (code === CloseCode.POLICY || code === CloseCode.PROTOCOL_ERROR)) {
    const message = refusal.message || 'the server refused what was asked'
    const error = new VethflowError(refusal.code || 'REFUSED', message, { exitCode: ExitCode.USAGE })
    return { again: false, reason: message, error }
  }
  if (httpStatus === 401 || httpStatus === 403) {
    const error = new VethflowError('UNAUTHORIZED', `${server} does not let you in: ${end.reason}`, {
      exitCode: ExitCode.NO_PERMISSION,
      hint: 'Give a token that it accepts, with --token-file or VETHFLOW_TOKEN',
    })
    return { again: false, reason: error.message, error }
  }
  const reason = causeText(end.cause) ?? (end.reason || closeText(code))
  const exitCode = ExitCode.UNAVAILABLE
  const refused = httpStatus !== undefined && httpStatus >= 400 && httpStatus < 500 && httpStatus !== 429
  if (refused || code === CloseCode.POLICY || code === CloseCode.PROTOCOL_ERROR || code === 1003) {
    const error = new VethflowError('REFUSED', `${server} refused: ${reason}`, { exitCode })
    return { again: false, reason, error }
  }
  const error = new VethflowError('UNREACHABLE', `Cannot read flows from ${server}: ${reason}`, {
    exitCode,
    hint: 'See that an agent or a gateway runs there, or name another with --server',
  })
  return { again: !isTlsFailure(end.cause), reason, error }
}

function closeText(code: number): string {
  if (code === CloseCode.GOING_AWAY) return 'the server stops'
  if (code === CloseCode.TRY_LATER) return 'the server has too many clients'
  return code === 1006 ? 'the connection broke' : `the server closed the connection (${code})`
}

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name cannot be resolved now',
  ETIMEDOUT: 'no answer in time',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
}

function codeOf(cause: unknown): string {
  return typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : ''
}

function causeText(cause: unknown): string | undefined {
  if (cause === undefined) return undefined
  // Node tries several addresses of a host and tells all failures in one AggregateError without a message.
  const inner = cause instanceof AggregateError ? cause.errors[0] : cause
  return (
    CAUSES[codeOf(cause)] ?? CAUSES[codeOf(inner)] ?? (inner instanceof Error ? inner.message : String(inner))
  )
}

/** A certificate that is not trusted now will not be on the next try. */
function isTlsFailure(cause: unknown): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS|ERR_SSL|EPROTO|SIGNATURE/.test(codeOf(cause))
}
