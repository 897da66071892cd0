// An agent as far as its stream goes, in a process of its own: a real server that replays records of connections between
// pods of this node and of its neighbours, at a steady rate. Prints the address, begins
// when it reads something, and prints at the end how many it published.
//
//   node simulated-agent.js NODE NODES RATE SECONDS

import { once } from 'node:events'
import { FlowBatch, FlowEvent, Verdict } from '../agent/capture/flow-batch.js'
import type { Name, NamedBatch } from '../agent/identity/names.js'
import { StreamServer } from '../ui-stream/server/server.js'

const [node = 0, nodes = 1, rate = 0, seconds = 0] = process.argv.slice(2).map(Number)
/** Batches a second; the agent's ring is read in about this measure while there is something in it. */
const TICKS = 50
/** Connections from one node to the next; each is told by both. */
const CONNECTIONS = 250
const TCP = 6

const pod = (of: number): Name => ({
  kind: 1,
  namespace: `team-${of % 5}`,
  pod: `web-${of}-7d4b9c6f5-abcde`,
  workload: { kind: 'Deployment', name: `web-${of}` },
  nodeName: `node-${of}`,
  labels: { app: 'web', 'pod-template-hash': '7d4b9c6f5' },
})
const names = Array.from({ length: nodes }, (_, of) => pod(of))

const status = {
  nodeName: `node-${node}`,
  agentId: `run-${node}`,
  version: '0',
  capturing: true,
  connected: true,
}
const server = await StreamServer.open({
  listen: '127.0.0.1:0',
  nodeName: status.nodeName,
  agentId: status.agentId,
  version: '0',
  status: () => ({ ...status, timeUs: Date.now() * 1000 }),
  ready: () => true,
  hookInterface: () => undefined,
  log: { info() {}, warn() {}, debug() {} },
})
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)))
process.stdout.write(`${JSON.stringify({ address: server.address })}\n`)

const perTick = rate / TICKS
const flows = new FlowBatch(perTick)
const named: NamedBatch = {
  flows,
  source: new Array<Name>(perTick).fill(names[0]!),
  destination: new Array<Name>(perTick).fill(names[0]!),
  service: new Array<undefined>(perTick).fill(undefined),
  direction: new Uint8Array(perTick).fill(2),
}

/** Row `row` as what this node counts of a connection from node `from` to the one after it. */
function fill(row: number, from: number, connection: number, total: number, timeUs: number): void {
  const to = (from + 1) % nodes
  flows.id[row] = 1 + connection + (from === node ? 0 : CONNECTIONS)
  flows.event[row] = FlowEvent.UPDATED
  flows.timeUs[row] = timeUs
  flows.startUs[row] = timeUs - 1_000_000
  flows.endUs[row] = timeUs
  flows.ipVersion[row] = 4
  flows.protocol[row] = TCP
  flows.source.set([0, 0, 0xffff, 0x0af40001 + (from << 8)], row * 4)
  flows.destination.set([0, 0, 0xffff, 0x0af40002 + (to << 8)], row * 4)
  flows.service.set(flows.destination.subarray(row * 4, row * 4 + 4), row * 4)
  flows.sourcePort[row] = 30_000 + connection
  flows.destinationPort[row] = 8080
  flows.servicePort[row] = 8080
  flows.forwardPackets[row] = 1
  flows.forwardBytes[row] = 100
  flows.forwardTotalPackets[row] = total
  flows.forwardTotalBytes[row] = total * 100
  flows.verdict[row] = Verdict.FORWARDED
  named.source[row] = names[from]!
  named.destination[row] = names[to]!
}

let ticks = 0
let published = 0
await once(process.stdin, 'data')
const began = performance.now()
const timer = setInterval(() => {
  while (ticks < (performance.now() - began) / (1000 / TICKS) && ticks < seconds * TICKS) {
    const timeUs = Math.round((performance.timeOrigin + performance.now()) * 1000)
    flows.count = perTick
    for (let row = 0; row < perTick; row++) {
      const nth = (ticks * perTick + row) >> 1
      const from = row % 2 === 0 ? node : (node + nodes - 1) % nodes
      fill(row, from, nth % CONNECTIONS, 1 + Math.floor(nth / CONNECTIONS), timeUs)
    }
    server.publish(named)
    published += perTick
    ticks++
  }
  if (ticks < seconds * TICKS) return
  clearInterval(timer)
  process.stdout.write(`${JSON.stringify({ published })}\n`)
}, 1000 / TICKS)
