// Keeps one resource as the API server has it: a full list, then its changes, and again from the start when the server
// has forgotten where we were. Never gives up, never storms: each failure waits longer than the one before, and only a
// stream that lives for a while makes it forget them.
//
//   list    by watch-list (sendInitialEvents, Kubernetes 1.34; earlier behind a gate): the objects as ADDED events up to
//           a bookmark that says so, and then the same stream goes on. Servers without it refuse; then in pages.
//   watch   from the last resourceVersion. The server ends it every few minutes; bookmarks come about once a minute.
//           410 Gone, in the stream or as an answer: list again.

import type { IncomingMessage } from 'node:http'

import { describeError, VethflowError } from '../../errors.js'
import type { ResourceState } from '../names.js'
import { fields, text } from '../object.js'
import type { IdentityLog, ObjectSink } from '../source.js'
import { Backoff, pause } from './backoff.js'
import type { Connection } from './connection.js'
import { EventLines } from './event-lines.js'
import { readPage } from './list-page.js'
import type { Projection } from './projection.js'
import { FIELD_TIMES, type ReflectorTimes } from './reflector-times.js'
import { get, StatusError } from './request.js'
import { type Resource, ruleOf } from './resources.js'
import { eventProjection, INITIAL_END, objectProjection } from './shapes.js'
import { guardSilence } from './silence.js'
import { Expired, isExpired, streamError, Unended } from './watch-error.js'

const PAGE = 500
/** Pages of one list; 500,000 objects. */
const MAX_PAGES = 1000

export interface ReflectorOptions {
  readonly connection: Connection
  readonly sink: ObjectSink
  readonly log: IdentityLog
  readonly times?: ReflectorTimes
  /** More query parameters, such as a fieldSelector. */
  readonly query?: Readonly<Record<string, string>>
}

export class Reflector {
  /** Read once. */
  synced = false
  /** A right is missing, or the server does not have this resource: it will not be read, as far as anybody knows. */
  barred = false
  readonly resource: Resource
  readonly #options: ReflectorOptions
  readonly #times: ReflectorTimes
  readonly #closing = new AbortController()
  readonly #running: Promise<void>
  readonly #objects: Projection
  readonly #events: Projection
  #version: string | undefined
  /** undefined: not tried yet. */
  #watchList: boolean | undefined
  #response: IncomingMessage | undefined
  #heardAt = performance.now()
  #restarts = 0
  #warned = false
  #toldMalformed = false
  #lastError: string | undefined
  /** The version from which the last watch failed on a line that could not be read. */
  #unreadableAfter: string | undefined

  /** Begins at once; the owner calls `close`. */
  constructor(resource: Resource, options: ReflectorOptions) {
    this.resource = resource
    this.#options = options
    this.#times = options.times ?? FIELD_TIMES
    this.#objects = objectProjection(resource.kind)
    this.#events = eventProjection(resource.kind)
    this.#running = this.#run()
  }

  state(): ResourceState {
    return {
      name: this.resource.name,
      synced: this.synced,
      objects: this.#options.sink.count(this.resource.kind),
      ageMs: Math.round(performance.now() - this.#heardAt),
      restarts: this.#restarts,
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#response?.destroy()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    const backoff = new Backoff({ firstMs: this.#times.backoffFirst, mostMs: this.#times.backoffMost })
    /** The last list came of a version that was too old, and nothing has gone well since. */
    let forgotten = false
    while (!signal.aborted) {
      const began = performance.now()
      let wait = 0
      let expired = false
      try {
        await this.#once()
      } catch (error) {
        if (signal.aborted) break
        wait = this.#failed(error)
        expired = isExpired(error)
      }
      if (signal.aborted) break
      this.#restarts++
      if (performance.now() - began >= this.#times.healthy) {
        backoff.reset()
        forgotten = false
      }
      // A version that is too old is no trouble of the server's: after an outage the list is not to wait once more.
      const atOnce = expired && !forgotten
      if (expired) forgotten = true
      await pause(atOnce ? this.#times.backoffFirst * Math.random() : Math.max(wait, backoff.next()), signal)
    }
  }

  /** One list where needed, and one watch; returns when the server has ended it in good order. */
  async #once(): Promise<void> {
    if (this.#version === undefined && this.#watchList !== false) {
      try {
        await this.#follow(true)
        return
      } catch (error) {
        if (!this.#refusesWatchList(error)) throw error
        this.#watchList = false
      }
    }
    if (this.#version === undefined) await this.#listPages()
    await this.#follow(false)
  }

  /**
   * A server without watch-list says 400 or 422 to its parameters. One that takes no notice of them sends the objects
   * and then nothing, or bookmarks of another kind.
   */
  #refusesWatchList(error: unknown): boolean {
    if (error instanceof StatusError) return error.status === 400 || error.status === 422
    return this.#watchList === undefined && error instanceof Unended
  }

  /** Notes and tells what went wrong; the least time to wait in ms. */
  #failed(error: unknown): number {
    if (isExpired(error)) this.#version = undefined
    // A line that could not be read comes again from the version before it. If it will not be read then, either, a list
    // goes round it.
    const unreadable = error instanceof VethflowError && error.code === 'KUBERNETES_ANSWER'
    if (unreadable && this.#version === this.#unreadableAfter) this.#version = undefined
    this.#unreadableAfter = unreadable ? this.#version : undefined
    const status = error instanceof StatusError ? error.status : 0
    const barred = status === 403 || status === 404
    const what =
      status === 403
        ? `the right to ${ruleOf(this.resource)} is missing: ${describeError(error)}`
        : status === 404
          ? `the API server has no ${this.resource.path}`
          : describeError(error)
    this.barred = barred
    // The server forgets old versions in the ordinary course of things.
    if (!isExpired(error) && what !== this.#lastError) {
      this.#warned = true
      this.#options.log.warn(`${this.resource.name}: ${what}`)
    }
    this.#lastError = what
    if (barred) return this.#times.backoffMost * (0.5 + Math.random() / 2)
    return error instanceof StatusError ? error.retryAfterMs * (1 + Math.random() / 4) : 0
  }

  #upsert(object: unknown): void {
    const { sink, log } = this.#options
    if (sink.upsert(this.resource.kind, object) || this.#toldMalformed) return
    this.#toldMalformed = true
    log.warn(`${this.resource.name}: left out an object without name or namespace`)
  }

  /** The server has said something. */
  #heard(): void {
    this.#heardAt = performance.now()
  }

  /** All is as it should be. */
  #well(): void {
    if (this.#warned) this.#options.log.info(`${this.resource.name}: in order again`)
    this.#warned = false
    this.#lastError = undefined
    this.barred = false
  }

  #listed(version: string): void {
    this.#options.sink.commit(this.resource.kind)
    this.#version = version
    this.synced = true
    this.#well()
  }

  /** Versions of one history grow (KEP-5504): one that does not is of another, in which ours may never come. */
  #moveTo(version: string): void {
    const before = Number(this.#version)
    if (Number(version) < before) {
      throw new Expired(`the server went back from version ${this.#version} to ${version}`)
    }
    this.#version = version
  }

  async #listPages(): Promise<void> {
    const { sink } = this.#options
    const { kind } = this.resource
    sink.begin(kind)
    // The first list may be a little old, and is then read from the server's cache, not from etcd, in one piece.
    const cached: Record<string, string> = this.synced ? {} : { resourceVersion: '0' }
    let next: string | undefined
    let version: string | undefined
    for (let page = 0; page < MAX_PAGES; page++) {
      const response = await this.#get(
        { limit: String(PAGE), ...(next === undefined ? cached : { continue: next }) },
        this.#times.answer,
        false,
      )
      const listed = await readPage(response, this.#objects, (object) => this.#upsert(object))
      const metadata = fields(listed.metadata)
      this.#heard()
      version = text(metadata.resourceVersion) ?? version
      // Tokens are longer than any name.
      next = typeof metadata.continue === 'string' && metadata.continue !== '' ? metadata.continue : undefined
      if (next === undefined) break
    }
    if (next !== undefined)
      throw new VethflowError('KUBERNETES_ANSWER', `a list of more than ${MAX_PAGES} pages`)
    if (version === undefined) throw new VethflowError('KUBERNETES_ANSWER', 'a list without resourceVersion')
    this.#listed(version)
  }

