// The clocks that records are stamped by: the boot clock, which the programs use, and the wall clock, at a resolution
// that Date.now() does not have.

import { koffi } from './ffi.js'

/** include/uapi/linux/time.h */
const CLOCK_REALTIME = 0
const CLOCK_MONOTONIC = 1
const CLOCK_BOOTTIME = 7

let read: ((clock: number, timespec: BigInt64Array) => number) | undefined
const timespec = new BigInt64Array(2)

function microseconds(clock: number): number {
  read ??= koffi().load(null).func('int clock_gettime(int, void *)') as NonNullable<typeof read>
  read(clock, timespec)
  return Number(timespec[0]) * 1e6 + Number(timespec[1]) / 1000
}

/** CLOCK_BOOTTIME in microseconds: since boot, suspend included; never steps. */
export function bootUs(): number {
  return microseconds(CLOCK_BOOTTIME)
}

/** By how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, microseconds: the time that the machine has slept. */
export function bootAheadUs(): number {
  const before = microseconds(CLOCK_MONOTONIC)
  const boot = microseconds(CLOCK_BOOTTIME)
  return boot - (before + microseconds(CLOCK_MONOTONIC)) / 2
}

/** CLOCK_REALTIME in microseconds since the Unix epoch; steps when somebody sets the clock. */
export function wallUs(): number {
  return microseconds(CLOCK_REALTIME)
}
