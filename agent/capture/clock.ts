// Boot clock to wall clock. The kernel stamps packets with CLOCK_BOOTTIME, which never steps; records carry wall time.
// The difference is read anew at every tick, so a step of the wall clock shows in the next record and never as a
// negative duration: a connection's start is converted once, when it is first seen.

/** Reads both clocks at (nearly) the same moment, in microseconds. */
export interface ClockSource {
  bootUs(): number
  wallUs(): number
}

export class Clock {
  readonly #source: ClockSource
  #offset = 0
  /** Boot clock at the last tick, microseconds. */
  now = 0

  constructor(source: ClockSource) {
    this.#source = source
    this.tick()
  }

  /** Reads both clocks. Call once a round of work, before its times are used. */
  tick(): void {
    const before = this.#source.bootUs()
    const wall = this.#source.wallUs()
    this.now = this.#source.bootUs()
    this.#offset = wall - (before + this.now) / 2
  }

  /** Wall clock at the last tick, microseconds since the Unix epoch. */
  get wall(): number {
    return Math.round(this.now + this.#offset)
  }

  /** A boot time as wall clock, by the present difference. */
  toWall(bootUs: number): number {
    return Math.round(bootUs + this.#offset)
  }
}
