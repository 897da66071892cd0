// kill -9 leaves nothing: tcx links go with their process, clsact's filters are swept by the next start and by
// `vethflow detach`.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { NetlinkSocket } from '../../../agent/kernel/netlink.js'
import { sweep } from '../../../agent/kernel/sweep.js'
import { queryTcx } from '../../../agent/kernel/tcx.js'
import { addFilter, createClsact, listFilters } from '../../../agent/kernel/traffic-control.js'
import { Build, foreignProgram, ifindexOf, Node, run, until } from './support.js'

let build: Build
let node: Node
let ifindex: number

beforeAll(() => {
  build = new Build()
  writeFileSync(
    join(build.folder, 'child.mjs'),
    `import { Datapath } from '${build.module('agent/kernel/datapath.js')}'
     import { describeError } from '${build.module('agent/errors.js')}'
     try {
       const datapath = Datapath.open({ maxConnections: 1024, ringBytes: 65536, disable: new Set(process.argv.slice(2)) })
       datapath.follow()
       console.log(JSON.stringify(datapath.status().interfaces.find(({ name }) => name === 'v0')))
       setInterval(() => datapath.poll(), 20)
     } catch (error) {
       console.log(describeError(error))
       process.exit(error.exitCode ?? 1)
     }`,
  )
})
afterAll(() => build?.close())

beforeEach(() => {
  node = new Node()
  node.pod('v0', 1)
  ifindex = ifindexOf('v0')
})
afterEach(() => node.close())

/** Starts an agent's kernel side in this namespace; resolves when it is attached. */
async function agent(...disable: string[]): Promise<{ child: ChildProcess; status: { attach?: string } }> {
  return agentUnder([], disable)
}

async function agentUnder(
  words: string[],
  disable: string[],
): Promise<{ child: ChildProcess; status: { attach?: string } }> {
  const [command = '', ...rest] = [...words, process.execPath, join(build.folder, 'child.mjs'), ...disable]
  const child = spawn(command, rest, {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return { child, status: JSON.parse(line) }
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

function filters(): string[] {
  const socket = NetlinkSocket.open()
  try {
    return [false, true].flatMap((egress) => listFilters(socket, ifindex, egress).map(({ name }) => name))
  } finally {
    socket.close()
  }
}

describe('kill -9', () => {
  it('with tcx leaves nothing attached', async () => {
    const { child, status } = await agent()
    expect(status).toMatchObject({ attach: 'tcx' })
    expect(queryTcx(ifindex, false)).toHaveLength(1)
    expect(queryTcx(ifindex, true)).toHaveLength(1)
    await kill(child)
    // The kernel lets go of a dead process's descriptors in its own time.
    await until('the links to go', 2000, () => (queryTcx(ifindex, false) as number[]).length === 0)
    await until('the links to go', 2000, () => (queryTcx(ifindex, true) as number[]).length === 0)
  })

  it('with clsact leaves filters that the next start sweeps', async () => {
    const { child, status } = await agent('tcx')
    expect(status).toMatchObject({ attach: 'clsact' })
    await kill(child)
    expect(filters()).toHaveLength(2)
    const datapath = Datapath.open({ maxConnections: 1024, ringBytes: 65536 })
    expect(filters()).toEqual([])
    expect(run('tc', 'qdisc', 'show', 'dev', 'v0')).not.toContain('clsact')
    datapath.close()
  })

  it("with clsact leaves filters that detach sweeps, and nobody else's", async () => {
    const { child } = await agent('tcx')
    await kill(child)
    const foreign = foreignProgram({ verdict: 0 })
    const socket = NetlinkSocket.open()
    createClsact(socket, ifindex)
    // Our handle on somebody else's filter: the name tells.
    addFilter(socket, {
      ifindex,
      egress: false,
      priority: 7,
      handle: 0x76660001,
      programFd: foreign,
      name: 'other',
    })
    socket.close()
    expect(filters()).toHaveLength(3)
    expect(sweep()).toBe(2)
    expect(filters()).toEqual(['other'])
    expect(sweep()).toBe(0)
  })
})

describe('with the three capabilities alone', () => {
  const three = ['setpriv', '--bounding-set=-all,+bpf,+net_admin,+perfmon', '--inh-caps=-all']

  it('everything is attached by tcx', async () => {
    const { child, status } = await agentUnder(three, [])
    expect(status).toMatchObject({ attach: 'tcx' })
    expect(queryTcx(ifindex, false)).toHaveLength(1)
    await kill(child)
  })

  it('what was left on clsact is swept', async () => {
    const first = await agentUnder(three, ['tcx'])
    expect(first.status).toMatchObject({ attach: 'clsact' })
    await kill(first.child)
    expect(filters()).toHaveLength(2)
    const second = await agentUnder(three, [])
    expect(second.status).toMatchObject({ attach: 'tcx' })
    expect(filters()).toEqual([])
    await kill(second.child)
  })
})

describe('without capabilities', () => {
  it.each([
    ['all', [], /no permission.*: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are lacking/],
    ['CAP_BPF', ['-sys_admin', '-bpf'], /no permission.*: CAP_BPF is lacking/],
    ['CAP_NET_ADMIN', ['-sys_admin', '-net_admin'], /no permission.*: CAP_NET_ADMIN is lacking/],
    ['CAP_PERFMON', ['-sys_admin', '-perfmon'], /no permission.*: CAP_PERFMON is lacking/],
  ])('lacking %s: exit code 77 and its name', async (_name, dropped, message) => {
    const words =
      dropped.length === 0
        ? ['--reuid=65534', '--clear-groups', '--inh-caps=-all']
        : [`--bounding-set=${dropped.join(',')}`, `--inh-caps=${dropped.join(',')}`]
    const child = spawn('setpriv', [...words, process.execPath, join(build.folder, 'child.mjs')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    const [code] = (await once(child, 'close')) as [number]
    expect(said).toMatch(/^NO_PERMISSION: /)
    expect(said).toMatch(message)
    expect(code).toBe(77)
  })
})
