// Decides when a record of a connection is due, and has it made: OPENED at once, UPDATED each interval and when a verdict
// or a destination becomes known, CLOSED at the end or after silence. What is true of a connection is tracker.ts's to say.

import type { Clock } from './clock.js'
import { C1, C4, C8, ConnectionState } from './connections.js'
import type { Emitter, Told } from './emit.js'
import { EndReason, FlowEvent, Verdict } from './flow-batch.js'
import type { Forgetting } from './forgetting.js'
import { grown, handOver, renew } from './reading.js'
import { FIN, SYN } from './tcp.js'
import { LINGER, linger, longestSilence, SILENCES, Silence, silenceOf } from './timeouts.js'
import { endOf, endSeenEverywhere, flagsOf, judge } from './verdict.js'
import { ViewFlag } from './views.js'

const PROTOCOL_TCP = 6

/** A first packet may be seen at several hooks within microseconds: what the later ones say goes into OPENED. */
const SETTLE_US = 2_000
/** How long CLOSED waits for the end to be seen on all of a connection's views. */
const END_WAIT_US = 50_000
/** OPENED waits no longer for what was held back. */
const HOLD_US = 3_000_000
/** A SYN that nobody answers for so long is told as unanswered. */
const UNANSWERED_US = 3_000_000
/** An interval's record may be so much early, so that it does not wait for one drain more. */
const EARLY_US = 100_000

/** A connection with one of these has something to be looked at at the drain, besides its silence. */
const AWAITS = ConnectionState.DIRTY | ConnectionState.CHANGED | ConnectionState.HELD | ConnectionState.ENDING

export interface TellingOptions {
  readonly told: Told
  readonly clock: Clock
  readonly emitter: Emitter
  readonly forgetting: Forgetting
  readonly updateIntervalUs: number
}

export class Telling {
  readonly #options: TellingOptions
  readonly #told: Told
  readonly #clock: Clock
  readonly #emitter: Emitter
  /** Connections (slot, id) whose OPENED, change or end is due soon. */
  #pending: number[] = []
  #pendingNext: number[] = []
  /** As of the last drain, by how full the tables were: how long a closed connection lingers, and each Silence lasts. */
  #linger = LINGER
  readonly #longest = new Float64Array(SILENCES)
  /** Connections told as opened and not yet as closed. */
  open = 0
  /** Boot time up to which the ring has been read: what it told until then is known. */
  heardUs = 0

  constructor(options: TellingOptions) {
    this.#options = options
    this.#told = options.told
    this.#clock = options.clock
    this.#emitter = options.emitter
  }

  /** Looks at a connection again at the end of this round. */
  soon(c: number): void {
    this.#pendingNext.push(c, this.#told.connections.id[c * C8]!)
  }

