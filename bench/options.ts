// How thorough a run of the benchmarks is.

export interface BenchOptions {
  /** Proves that the benchmarks work, and measures nothing well. */
  readonly quick: boolean
  /** Floods of a minute. */
  readonly long: boolean
  /** Interleaved rounds of each comparison. */
  readonly pairs: number
  /** Another object like the yardstick's, to compare the yardstick with; it has a program `add`, map `hash16`. */
  readonly reference?: string
  /** Folder of other BPF objects of vethflow, measured beside the present ones: before and after a change. */
  readonly beside?: string
  /** Only kinds of traffic whose names match. */
  readonly only?: RegExp
}
