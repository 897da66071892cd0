// What the benchmarks found: rows with their targets, as a table for eyes and as JSON for machines.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, totalmem } from 'node:os'
import { repository } from '../test/testbed/index.js'
import type { Spread } from './spread.js'

/** One figure. Where it has a target, `met` says whether the median holds it. */
export interface Row {
  readonly name: string
  readonly unit: string
  readonly value: Spread
  readonly target?: { readonly kind: 'atMost' | 'atLeast'; readonly value: number }
  readonly met?: boolean
  /** What it was computed from, and what else was seen. */
  readonly details?: Readonly<Record<string, unknown>>
}

export interface Machine {
  readonly cpu: string
  readonly cpus: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
  readonly commit: string
  /** True when files differed from the commit. */
  readonly modified: boolean
  readonly date: string
}

/** A row with its target judged. */
export function row(
  name: string,
  unit: string,
  value: Spread,
  target?: Row['target'],
  details?: Row['details'],
): Row {
  return {
    name,
    unit,
    value,
    ...(target === undefined
      ? {}
      : {
          target,
          met: target.kind === 'atMost' ? value.median <= target.value : value.median >= target.value,
        }),
    ...(details === undefined ? {} : { details }),
  }
}

export function machine(): Machine {
  const git = (...words: string[]) =>
    execFileSync('git', ['-C', repository, ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  let commit = 'unknown'
  let modified = false
  try {
    commit = git('rev-parse', '--short=12', 'HEAD').trim()
    modified = git('status', '--porcelain', '--', 'agent', 'bpf', 'ui-stream', 'proto').trim() !== ''
  } catch {
    // An installation without its history.
  }
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: cpus().length,
    memoryBytes: totalmem(),
    kernel: readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim(),
    node: process.version,
    commit,
    modified,
    date: new Date().toISOString(),
  }
}

/** The machine's load over the last minute. */
export function load(): number {
  return loadavg()[0] ?? 0
}

/** One aligned line a row. */
export function table(rows: readonly Row[]): string {
  const cells = rows.map((each) => [
    each.name,
    number(each.value.median),
    each.unit,
    each.value.rounds > 1 ? `${number(each.value.min)} .. ${number(each.value.max)}` : '',
    each.target === undefined
      ? ''
      : `${each.target.kind === 'atMost' ? '<=' : '>='} ${number(each.target.value)}`,
    each.met === undefined ? '' : each.met ? 'met' : 'MISSED',
  ])
  const head = ['row', 'median', 'unit', 'spread', 'target', '']
  const widths = head.map((_, i) => Math.max(...[head, ...cells].map((line) => line[i]?.length ?? 0)))
  return [head, ...cells]
    .map((line) =>
      line.map((cell, i) => (i === 1 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))),
    )
    .map((line) => line.join('  ').trimEnd())
    .join('\n')
}

function number(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 4
  return value.toLocaleString('en-US', { maximumFractionDigits: digits, minimumFractionDigits: digits })
}
