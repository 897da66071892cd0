// Holds a record against what was written down: cell by cell, absent cells included.

import type { EndpointJson, FlowJson, ObservationJson } from '../../ui-stream/protocol/json-types.js'
import { type Built, interfaceOf } from './bed.js'
import type { EndWithPort, Expected, Port } from './row.js'
import type { Made } from './talk.js'

type EndCell = Readonly<Record<string, unknown>>

/** The cells of a record that the corpus holds; counters stand apart. */
export interface Cells {
  protocol: string
  source: EndCell | undefined
  destination: EndCell | undefined
  service?: object
  translation?: object
  direction?: string
  tunnel?: object
  observations: string[]
  verdict?: string
  initiatorInferred?: true
  unseen?: string
}

/** What a record says, with only what the corpus speaks of. */
export function cellsOf(flow: FlowJson): Cells {
  return {
    protocol: flow.protocol,
    source: endCell(flow.source),
    destination: endCell(flow.destination),
    ...(flow.service === undefined ? {} : { service: flow.service }),
    ...(flow.translation === undefined ? {} : { translation: flow.translation }),
    ...(flow.direction === undefined ? {} : { direction: flow.direction }),
    ...(flow.tunnel === undefined ? {} : { tunnel: flow.tunnel }),
    observations: (flow.observations ?? []).map(arrow),
    ...(flow.verdict === undefined ? {} : { verdict: flow.verdict }),
    ...(flow.initiatorInferred ? { initiatorInferred: true } : {}),
    ...(flow.unseen === undefined ? {} : { unseen: flow.unseen }),
  }
}

/** An end without the number of its process. */
function endCell(end: EndpointJson | undefined): EndCell | undefined {
  if (end?.process === undefined) return end === undefined ? undefined : { ...end }
  const { command, container } = end.process
  return { ...end, process: { command, ...(container === undefined ? {} : { container }) } }
}

function arrow({ interface: name, direction }: ObservationJson): string {
  return direction === 'INGRESS' ? `${name}>` : `>${name}`
}

/** The cells that were written down, with what the run alone knows filled in. */
export function expectedCells(built: Built, expected: Expected, made: Made): Cells {
  const port = (value: Port): number =>
    value === 'client'
      ? made.clientPort
      : value === 'translated'
        ? made.translatedPort
        : value === 'proxy'
          ? (made.proxied?.port ?? 0)
          : value
  const end = ({ port: written, ...rest }: EndWithPort) => ({
    ...rest,
    ...(written === undefined ? {} : { port: port(written) }),
  })
  const { translation, verdict } = expected
  return {
    protocol: expected.protocol ?? made.protocol,
    source: end(expected.source),
    destination: end(expected.destination),
    ...(expected.service === undefined ? {} : { service: expected.service }),
    ...(translation === undefined
      ? {}
      : {
          translation: {
            ...translation,
            ...(translation.sourcePort === undefined ? {} : { sourcePort: port(translation.sourcePort) }),
          },
        }),
    direction: expected.direction,
    ...(expected.tunnel === undefined ? {} : { tunnel: expected.tunnel }),
    observations: expected.observations.map((word) =>
      word.startsWith('>')
        ? `>${interfaceOf(built, word.slice(1))}`
        : `${interfaceOf(built, word.slice(0, -1))}>`,
    ),
    ...(verdict === undefined ? {} : { verdict }),
    ...(expected.initiatorInferred ? { initiatorInferred: true } : {}),
    ...(expected.unseen === undefined ? {} : { unseen: expected.unseen }),
  }
}

/** The names of the cells (`only` these) in which two records differ, each with both values. */
export function differences(found: Cells, wanted: Cells, only?: readonly (keyof Cells)[]): string[] {
  const wrong: string[] = []
  const names = new Set(only ?? ([...Object.keys(found), ...Object.keys(wanted)] as (keyof Cells)[]))
  for (const name of names) {
    const [a, b] =
      name === 'observations'
        ? hooks(found, wanted)
        : name === 'source' || name === 'destination'
          ? ends(found[name], wanted[name])
          : [found[name], wanted[name]]
    const [is, should] = [canonical(a), canonical(b)]
    if (is !== should) wrong.push(`${name} is ${is}, not ${should}`)
  }
  return wrong
}

/** Whose process it is counts where it was written down. */
function ends(found: EndCell | undefined, wanted: EndCell | undefined): [unknown, unknown] {
  if (found === undefined || wanted?.process !== undefined) return [found, wanted]
  const { process: _, ...rest } = found
  return [rest, wanted]
}

/** The first hook counts, the rest is in any order. */
function hooks(found: Cells, wanted: Cells): [unknown, unknown] {
  const inOrder = ([first, ...rest]: string[]) => [first, ...rest.sort()]
  return [inOrder(found.observations), inOrder(wanted.observations)]
}

function canonical(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'absent'
  if (Array.isArray(value)) return `[${value.map(canonical).join(' ')}]`
  const entries = Object.entries(value).filter(([, cell]) => cell !== undefined)
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, cell]) => `${name}: ${canonical(cell)}`)
    .join(', ')}}`
}
