// Times and durations between numbers and text. Times are microseconds since the Unix epoch. Runs in browsers.

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** RFC 3339 in UTC with six decimals: 2026-01-31T12:00:00.000001Z. Undefined where no date can say it. */
export function formatTime(us: number): string | undefined {
  const ms = Math.floor(us / 1000)
  const date = new Date(ms)
  if (Number.isNaN(date.getTime())) return undefined
  const micros = String(Math.floor(us - ms * 1000)).padStart(3, '0')
  return `${date.toISOString().slice(0, -1)}${micros}Z`
}

/** Parses RFC 3339 (any offset, up to nine decimals; what is finer than a microsecond is cut off). */
export function parseTime(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/.exec(text)
  if (match === null) return undefined
  const ms = Date.parse(`${match[1]}T${match[2]}${match[4]!.toUpperCase()}`)
  if (Number.isNaN(ms) || ms < 0) return undefined
  return ms * 1000 + Number((match[3] ?? '').padEnd(6, '0').slice(0, 6))
}

/** Parses 500ms, 30s, 5m, 2h, 1d and sums like 1h30m to milliseconds. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d{1,9}(?:\.\d{1,6})?(?:ms|s|m|h|d))+$/.test(text)) return undefined
  let ms = 0
  for (const [, number, unit] of text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)) ms += Number(number) * UNITS[unit!]!
  return ms
}

/** A point in time as people write it: RFC 3339, or a duration before `nowMs`. Microseconds. */
export function parseMoment(text: string, nowMs: number): number | undefined {
  const ago = parseDuration(text)
  if (ago === undefined) return parseTime(text)
  return Math.max(0, Math.round((nowMs - ago) * 1000))
}