  /** After the ring was read: tells what is due at once. */
  settleEvents(): void {
    const { connections } = this.#told
    const now = this.#clock.now
    const work = this.#pending
    this.#pending = this.#pendingNext
    this.#pendingNext = work
    work.length = 0
    const queue = this.#pending
    for (let i = 0; i < queue.length; i += 2) {
      const c = queue[i]!
      if (connections.id[c * C8] !== queue[i + 1] || connections.is(c, ConnectionState.HELD)) continue
      if (
        !connections.is(c, ConnectionState.OPENED_SENT) &&
        now - connections.startBoot[c * C8]! < SETTLE_US
      ) {
        this.soon(c)
        continue
      }
      this.#settle(c)
      if (connections.is(c, ConnectionState.ENDING) && !connections.is(c, ConnectionState.CLOSED_SENT)) {
        if (
          endSeenEverywhere(this.#told, c, ViewFlag.IN_KERNEL) ||
          now - connections.lastBoot[c * C8]! > END_WAIT_US
        )
          this.close(c, endOf(this.#told, c))
        else this.soon(c)
      }
    }
    queue.length = 0
  }

  /** OPENED when it is still to be told, and UPDATED when something but the counters has changed. */
  #settle(c: number): void {
    const { connections } = this.#told
    judge(this.#told, c)
    if (!connections.is(c, ConnectionState.OPENED_SENT)) {
      connections.set(c, ConnectionState.OPENED_SENT)
      this.open++
      this.#emitter.emit(this.#told, c, FlowEvent.OPENED)
    } else if (
      connections.is(c, ConnectionState.CHANGED) &&
      !connections.is(c, ConnectionState.CLOSED_SENT | ConnectionState.ENDING)
    )
      this.#emitter.emit(this.#told, c, FlowEvent.UPDATED)
  }

  /** How full the kernel's maps and the tables are, 0 to 1, which says how long silence may last. */
  crowd(filled: number): void {
    this.#linger = linger(filled)
    for (let silence = 0; silence < SILENCES; silence++)
      this.#longest[silence] = longestSilence(silence, filled)
  }

  /** After the maps were drained: tells what is due, and forgets what has been over for long enough. */
  settleDrain(): void {
    const { connections } = this.#told
    const { state: states, lastBoot, silence } = connections
    const now = this.#clock.now
    const end = connections.highWater
    for (let c = 0; c < end; c++) {
      const state = states[c]!
      if ((state & ConnectionState.IN_USE) === 0) continue
      if ((state & ConnectionState.CLOSED_SENT) !== 0) {
        if ((state & (ConnectionState.FORGOTTEN | ConnectionState.DIRTY)) !== ConnectionState.FORGOTTEN)
          this.#afterClose(c, now)
      } else if ((state & AWAITS) !== 0 || (state & ConnectionState.OPENED_SENT) === 0)
        this.#review(c, state, now)
      else if (now - lastBoot[c * C8]! >= this.#longest[silence[c * C1]!]!) this.#expire(c, now)
    }
  }

  /** A connection that has changed, or waits for something. */
  #review(c: number, state: number, now: number): void {
    const { connections } = this.#told
    const age = now - connections.startBoot[c * C8]!
    if ((state & ConnectionState.HELD) !== 0) {
      const waits = (state & ConnectionState.INFERRED) === 0 && age < HOLD_US
      if (waits || age < SETTLE_US) return
      connections.clear(c, ConnectionState.HELD)
    }
    if ((state & ConnectionState.DIRTY) !== 0) handOver(this.#told, c)
    if (!connections.is(c, ConnectionState.OPENED_SENT)) {
      if (age < SETTLE_US) return
      this.#settle(c)
    } else judge(this.#told, c)
    if (connections.is(c, ConnectionState.ENDING)) {
      if (now - connections.lastBoot[c * C8]! > END_WAIT_US) this.close(c, endOf(this.#told, c))
      return
    }
    if (connections.is(c, ConnectionState.CHANGED)) {
      this.#emitter.emit(this.#told, c, FlowEvent.UPDATED)
    } else if (connections.is(c, ConnectionState.DIRTY) && this.#due(c, now)) {
      // an interval's records are spread over it, by when each connection was told last
      if (grown(this.#told, c)) this.#emitter.emit(this.#told, c, FlowEvent.UPDATED)
      else connections.clear(c, ConnectionState.DIRTY)
    }
    this.#expire(c, now)
  }

  /** Is its next record due, by the interval? */
  #due(c: number, now: number): boolean {
    return now - this.#told.connections.toldBoot[c * C8]! >= this.#options.updateIntervalUs - EARLY_US
  }

  /** A closed connection got late segments: the same id, once more. */
  late(c: number): void {
    if (grown(this.#told, c)) this.#emitter.emit(this.#told, c, FlowEvent.UPDATED)
    this.#told.connections.clear(c, ConnectionState.DIRTY)
  }

  /** A connection that has been told as closed: late segments, or life after it was taken for over. */
  #afterClose(c: number, now: number): void {
    const { connections } = this.#told
    const quiet = this.#quiet(c)
    if (connections.is(c, ConnectionState.DIRTY)) {
      if (connections.endReason[c * C1] === EndReason.IDLE && grown(this.#told, c)) {
        renew(this.#told, c)
        connections.startBoot[c * C8] = connections.lastBoot[c * C8]!
        connections.startUs[c * C8] = this.#clock.toWall(connections.lastBoot[c * C8]!)
        this.soon(c)
        return
      }
      if (!quiet && !this.#due(c, now)) return
      this.late(c)
      // it may have an entry in the kernel again
      connections.clear(c, ConnectionState.FORGOTTEN)
    }
    if (quiet) this.#options.forgetting.forget(c)
  }

  /**
   * Has it been over for long enough? By the ring's time and not by the clock's: as long as events about it wait there,
   * they would be taken for those of another connection.
   */
  #quiet(c: number): boolean {
    return this.heardUs - this.#told.connections.lastBoot[c * C8]! >= this.#linger
  }

  /**
   * A view of a closed connection was read just now and has not changed: forgets the connection when that was its only
   * view and it has been over for long enough. So little time lies between the reading and the deletion.
   */
  unchanged(c: number): void {
    const { connections } = this.#told
    const state = connections.state[c]!
    if ((state & (ConnectionState.CLOSED_SENT | ConnectionState.DIRTY)) !== ConnectionState.CLOSED_SENT)
      return
    if (connections.views[c * C4 + 1]! < 0 && this.#quiet(c)) this.#options.forgetting.forget(c)
  }

  /** Ends a connection that has been silent for too long; tells a SYN as unanswered. */
  #expire(c: number, now: number): void {
    const { connections, views } = this.#told
    const root = connections.root[c * C4]!
    const protocol = views.protocol(root)
    const flags = flagsOf(this.#told, c, 0) | flagsOf(this.#told, c, 1)
    const verdict = connections.verdict[c * C1]!
    const reverse = connections.toldPackets[c * C8 + 1]!
    let silence = silenceOf(
      protocol,
      verdict === Verdict.FORWARDED,
      (flags & FIN) !== 0,
      verdict === Verdict.REFUSED,
      connections.toldPackets[c * C8]!,
      reverse,
    )
    if (now - connections.lastBoot[c * C8]! >= this.#longest[silence]!) {
      if (reverse === 0 && verdict === Verdict.UNSPECIFIED) connections.verdict[c * C1] = Verdict.UNANSWERED
      this.close(c, EndReason.IDLE)
      return
    }
    if (
      protocol === PROTOCOL_TCP &&
      verdict === Verdict.UNSPECIFIED &&
      (flags & SYN) !== 0 &&
      reverse === 0
    ) {
      if (now - connections.startBoot[c * C8]! > UNANSWERED_US) {
        connections.verdict[c * C1] = Verdict.UNANSWERED
        this.#emitter.emit(this.#told, c, FlowEvent.UPDATED)
      } else silence = Silence.SYN_SENT
    }
    connections.silence[c * C1] = silence
  }

  /** Tells the end of a connection; nothing when it has been told. */
  close(c: number, reason: number): void {
    const { connections } = this.#told
    if (connections.is(c, ConnectionState.CLOSED_SENT)) return
    connections.clear(c, ConnectionState.HELD)
    this.#settle(c)
    connections.endReason[c * C1] = reason
    connections.set(c, ConnectionState.CLOSED_SENT)
    this.open--
    this.#emitter.emit(this.#told, c, FlowEvent.CLOSED)
  }

  /** Ends everything that is open, with CLOSED (AGENT_STOPPED). */
  stop(): void {
    const { connections } = this.#told
    for (let c = 0; c < connections.highWater; c++)
      if (connections.is(c, ConnectionState.IN_USE) && !connections.is(c, ConnectionState.CLOSED_SENT))
        this.close(c, EndReason.AGENT_STOPPED)
  }
}
