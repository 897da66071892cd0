// The human form of Status: a few lines an agent, problems first. Whatever an agent says is made harmless.

import type { LostJson, StatusJson } from '../protocol/json-types.js'
import type { Paint } from '../tail/colour.js'
import { humanBytes, humanDuration } from '../tail/human.js'
import { padEnd, safe, width } from '../tail/text.js'

/** Lines that tell how agents are doing. */
export function statusLines(statuses: readonly StatusJson[], paint: Paint): string[] {
  return statuses.flatMap((status, index) => (index === 0 ? [] : ['']).concat(oneStatus(status, paint)))
}

function oneStatus(status: StatusJson, paint: Paint): string[] {
  const lines = [headline(status, paint)]
  if (status.problem) lines.push(`  ${paint('red', 'problem')}      ${safe(status.problem)}`)
  if (!status.connected && status.time === undefined) return lines
  const rows: [string, string][] = [
    [
      'flows',
      `${rate(status.flowsPerSecond)}/s, ${status.connections} of ${status.maxConnections} connections open`,
    ],
    ['lost', lostText(status.lost)],
    ['identity', identityText(status)],
    ['clients', `${status.clients}, history of ${humanBytes(status.historyBytes)}`],
  ]
  for (const [name, text] of rows) lines.push(`  ${padEnd(name, 12)} ${text}`)
  lines.push(
    ...resourceLines(status, paint),
    ...interfaceLines(status, paint),
    ...featureLines(status, paint),
    ...uncoveredLines(status, paint),
  )
  return lines
}

function headline(status: StatusJson, paint: Paint): string {
  const name = paint('bold', safe(status.nodeName ?? '(unknown node)'))
  const state = !status.connected
    ? paint('red', 'not connected')
    : status.capturing
      ? paint('green', 'capturing')
      : paint('red', 'not capturing')
  const about = [
    status.version === undefined ? undefined : `vethflow ${safe(status.version)}`,
    status.agentId === undefined ? undefined : `run ${safe(status.agentId)}`,
    status.uptimeMs > 0 ? `up ${humanDuration(status.uptimeMs)}` : undefined,
  ].filter((part) => part !== undefined)
  return `${name}: ${state}${about.length === 0 ? '' : ` (${about.join(', ')})`}`
}

function rate(perSecond: number): string {
  return perSecond >= 10 ? perSecond.toFixed(0) : perSecond.toFixed(1)
}

function lostText(lost: readonly LostJson[]): string {
  const some = lost.filter((one) => one.count > 0)
  if (some.length === 0) return 'nothing'
  return some
    .map(
      (one) => `${one.count} ${one.unit === 'PACKETS' ? 'packets' : 'records'} at ${safe(one.stage ?? '?')}`,
    )
    .join(', ')
}

function identityText(status: StatusJson): string {
  const source = status.identitySource === undefined ? 'unknown' : safe(status.identitySource)
  const waiting = status.resources.filter((resource) => !resource.synced).length
  if (status.resources.length === 0) return source
  return waiting === 0
    ? `${source}, in step`
    : `${source}, ${waiting} of ${status.resources.length} not read yet`
}

function resourceLines(status: StatusJson, paint: Paint): string[] {
  return table(
    'resources',
    status.resources.map((resource) => [
      safe(resource.name ?? '?'),
      `${resource.objects} objects`,
      resource.synced ? 'read' : paint('yellow', 'not read yet'),
      `heard ${humanDuration(resource.ageMs)} ago`,
      resource.restarts === 0 ? '' : `${resource.restarts} restarts`,
      resource.lastError === undefined ? '' : paint('yellow', safe(resource.lastError)),
    ]),
  )
}

function interfaceLines(status: StatusJson, paint: Paint): string[] {
  return table(
    'interfaces',
    status.interfaces.map((one) => [
      safe(one.name ?? '?'),
      safe(one.role ?? ''),
      one.attach ? safe(one.attach) : paint('yellow', 'not attached'),
      one.problem === undefined ? '' : paint('yellow', safe(one.problem)),
    ]),
  )
}

function featureLines(status: StatusJson, paint: Paint): string[] {
  return table(
    'features',
    status.features.map((one) => [
      safe(one.name ?? '?'),
      one.enabled ? 'on' : paint('yellow', 'off'),
      one.reason === undefined ? '' : safe(one.reason),
    ]),
  )
}

function uncoveredLines(status: StatusJson, paint: Paint): string[] {
  return table(
    'not covered',
    status.uncoveredPods.map((one) => [
      `${safe(one.namespace ?? '?')}/${safe(one.pod ?? '?')}`,
      paint('yellow', safe(one.reason ?? '')),
    ]),
  )
}

/** Rows under a heading, columns as wide as their widest cell; colour takes no columns. */
function table(heading: string, rows: readonly string[][]): string[] {
  const widths: number[] = []
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, bareWidth(cell))
  }
  return rows.map((row, index) => {
    const cells = row.map((cell, i) => cell + ' '.repeat(Math.max(0, (widths[i] ?? 0) - bareWidth(cell))))
    return `  ${padEnd(index === 0 ? heading : '', 12)} ${cells.join('  ')}`.trimEnd()
  })
}

function bareWidth(cell: string): number {
  return width(cell.replaceAll(/\u001b\[\d+m/g, ''))
}
