// The line inside one process: entries out of the kernel's map a second, records encoded a second, CPU from the map to
// protobuf.

import { rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Capture } from '../agent/capture/capture.js'
import { FlowBatch } from '../agent/capture/flow-batch.js'
import type { Name, NamedBatch, ServiceName } from '../agent/identity/names.js'
import { openIdentity } from '../agent/identity/open.js'
import { bootUs, wallUs } from '../agent/kernel/clock.js'
import { Datapath } from '../agent/kernel/datapath.js'
import { withNetns } from '../agent/kernel/netns.js'
import { FlowEncoder } from '../ui-stream/server/encode.js'
import { Bed, HOST_DEVICE } from './bed.js'
import type { BenchOptions } from './options.js'
import { type Row, row } from './report.js'
import { spread } from './spread.js'

const FLOWS = 50_000
const UDP = 17

const hookInterface = (hook: number) =>
  ({ interface: HOST_DEVICE, direction: (hook & 1) !== 0 ? 2 : 1 }) as const

/** Records of one batch again and again: names are known, nothing is new. */
export async function encode(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  progress('encode')
  const encoder = new FlowEncoder({ nodeName: 'node-1', agentId: '0123456789ab', hookInterface })
  const named = sample(1024)
  const rates: number[] = []
  let bytes = 0
  for (let round = -1; round < options.pairs; round++) {
    const began = process.cpuUsage()
    const until = performance.now() + (options.quick ? 100 : 1000)
    let records = 0
    while (performance.now() < until) {
      bytes = encoder.encode(named, records).batch.bytes.length
      records += named.flows.count
    }
    const { user, system } = process.cpuUsage(began)
    if (round >= 0) rates.push((records / (user + system)) * 1e6)
  }
  return [
    row(
      'encode, names cached',
      'records/CPU-s',
      spread(rates),
      { kind: 'atLeast', value: 1_500_000 },
      {
        bytesPerRecord: bytes / named.flows.count,
      },
    ),
  ]
}

/** The map into typed arrays, and further to protobuf. */
export async function line(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  const bed = await Bed.create()
  const manifests = join(tmpdir(), `vethflow-bench-${process.pid}.json`)
  writeFileSync(manifests, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: pods() }))
  let datapath: Datapath | undefined
  const identity = await openIdentity({
    nodeName: 'node-1',
    manifests,
    kubernetes: false,
    log: { info: () => undefined, warn: () => undefined },
  })
  try {
    const opened = withNetns(bed.node.path, () => {
      const made = Datapath.open()
      made.attach({ ifindex: bed.hostIndex, name: HOST_DEVICE, kind: 'veth' }, 'veth')
      return made
    })
    datapath = opened
    const encoder = new FlowEncoder({ nodeName: 'node-1', agentId: '0123456789ab', hookInterface })
    const made = { records: 0, bytes: 0 }
    const capture = new Capture({
      source: opened,
      maxViews4: 131_072,
      maxViews6: 65_536,
      updateIntervalMs: 1,
      clock: { bootUs, wallUs },
      hookAttachedAt: () => 0,
      isPodHook: (hook) => hook >>> 1 === bed.hostIndex,
      onFlows: (batch) => {
        const { bytes } = encoder.encode(identity.name(batch), made.records + 1).batch
        made.records += batch.count
        made.bytes += bytes.length
      },
      onLost: ({ stage, count }) => {
        throw new Error(`lost ${count} at ${stage}`)
      },
    })
    const flows = options.quick ? 5000 : FLOWS
    const send = () => bed.generate('flows', { protocol: UDP, flows, count: flows })

    progress('CPU from map to protobuf')
    const costs: number[] = []
    const opening = await measure(made, send, () => {
      while (capture.poll());
      capture.drain()
    })
    for (let round = -2; round < options.pairs; round++) {
      const cost = await measure(made, send, () => capture.drain())
      if (round >= 0) costs.push(cost)
    }

    progress('drain')
    const rates: number[] = []
    for (let round = -1; round < options.pairs; round++) {
      const began = performance.now()
      let entries = 0
      for (let i = 0; i < (options.quick ? 2 : 10); i++) entries += opened.drain(4, () => undefined)
      if (round >= 0) rates.push(entries / ((performance.now() - began) / 1000))
    }
    return [
      row(
        'drain into typed arrays',
        'entries/s',
        spread(rates),
        { kind: 'atLeast', value: 1_000_000 },
        { entries: flows },
      ),
      row(
        'kernel map to protobuf, 1M UPDATED',
        'CPU-s',
        spread(costs),
        { kind: 'atMost', value: 3 },
        {
          flows,
          bytesPerRecord: made.bytes / made.records,
        },
      ),
      row('kernel ring to protobuf, 1M OPENED (cold code)', 'CPU-s', spread([opening]), undefined, { flows }),
    ]
  } finally {
    datapath?.close()
    await identity.close()
    rmSync(manifests, { force: true })
    await bed.close()
  }
}

