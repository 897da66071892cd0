// Roads whose devices this kernel may not have: the packets of their tunnels are put on a real uplink, and go through the
// real programs, capture, names and encoding. Requests come in from the fabric, answers go out.

import { Capture } from '../../agent/capture/capture.js'
import { openIdentity } from '../../agent/identity/open.js'
import { bootUs, wallUs } from '../../agent/kernel/clock.js'
import { Datapath } from '../../agent/kernel/datapath.js'
import { HookDirectory } from '../../agent/kernel/hook-directory.js'
import { withNetns } from '../../agent/kernel/netns.js'
import type { Tunnel } from '../../agent/kernel/tunnel-map.js'
import { flowToJson } from '../../ui-stream/protocol/json.js'
import type { FlowJson } from '../../ui-stream/protocol/json-types.js'
import { StreamMessage } from '../../ui-stream/protocol/messages.js'
import { FlowEncoder } from '../../ui-stream/server/encode.js'
import { ip4, ip6, tcp } from '../kernels/frame.js'
import { sendFrames, Testbed } from '../testbed/index.js'
import type { Built } from './bed.js'
import { cellsOf, differences, expectedCells } from './compare.js'
import type { Case } from './judge.js'
import type { Expected, Row } from './row.js'

/** A row of packets: how the outer packets look, and which tunnel of this node they are of. */
export interface FedRow extends Row {
  /** undefined: the node has no such tunnel, and what it carries is not looked into. */
  readonly tunnel: Tunnel | undefined
  /** An inner packet inside its tunnel, as a frame; `back` is from this node. */
  wrap(inner: Buffer, back: boolean): Buffer
  readonly inner: { readonly source: string; readonly destination: string; readonly destinationPort: number }
  readonly expected: Expected
  /** Of the outer packet, where nothing is opened: octets of its own headers. */
  readonly outerOctets?: number
}

const SYN = 2
const ACK = 16
/** Flags and payload of an exchange as its opener begins it; `back` are the answers. */
const EXCHANGE = [
  { back: false, flags: SYN, payload: 0 },
  { back: true, flags: SYN | ACK, payload: 0 },
  { back: false, flags: ACK, payload: 0 },
  { back: false, flags: ACK, payload: 700 },
  { back: true, flags: ACK, payload: 0 },
] as const
const FIRST_PORT = 41_000

/** Feeds all rows through one in-process line for each way to conntrack. */
export async function runFed(
  rows: readonly FedRow[],
  objects: readonly object[],
  disable: readonly string[],
): Promise<Case[]> {
  const bed = await Testbed.create('fed')
  try {
    const node = await bed.node('n1')
    const identity = await openIdentity({
      manifests: bed.writeManifests(objects),
      kubernetes: false,
      nodeName: 'n1',
      log: { info: () => undefined, warn: () => undefined },
    })
    identity.setLocalAddresses([node.ip])
    const uplink = { ifindex: await node.ifindex('eth0'), name: 'eth0', kind: 'veth' }
    const hooks = new HookDirectory()
    const flows: FlowJson[] = []
    const encoder = new FlowEncoder({
      nodeName: 'n1',
      agentId: 'fed',
      hookInterface: (hook) => {
        const entry = hooks.get(hook)
        return entry === undefined ? undefined : { interface: entry.name, direction: entry.egress ? 2 : 1 }
      },
    })
    const datapath = withNetns(node.path, () => {
      const made = Datapath.open({ maxConnections: 1024, disable: new Set(disable) })
      made.attach(uplink, 'uplink')
      hooks.update(made.status().interfaces)
      return made
    })
    try {
      const capture = new Capture({
        source: datapath,
        maxViews4: 1024,
        maxViews6: 512,
        updateIntervalMs: 1000,
        clock: { bootUs, wallUs },
        // since long ago: nothing has to be guessed of what comes now
        hookAttachedAt: () => 1,
        isPodHook: (hook) => hooks.isPodHook(hook),
        onFlows: (batch) => {
          const { bytes } = encoder.encode(identity.name(batch), 1).batch
          for (const flow of StreamMessage.decode(bytes).flows) flows.push(flowToJson(flow))
        },
        onLost: () => undefined,
      })
      for (const [number, row] of rows.entries()) {
        datapath.setTunnels(row.tunnel === undefined ? [] : [row.tunnel])
        for (const { back, flags, payload } of EXCHANGE) {
          const hex = row.wrap(packet(row, FIRST_PORT + number, back, flags, payload), back).toString('hex')
          if (back) await sendFrames(node, 'eth0', [hex])
          else await sendFrames(bed.fabric, 'n1', [hex])
        }
      }
      capture.stop()
    } finally {
      datapath.close()
    }
    // neighbour discovery of the uplink's own is none of it
    const told = [...new Map(flows.map((flow) => [flow.id, flow])).values()].filter(
      (flow) => flow.protocol !== 'ICMPv6',
    )
    const cases = rows.map((row, number) => {
      const port = FIRST_PORT + number
      const its = told.filter((flow) =>
        row.expected.protocol === undefined
          ? flow.source?.port === port
          : flow.protocol === row.expected.protocol,
      )
      return judge(row, port, its, { bed, places: {} })
    })
    if (told.length !== rows.length)
      cases[0] = { ...cases[0]!, wrong: [`${told.length} flows in all, not ${rows.length}`] }
    await identity.close()
    return cases
  } finally {
    await bed.close()
  }
}

function packet(row: FedRow, port: number, back: boolean, flags: number, payload: number): Buffer {
  const { source, destination, destinationPort } = row.inner
  const ends = [
    { address: source, port },
    { address: destination, port: destinationPort },
  ] as const
  const [from, to] = back ? [ends[1], ends[0]] : ends
  const segment = tcp(from, to, flags, payload)
  return row.family === 4
    ? ip4(from.address, to.address, { protocol: 6 }, segment)
    : ip6(from.address, to.address, 6, segment)
}

function judge(
  row: FedRow,
  port: number,
  told: readonly FlowJson[],
  bed: Pick<Built, 'bed' | 'places'>,
): Case {
  const header = (row.family === 4 ? 20 : 40) + 20 + (row.outerOctets ?? 0)
  const sum = (back: boolean) => {
    const part = EXCHANGE.filter((one) => one.back === back)
    return { packets: part.length, octets: part.reduce((total, { payload }) => total + header + payload, 0) }
  }
  const wrong: string[] = []
  const [flow] = told
  if (told.length !== 1 || flow === undefined)
    wrong.push(`${told.length} flows, not 1: ${JSON.stringify(told.map(cellsOf))}`)
  else {
    const made = {
      protocol: 'TCP',
      clientIp: row.inner.source,
      clientPort: port,
      to: row.inner.destination,
      forward: 0,
      reverse: 0,
      octets: undefined,
      answeredBy: row.inner.destination,
      translatedIp: row.inner.source,
      translatedPort: port,
    }
    wrong.push(...differences(cellsOf(flow), expectedCells(bed as Built, row.expected, made)))
    for (const [direction, back] of [
      ['forward', false],
      ['reverse', true],
    ] as const) {
      const { packets, octets } = sum(back)
      const { totalPackets, totalBytes } = flow[direction]
      if (totalPackets !== packets || totalBytes !== octets)
        wrong.push(
          `${direction} is ${totalPackets} packets and ${totalBytes} octets, not ${packets} and ${octets}`,
        )
    }
  }
  return { row, bed: 'fed', rules: undefined, connections: 1, records: 1, wrong }
}
