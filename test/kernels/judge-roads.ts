// What the agent must tell of the connections on roads.ts's roads.

import { expect } from 'vitest'
import type { FlowJson } from '../../ui-stream/protocol/json-types.js'
import { sums } from '../e2e/agent.js'
import type { RunResult } from './result.js'
import { ROADS, type Road } from './roads.js'

function isOn(road: Road, flow: FlowJson): boolean {
  const asked = flow.service ?? flow.destination
  return flow.source?.ip === road.source && asked?.ip === road.address && asked?.port === road.port
}

/**
 * One flow a road, with the segments that the client's socket counted, each end by its own address, and what the client
 * asked for as its service.
 */
export function expectRoads(run: RunResult): void {
  expect(run.errors).toEqual([])
  expect(run.done).toBe(true)
  expect(run.lost).toEqual([])
  const clients = run.sockets.get('client') ?? []
  expect(clients).toHaveLength(ROADS.length)
  const flows = run.flows.filter((flow) => flow.protocol === 'TCP')
  for (const [index, road] of ROADS.entries()) {
    const own = flows.filter((flow) => isOn(road, flow))
    const { forward, reverse, consistent } = sums(own)
    const { sent, received } = clients[index] ?? {}
    expect({ forward, reverse, consistent }, road.name).toEqual({
      forward: sent,
      reverse: received,
      consistent: true,
    })
    expect(own.filter((flow) => flow.event === 'OPENED')).toHaveLength(1)
    const last = own.at(-1)
    const translated = road.address !== road.destination || road.port !== road.serverPort
    expect(last, road.name).toMatchObject({
      event: 'CLOSED',
      verdict: 'FORWARDED',
      endReason: 'FIN',
      destination: { ip: road.destination, port: road.serverPort },
    })
    expect(last?.translation?.destinationIp, road.name).toBe(translated ? road.destination : undefined)
    expect(last?.translation?.destinationPort, road.name).toBe(translated ? road.serverPort : undefined)
    expect(last?.translation?.sourceIp, road.name).toBe(road.masquerade)
    expect(last?.initiatorInferred ?? false).toBe(false)
  }
  expect(new Set(flows.map((flow) => flow.id)).size).toBe(ROADS.length)
}
