// How patient a reflector is. All times in milliseconds.

/** Times in ms; the defaults are for the field. */
export interface ReflectorTimes {
  /** Most silence of a request for a page, or of a watch before its first byte. */
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
  /** How often what is barred is asked for again, once it has been so for ten minutes. */
  readonly barred: number
}

export const FIELD_TIMES: ReflectorTimes = {
  answer: 30_000,
  initial: 10_000,
  silenceWithBookmarks: 90_000,
  silence: 300_000,
  watch: 300_000,
  backoffFirst: 500,
  backoffMost: 20_000,
  healthy: 10_000,
  barred: 300_000,
}
