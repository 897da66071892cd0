// What several rounds of a measurement say together: the median, and how far they lie apart.

export interface Spread {
  readonly median: number
  readonly min: number
  readonly lowerQuartile: number
  readonly upperQuartile: number
  readonly max: number
  readonly rounds: number
}

/** Of at least one value. Quantiles lie between neighbours where they must. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error('nothing was measured')
  const sorted = [...values].sort((a, b) => a - b)
  return {
    median: quantile(sorted, 0.5),
    min: quantile(sorted, 0),
    lowerQuartile: quantile(sorted, 0.25),
    upperQuartile: quantile(sorted, 0.75),
    max: quantile(sorted, 1),
    rounds: sorted.length,
  }
}

/** The value below which `part` (0 to 1) of the sorted values lie. */
export function quantile(sorted: readonly number[], part: number): number {
  const at = (sorted.length - 1) * part
  const below = Math.floor(at)
  const low = sorted[below] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? Number.NaN
  return low + (high - low) * (at - below)
}
