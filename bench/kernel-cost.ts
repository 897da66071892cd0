// What the programs cost a packet, net of an empty program, against the yardstick. Each round runs every program once
// over the same traffic, alone on the hook, in an order that turns from round to round.

import { closeSync } from 'node:fs'
import { hookNumber } from '../agent/kernel/hook.js'
import { prebuiltDir } from '../agent/kernel/programs.js'
import { endpoint, tcpConnect, tcpServer, udpSend, udpServer } from '../test/testbed/index.js'
import { Bed } from './bed.js'
import { yardstickObject } from './build.js'
import type { BenchOptions } from './options.js'
import {
  ENTRIES,
  enableStatistics,
  type ProgramUnderTest,
  runTime,
  VethflowProgram,
  whileAttached,
  Yardstick,
} from './program-under-test.js'
import { type Row, row } from './report.js'
import { spread } from './spread.js'

interface Traffic {
  readonly name: string
  readonly family: 4 | 6
  /** Each packet makes an entry: maps are emptied before every run. */
  readonly fresh?: boolean
  /** On the way out of the pod's end instead of into the host's. */
  readonly egress?: boolean
  send(bed: Bed): Promise<unknown>
}

/** vethflow over yardstick, both net of the empty program. */
const MOST = 1.25

const TCP = 6
const UDP = 17
const SYN = 2
const NEW_FLOWS = 100_000

function frames(options: Readonly<Record<string, number>>): (bed: Bed) => Promise<unknown> {
  return (bed) => bed.generate('flows', { protocol: TCP, ...options })
}

function traffics(quick: boolean): Traffic[] {
  const few = { flows: 64, count: quick ? 20_000 : 200_000 }
  const many = { flows: 10_000, count: quick ? 20_000 : 200_000 }
  const fresh = { flows: 0, flags: SYN, count: quick ? 10_000 : NEW_FLOWS }
  const six = { family: 6 }
  const out = { bypass: 0 }
  return [
    { name: 'IPv4, 64 flows', family: 4, send: frames(few) },
    { name: 'IPv4, 10,000 flows', family: 4, send: frames(many) },
    { name: 'IPv4, each packet a new flow', family: 4, fresh: true, send: frames(fresh) },
    { name: 'IPv4, TCP with GSO', family: 4, send: (bed) => stream(bed, quick) },
    { name: 'IPv4, UDP 64 B', family: 4, send: (bed) => datagrams(bed, quick) },
    { name: 'IPv6, 64 flows', family: 6, send: frames({ ...few, ...six }) },
    { name: 'IPv6, 10,000 flows', family: 6, send: frames({ ...many, ...six }) },
    { name: 'IPv6, each packet a new flow', family: 6, fresh: true, send: frames({ ...fresh, ...six }) },
    { name: 'IPv6, UDP', family: 6, send: frames({ ...few, ...six, protocol: UDP }) },
    { name: 'IPv4, 64 flows, egress', family: 4, egress: true, send: frames({ ...few, ...out }) },
    { name: 'IPv4, 10,000 flows, egress', family: 4, egress: true, send: frames({ ...many, ...out }) },
    {
      name: 'IPv4, each packet a new flow, egress',
      family: 4,
      egress: true,
      fresh: true,
      send: frames({ ...fresh, ...out }),
    },
    { name: 'IPv4, UDP 64 B, tracked, egress', family: 4, egress: true, send: (bed) => tracked(bed, quick) },
  ]
}

/** One sender's TCP stream with all offloads: buffers of up to 64 KiB. */
async function stream(bed: Bed, quick: boolean): Promise<unknown> {
  const server = await tcpServer(bed.node, 0, { address: '10.244.0.1' })
  try {
    return await tcpConnect(bed.pod, endpoint('10.244.0.1', server.port), {
      count: 4,
      parallel: 4,
      bytesOut: quick ? 20_000_000 : 300_000_000,
      bytesIn: 16,
    })
  } finally {
    await server.stop()
  }
}

/** Datagrams of ordinary sockets, 64 bytes each. */
async function datagrams(bed: Bed, quick: boolean): Promise<unknown> {
  const server = await udpServer(bed.node, 0, { address: '10.244.0.1', echo: false })
  try {
    return await udpSend(bed.pod, endpoint('10.244.0.1', server.port), {
      count: quick ? 10_000 : 200_000,
      size: 64,
      sockets: 64,
      sourcePort: 20_000,
    })
  } finally {
    await server.stop()
  }
}

/** The same with conntrack at work in the sender's namespace. */
async function tracked(bed: Bed, quick: boolean): Promise<unknown> {
  await bed.pod.nft(
    'table ip bench { chain out { type filter hook output priority 0; ct state new accept; }; }',
  )
  try {
    return await datagrams(bed, quick)
  } finally {
    await bed.pod.nft('delete table ip bench')
  }
}

