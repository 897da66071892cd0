// The corpus as a table: road by road, how many cases were run and how many were right.

import type { Case } from './judge.js'

/** One line a road; what is wrong stands below it. */
export function table(title: string, cases: readonly Case[]): string {
  const roads = new Map<string, Case[]>()
  for (const one of cases) roads.set(one.row.road, [...(roads.get(one.row.road) ?? []), one])
  const width = Math.max(...[...roads.keys()].map((road) => road.length), 4)
  const lines = [title, `${'road'.padEnd(width)}  cases  right  wrong  connections  records`]
  for (const [road, all] of roads) {
    const right = all.filter((one) => one.wrong.length === 0).length
    const sum = (pick: (one: Case) => number) => all.reduce((total, one) => total + pick(one), 0)
    lines.push(
      `${road.padEnd(width)}  ${String(all.length).padStart(5)}  ${String(right).padStart(5)}  ` +
        `${String(all.length - right).padStart(5)}  ${String(sum((one) => one.connections)).padStart(11)}  ${String(sum((one) => one.records)).padStart(7)}`,
    )
    for (const one of all)
      for (const text of one.wrong.slice(0, 6))
        lines.push(
          `    ${one.row.name} (IPv${one.row.family}${one.rules === undefined ? '' : `, ${one.rules}`}): ${text}`,
        )
  }
  const right = cases.filter((one) => one.wrong.length === 0).length
  lines.push(`${right} of ${cases.length} right`)
  return lines.join('\n')
}
