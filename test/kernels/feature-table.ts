// The table of features by kernel in docs/kernels.md, and the same from an agent's own status.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { StatusJson } from '../../ui-stream/protocol/json-types.js'
import { repository } from '../testbed/tools.js'

/** Name and `yes` or `no` of each feature, and how the interfaces are attached. */
export function features(status: StatusJson | undefined): [string, string][] {
  const rows = (status?.features ?? []).map(({ name, enabled }): [string, string] => [
    name ?? '',
    enabled ? 'yes' : 'no',
  ])
  const ways = new Set(status?.interfaces.flatMap(({ attach }) => attach ?? []))
  return [...rows, ['attached by', [...ways].join(', ')]]
}

/** The column of a kernel in the documentation. Throws when it is not there. */
export function documentedFeatures(column: string): Record<string, string> {
  const lines = readFileSync(join(repository, 'docs/kernels.md'), 'utf8').split('\n')
  const cells = (line: string): string[] => line.split('|').map((cell) => cell.trim().replaceAll('`', ''))
  const head = lines.findIndex((line) => line.startsWith('| feature |'))
  const at = cells(lines[head] ?? '').indexOf(column)
  if (at < 0) throw new Error(`docs/kernels.md has no column ${column}`)
  const found: Record<string, string> = {}
  for (const line of lines.slice(head + 2)) {
    if (!line.startsWith('|')) break
    const row = cells(line)
    found[row[1] ?? ''] = row[at] ?? ''
  }
  return found
}