/** All rows; `progress` hears what is being measured. */
export async function kernelCost(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  const bed = await Bed.create()
  const object = await yardstickObject()
  const statistics = enableStatistics()
  const rows: Row[] = []
  try {
    for (const traffic of traffics(options.quick)) {
      if (options.only?.test(traffic.name) === false) continue
      progress(traffic.name)
      // Maps of each kind of traffic are its own: an entry that was deleted comes back in another order.
      const yardstick = new Yardstick(object)
      const reference = options.reference === undefined ? undefined : new Yardstick(options.reference)
      try {
        rows.push(...(await compare(bed, traffic, yardstick, reference, options)))
      } finally {
        yardstick.close()
        reference?.close()
      }
    }
  } finally {
    closeSync(statistics)
    await bed.close()
  }
  return rows
}

async function compare(
  bed: Bed,
  traffic: Traffic,
  yardstick: Yardstick,
  reference: Yardstick | undefined,
  options: BenchOptions,
): Promise<Row[]> {
  const { family, fresh = false, egress = false } = traffic
  const device = egress ? bed.podIndex : bed.hostIndex
  const netns = egress ? bed.pod.path : bed.node.path
  const names = egress
    ? ['veth_egress_ct', 'uplink_egress_ct', 'veth_egress']
    : ['veth_ingress', 'uplink_ingress']
  const folders = [prebuiltDir(), ...(options.beside === undefined ? [] : [options.beside])]
  const own = folders.flatMap((folder) =>
    (folder === options.beside ? names.slice(0, 1) : names).map(
      (name) =>
        new VethflowProgram(
          `${folder}/flow.bpf.o`,
          name,
          [hookNumber(device, egress)],
          folder === options.beside,
        ),
    ),
  )
  const empty = yardstick.program('empty')
  const bare = yardstick.program(`count${family}`, `accounts${family}`)
  const others =
    reference !== undefined && family === 4
      ? [{ ...reference.program('add', 'hash16'), name: 'another yardstick' }]
      : []
  const programs: ProgramUnderTest[] = [empty, bare, ...own, ...others]
  const measured = new Map<ProgramUnderTest, number[]>(programs.map((program) => [program, []]))
  try {
    // Connections are there, and code and pages have been touched, before the first round counts.
    if (!options.quick)
      for (const program of programs)
        await whileAttached(program, netns, device, egress, () => traffic.send(bed))
    for (let round = 0; round < options.pairs; round++) {
      for (let i = 0; i < programs.length; i++) {
        const program = programs[(i + round) % programs.length] as ProgramUnderTest
        if (fresh) program.clear()
        else program.settle()
        const before = runTime(program.fd)
        await whileAttached(program, netns, device, egress, () => traffic.send(bed))
        const after = runTime(program.fd)
        const packets = Number(after.count - before.count)
        if (packets === 0) throw new Error(`${program.name} saw no packet of ${traffic.name}`)
        measured.get(program)?.push(Number(after.ns - before.ns) / packets)
      }
    }
    if (fresh)
      for (const program of programs.slice(1))
        if (program.entries() === 0 || program.entries() >= ENTRIES)
          throw new Error(`${program.name} has ${program.entries()} entries after ${traffic.name}`)
    return rowsOf(traffic, measured, empty, bare)
  } finally {
    for (const program of own) program.close()
  }
}

function rowsOf(
  traffic: Traffic,
  measured: ReadonlyMap<ProgramUnderTest, readonly number[]>,
  empty: ProgramUnderTest,
  bare: ProgramUnderTest,
): Row[] {
  const none = measured.get(empty) ?? []
  const net = (program: ProgramUnderTest) =>
    (measured.get(program) ?? []).map((ns, round) => ns - (none[round] ?? 0))
  const yard = net(bare)
  const rows: Row[] = [
    row(`${traffic.name}: empty program`, 'ns raw', spread(none)),
    row(`${traffic.name}: yardstick`, 'ns net', spread(yard), undefined, { rounds: yard }),
  ]
  for (const program of measured.keys()) {
    if (program === empty || program === bare) continue
    const cost = net(program)
    const ratios = cost.map((ns, round) => ns / (yard[round] ?? Number.NaN))
    const principal = ['veth_ingress', 'veth_egress_ct'].includes(program.name)
    rows.push(
      row(`${traffic.name}: ${program.name}`, 'ns net', spread(cost), undefined, { rounds: cost }),
      row(
        `${traffic.name}: ${program.name} over yardstick`,
        'ratio',
        spread(ratios),
        principal && traffic.egress !== true ? { kind: 'atMost', value: MOST } : undefined,
      ),
    )
  }
  return rows
}
