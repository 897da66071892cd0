// `vethflow tail`: reads the feed, prints each record as one line, and says at the end what was shown and what was lost.

import { connect } from '../client/index.js'
import type { FeedMessage } from '../client/messages.js'
import { cursorOfFlow } from '../protocol/cursor.js'
import { flowToJson, lostToJson } from '../protocol/json.js'
import type { FlowMessage } from '../protocol/messages.js'
import { type Paint, paintFor } from './colour.js'
import { compactFormat, compactHeader, LEAST_COLUMNS } from './compact.js'
import { parseTailConfig, type TailConfig } from './flags.js'
import { connectionText, errorText, lostText, Tally } from './notices.js'
import { LineOutput } from './output.js'
import { safeJson } from './text.js'
import { wideFormat } from './wide.js'

/** Streams and surroundings of the command; the process's own unless a test says otherwise. */
export interface TailSurroundings {
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  readonly env: Readonly<Record<string, string | undefined>>
  /** Ends the tail as Ctrl-C does. */
  readonly signal: AbortSignal
}

/** Runs `vethflow tail`. Resolves with the exit code; throws a VethflowError for what the user has to know. */
export async function runTail(argv: readonly string[], surroundings: TailSurroundings): Promise<number> {
  const config = parseTailConfig(argv, surroundings.env)
  const { stdout, stderr, env } = surroundings
  const stop = new AbortController()
  const signal = AbortSignal.any([surroundings.signal, stop.signal])
  const out = new LineOutput(stdout, () => stop.abort())
  const toTerminal = stdout.isTTY === true
  const notices = new LineOutput(stderr, () => undefined)
  const printer = new Printer(config, out, notices, {
    paint: paintFor(config.colour, toTerminal, env),
    noticePaint: paintFor(config.colour, stderr.isTTY === true, env),
    columns: () => (toTerminal ? stdout.columns : LEAST_COLUMNS),
    noticesInPlace: toTerminal && config.output !== 'json',
    header: toTerminal && config.output === 'compact',
  })
  stdout.on('resize', () => printer.resized())
  try {
    const feed = connect({
      server: config.server,
      filters: config.filters,
      ...(config.token !== undefined && { token: config.token }),
      ...(config.ca !== undefined && { ca: config.ca }),
      ...(config.last !== undefined && { last: config.last }),
      ...(config.since !== undefined && { since: config.since }),
      ...(config.until !== undefined && { until: config.until }),
      ...(config.follow !== undefined && { follow: config.follow }),
      own: config.own,
      labels: config.labels,
      reconnect: config.reconnect,
      failFirst: true,
      signal,
    })
    for await (const message of feed) {
      printer.take(message)
      if (out.full) await out.drained(signal)
    }
  } finally {
    await out.end(1000)
    if (printer.connected && !out.closed) {
      // Behind the ^C that the terminal shows.
      if (stderr.isTTY === true && surroundings.signal.aborted) notices.write('')
      notices.write(printer.tally.summary())
    }
    await notices.end(1000)
  }
  return 0
}

interface PrinterSettings {
  readonly paint: Paint
  readonly noticePaint: Paint
  /** Of the terminal, now. */
  readonly columns: () => number
  /** Notices go between the flows on stdout; otherwise to stderr. */
  readonly noticesInPlace: boolean
  /** Names the columns once a connection stands. */
  readonly header: boolean
}

/** Turns messages into lines. */
class Printer {
  readonly tally = new Tally()
  readonly #config: TailConfig
  readonly #out: LineOutput
  readonly #err: LineOutput
  readonly #settings: PrinterSettings
  #format: (flow: FlowMessage) => string
  /** True once a connection stood: before that there is nothing to sum up. */
  connected = false

  constructor(config: TailConfig, out: LineOutput, err: LineOutput, settings: PrinterSettings) {
    this.#config = config
    this.#out = out
    this.#err = err
    this.#settings = settings
    this.#format = this.#chooseFormat()
  }

  /** Lays lines out anew for the terminal's new width. */
  resized(): void {
    this.#format = this.#chooseFormat()
  }

  take(message: FeedMessage): void {
    const json = this.#config.output === 'json'
    switch (message.type) {
      case 'flows':
        for (const flow of message.flows) this.#flow(flow, message.cursor)
        break
      case 'lost':
        this.tally.lost(message.lost)
        if (json) this.#json({ lost: lostToJson(message.lost) })
        else this.#notice(lostText(message.lost))
        break
      case 'error': {
        const { code, message: text } = message.error
        if (json) this.#json({ error: { code: code ?? '', message: text ?? '' } })
        else this.#notice(errorText(message.error))
        break
      }
      case 'status':
        break
      default: {
        if (message.type === 'gap') this.tally.gaps++
        const text = connectionText(message, !this.connected)
        if (message.type === 'connected') this.#greet()
        if (text !== undefined) this.#notice(text)
      }
    }
  }

  #greet(): void {
    const { header, paint, columns } = this.#settings
    if (!this.connected && header) this.#out.write(paint('bold', compactHeader(columns())))
    this.connected = true
  }

  #flow(flow: FlowMessage, frameCursor: string): void {
    this.tally.flows++
    if (this.#config.output !== 'json') {
      this.#out.write(this.#format(flow))
      return
    }
    const cursor = cursorOfFlow(frameCursor, flow.sequence ?? 0)
    this.#json(cursor === undefined ? { flow: flowToJson(flow) } : { flow: flowToJson(flow), cursor })
  }

  #json(value: unknown): void {
    this.#out.write(safeJson(JSON.stringify(value)))
  }

  #notice(text: string): void {
    if (this.#settings.noticesInPlace) this.#out.write(this.#settings.paint('yellow', `-- ${text}`))
    else this.#err.write(this.#settings.noticePaint('yellow', `-- ${text}`))
  }

  #chooseFormat(): (flow: FlowMessage) => string {
    const { paint, columns } = this.#settings
    return this.#config.output === 'wide' ? wideFormat(paint) : compactFormat(columns(), paint)
  }
}
