// Numbers as people read them in a column: at most five characters for bytes and durations, times of day.

const STEPS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** Bytes in at most five characters, powers of 1000: `999B`, `1.2kB`, `34kB`, `1.0GB`. */
export function humanBytes(bytes: number): string {
  let value = bytes
  let step = 0
  // 999.5 would round to a fourth digit.
  while (value >= (step === 0 ? 1000 : 999.5) && step < STEPS.length - 1) {
    value /= 1000
    step++
  }
  const digits = step > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)
  return `${digits}${STEPS[step]}`
}

/** Microseconds in at most five characters: `87us`, `1.2ms`, `340ms`, `2.5s`. */
export function humanMicroseconds(us: number): string {
  if (us < 999.5) return `${us.toFixed(0)}us`
  const ms = us / 1000
  if (ms < 9.95) return `${ms.toFixed(1)}ms`
  if (ms < 999.5) return `${ms.toFixed(0)}ms`
  const s = ms / 1000
  return s < 9.95 ? `${s.toFixed(1)}s` : `${s.toFixed(0)}s`
}

/** A duration for a sentence: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function humanDuration(ms: number): string {
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`
  const s = Math.round(ms / 1000)
  if (s < 60) return `${s} s`
  const min = Math.floor(s / 60)
  if (min < 60) return s % 60 === 0 ? `${min} min` : `${min} min ${s % 60} s`
  const h = Math.floor(min / 60)
  return h < 48 ? `${h} h ${min % 60} min` : `${Math.floor(h / 24)} d ${h % 24} h`
}

const two = (value: number): string => (value < 10 ? `0${value}` : String(value))
const three = (value: number): string => String(value).padStart(3, '0')

/** Local time of day of microseconds since the epoch, `HH:MM:SS.mmm`. */
export function timeOfDay(us: number): string {
  const date = new Date(us / 1000)
  if (Number.isNaN(date.getTime())) return '--:--:--.---'
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${three(date.getMilliseconds())}`
}

/** Local date and time of day, `YYYY-MM-DD HH:MM:SS.mmm`. */
export function dateAndTime(us: number): string {
  const date = new Date(us / 1000)
  if (Number.isNaN(date.getTime())) return `----------  ${timeOfDay(us)}`
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${timeOfDay(us)}`
}
