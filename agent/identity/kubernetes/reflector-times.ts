// How patient a reflector is. All times in milliseconds.

/** Times in ms; the defaults are for the field. */
export interface ReflectorTimes {
  /** Most silence of a request for a page, of a watch before its first byte, and of any stream in the middle of a line. */
  readonly answer: number
  /** Most silence of a watch-list before its initial events have ended; then the list is read in pages. */
  readonly initial: number
  /** Most silence of a watch whose server sends bookmarks (about once a minute). */
  readonly silenceWithBookmarks: number
  /** The same for one that has not shown any. */
  readonly silence: number
  /** The server is asked to end a watch after this, and up to twice as much. */
  readonly watch: number
  readonly backoffFirst: number
  readonly backoffMost: number
  /** A stream that lived this long makes earlier failures forgotten. */
  readonly healthy: number
}

/**
 * Silence and the wait after it together stay below 30 s: that is how long after the end of an outage names are right
 * again at the latest.
 */
export const FIELD_TIMES: ReflectorTimes = {
  answer: 10_000,
  initial: 10_000,
  silenceWithBookmarks: 90_000,
  silence: 300_000,
  watch: 300_000,
  backoffFirst: 500,
  backoffMost: 18_000,
  healthy: 10_000,
}