  /** Watches until the server ends it; with `initial` the stream begins with a full list. */
  async #follow(initial: boolean): Promise<void> {
    const { sink } = this.#options
    const { kind } = this.resource
    const times = this.#times
    const seconds = Math.ceil((times.watch * (1 + Math.random())) / 1000)
    const response = await this.#get(
      {
        watch: 'true',
        allowWatchBookmarks: 'true',
        timeoutSeconds: String(seconds),
        ...(initial
          ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
          : { resourceVersion: this.#version ?? '' }),
      },
      times.answer,
      true,
    )
    let listing = initial
    let began = false
    let bookmarks = false
    const lines = new EventLines(response, this.#events)
    const stopGuard = guardSilence(response, {
      stepMs: Math.max(10, Math.min(times.initial, times.silenceWithBookmarks) / 8),
      limitMs: () => {
        if (listing) return times.initial
        // In the middle of a line there is more to come at once.
        if (lines.partial) return Math.min(times.answer, times.silenceWithBookmarks)
        return bookmarks ? times.silenceWithBookmarks : times.silence
      },
      silent: (what) => (listing ? new Unended(what) : new VethflowError('KUBERNETES_SILENT', what)),
      looked: (ageMs) => {
        // A watch on which nothing happens is as it should be.
        if (!listing && ageMs > times.healthy) this.#well()
      },
    })
    try {
      await lines.read((type, object) => {
        this.#heard()
        const metadata = fields(object.metadata)
        const version = text(metadata.resourceVersion)
        if (listing && !began) {
          began = true
          sink.begin(kind)
        }
        if (type === 'ADDED' || type === 'MODIFIED') this.#upsert(object)
        else if (type === 'DELETED') sink.remove(kind, object)
        else if (type === 'BOOKMARK') {
          bookmarks = true
          if (listing) {
            if (fields(metadata.annotations)[INITIAL_END] !== 'true')
              throw new Unended('a bookmark before the end')
            if (version === undefined)
              throw new VethflowError('KUBERNETES_ANSWER', 'a bookmark without resourceVersion')
            listing = false
            this.#watchList = true
            this.#listed(version)
            return
          }
        } else if (type === 'ERROR') throw streamError(object)
        if (!listing && version !== undefined) this.#moveTo(version)
        if (!listing) this.#well()
      })
      if (listing)
        throw new VethflowError('KUBERNETES_ANSWER', 'the initial events ended without their bookmark')
    } finally {
      stopGuard()
      this.#response = undefined
    }
  }

  async #get(query: Record<string, string>, silenceMs: number, watch: boolean): Promise<IncomingMessage> {
    const as = watch ? 'PartialObjectMetadata' : 'PartialObjectMetadataList'
    const response = await get(this.#options.connection, {
      path: this.resource.path,
      query: { ...this.#options.query, ...query },
      accept: this.resource.metadataOnly
        ? `application/json;as=${as};g=meta.k8s.io;v=v1,application/json`
        : 'application/json',
      silenceMs,
      watch,
      signal: this.#closing.signal,
    })
    this.#response = response
    return response
  }
}