/** CPU-seconds for 1M records of what `work` makes out of what `send` sent. */
async function measure(
  made: { readonly records: number },
  send: () => Promise<unknown>,
  work: () => void,
): Promise<number> {
  await send()
  const records = made.records
  const began = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(began)
  if (made.records === records) throw new Error('no record was made')
  return (user + system) / (made.records - records)
}

/** Pods that hold the addresses of generate.c's flows. */
function pods(): object[] {
  const hosts = [...Array(4).keys()].flatMap((i) => [`10.0.0.${i}`, `10.244.0.${i}`])
  return hosts.map((podIP, i) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `web-7d4b9c6f5-${i}abcd`, namespace: 'shop', uid: `uid-${i}`, labels: { app: 'web' } },
    spec: { nodeName: 'node-1', containers: [{ name: 'web' }] },
    status: { podIP, podIPs: [{ ip: podIP }], phase: 'Running', startTime: '2020-01-01T00:00:00Z' },
  }))
}

/** A batch as an ordinary cluster makes it: pods with workloads, half of them through a service. */
function sample(count: number): NamedBatch {
  const flows = new FlowBatch(count)
  flows.count = count
  const names: Name[] = [...Array(64).keys()].map((i) => ({
    kind: 1,
    namespace: 'shop',
    pod: `web-7d4b9c6f5-${i}abcd`,
    workload: { kind: 'Deployment', name: 'web' },
    nodeName: `node-${i % 8}`,
    zone: 'eu-west-1a',
  }))
  const service: ServiceName = { namespace: 'shop', name: 'web', type: 'ClusterIP', portName: 'http' }
  const named = {
    flows,
    source: [] as Name[],
    destination: [] as Name[],
    service: [] as (ServiceName | undefined)[],
    direction: new Uint8Array(count).fill(3),
  }
  const nowUs = Math.round(wallUs())
  for (let r = 0; r < count; r++) {
    flows.id[r] = 1_000_000 + r
    flows.event[r] = 1 + (r % 3)
    flows.timeUs[r] = nowUs
    flows.startUs[r] = nowUs - 5_000_000
    flows.endUs[r] = nowUs - 1000
    flows.ipVersion[r] = 4
    flows.protocol[r] = r % 4 === 0 ? UDP : 6
    flows.source.set([0, 0, 0xffff, 0x0af40000 + r], r * 4)
    flows.destination.set([0, 0, 0xffff, 0x0af50000 + (r % 64)], r * 4)
    flows.service.set([0, 0, 0xffff, 0x0a600001], r * 4)
    flows.sourcePort[r] = 32_768 + r
    flows.destinationPort[r] = 8080
    flows.servicePort[r] = 80
    flows.flags[r] = r % 2 === 0 ? 2 : 0
    flows.forwardPackets[r] = 12
    flows.forwardBytes[r] = 3400
    flows.forwardTotalPackets[r] = 60
    flows.forwardTotalBytes[r] = 17_000
    flows.reversePackets[r] = 10
    flows.reverseBytes[r] = 34_000
    flows.reverseTotalPackets[r] = 50
    flows.reverseTotalBytes[r] = 170_000
    flows.verdict[r] = 1
    flows.tcpState[r] = 3
    flows.tcpFlagsForward[r] = 0x1a
    flows.tcpFlagsReverse[r] = 0x1a
    flows.handshakeRttUs[r] = 420
    flows.observations.set([34, 35], r * 8)
    flows.observationCount[r] = 2
    named.source.push(names[r % 64] as Name)
    named.destination.push(names[(r * 7) % 64] as Name)
    named.service.push(r % 2 === 0 ? service : undefined)
  }
  return named
}
