// docs/roads.md holds records between markers; they are the corpus's own, rendered here. What stands outside of markers is
// written by hand.
//
//   <!-- record ROW NODE -->           a row's record on a node, the first one; ROW.2 the second outcome, ROW:6 of IPv6
//   <!-- roads -->                     all roads with how many rows there are of each

import { fedRows } from './beds/fed-rows.js'
import { beds } from './beds/index.js'
import type { EndWithPort, Expected, Port, Row } from './row.js'

/** What stands for ports that only a run knows. */
const PORTS = { client: 41_234, translated: 61_000, proxy: 52_000 } as const

export const allRows: readonly Row[] = [...beds.flatMap((bed) => bed.rows), ...fedRows]

/** The page with everything between its markers rendered anew. */
export function renderPage(page: string): string {
  return page.replaceAll(
    /(<!-- (record|roads)([^>]*) -->\n)[\s\S]*?(?=<!-- end -->)/g,
    (_, marker: string, kind: string, words: string) =>
      `${marker}${kind === 'roads' ? roadTable() : recordBlock(words.trim())}\n`,
  )
}

function recordBlock(words: string): string {
  const [which = '', node = ''] = words.split(' ')
  const match = /^([a-z0-9-]+?)(?:\.(\d))?(?::(\d))?$/.exec(which)
  const family = Number(match?.[3] ?? 4)
  const row = allRows.find((one) => one.name === match?.[1] && one.family === family)
  if (row === undefined) throw new Error(`the corpus has no row ${which}`)
  const records = row.records ?? row.outcomes?.[Number(match?.[2] ?? 1) - 1]?.records
  const found = records?.[node] ?? []
  if (found.length === 0) throw new Error(`${which} has no record on ${node}`)
  return found.map((expected) => `\`\`\`json\n${recordText(row, expected)}\n\`\`\``).join('\n\n')
}

/** The cells of a record as JSON, each on a line of its own. */
function recordText(row: Row, expected: Expected): string {
  const port = (value: Port): number => (typeof value === 'number' ? value : PORTS[value])
  const end = ({ port: written, kind, ip, ...names }: EndWithPort) => ({
    kind,
    ip,
    ...(written === undefined ? {} : { port: port(written) }),
    ...names,
  })
  const { translation } = expected
  const protocols = { udp: 'UDP', ping: row.family === 4 ? 'ICMP' : 'ICMPv6' } as Readonly<
    Record<string, string>
  >
  const cells: Record<string, unknown> = {
    protocol: expected.protocol ?? protocols[row.talk.kind] ?? 'TCP',
    source: end(expected.source),
    destination: end(expected.destination),
    service: expected.service,
    translation: translation && {
      ...translation,
      ...(translation.sourcePort === undefined ? {} : { sourcePort: port(translation.sourcePort) }),
    },
    direction: expected.direction,
    tunnel: expected.tunnel,
    observations: expected.observations.map((word) => ({
      interface: nameOf(word.replaceAll('>', '')),
      direction: word.startsWith('>') ? 'EGRESS' : 'INGRESS',
    })),
    verdict: expected.verdict,
    initiatorInferred: expected.initiatorInferred,
    unseen: expected.unseen,
  }
  const lines = Object.entries(cells)
    .filter(([, cell]) => cell !== undefined)
    .map(([name, cell]) => `  "${name}": ${spaced(cell)}`)
  return `{\n${lines.join(',\n')}\n}`
}

/** Devices of the node bear their own names; everything else is a pod's veth. */
function nameOf(word: string): string {
  return /^(eth0|flannel\.1|wire0)$/.test(word) ? word : `veth-of-${word}`
}

function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const cells = Object.entries(value).map(([name, cell]) => `"${name}": ${spaced(cell)}`)
  return `{ ${cells.join(', ')} }`
}

function roadTable(): string {
  const roads = new Map<string, Row[]>()
  for (const row of allRows) roads.set(row.road, [...(roads.get(row.road) ?? []), row])
  const lines = ['| road | rows | IPv4, IPv6 | rules |', '| --- | --- | --- | --- |']
  for (const [road, rows] of roads) {
    const families = [4, 6].map((family) => rows.filter((row) => row.family === family).length)
    const rules = [...new Set(rows.flatMap((row) => row.rules ?? []))]
    const waits = rows.every((row) => row.waits !== undefined) ? ' (written down, not counted yet)' : ''
    lines.push(
      `| ${road}${waits} | ${rows.length} | ${families.join(', ')} | ${rules.length === 0 ? '' : rules.join(', ')} |`,
    )
  }
  return lines.join('\n')
}
