// The whole line on the demo's cluster: eBPF on real veths, names, gateway, tail. What it prints is held against what is
// known to talk there, and nothing of it stays behind.

import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { repository, run, Task } from '../testbed/index.js'

interface End {
  readonly kind: string
  readonly ip: string
  readonly port?: number
  readonly namespace?: string
  readonly pod?: string
  readonly workload?: { readonly kind: string; readonly name: string }
  readonly nodeName?: string
}

interface Flow {
  readonly id: number
  readonly agentId: string
  readonly nodeName: string
  readonly event: string
  readonly verdict?: string
  readonly protocol: string
  readonly source: End
  readonly destination: End
  readonly service?: {
    readonly namespace?: string
    readonly name?: string
    readonly ip?: string
    readonly port?: number
    readonly type?: string
    readonly ingresses?: readonly string[]
  }
  readonly views?: readonly { readonly nodeName: string }[]
  readonly direction?: string
  readonly translation?: { readonly sourceIp?: string; readonly destinationPort?: number }
  readonly forward: { readonly totalPackets: number; readonly totalBytes: number }
  readonly reverse: { readonly totalPackets: number; readonly totalBytes: number }
}

/** In the environment of everything that a demo of this file starts. */
const MARK = `VETHFLOW_TEST_MARK=${process.pid}`
const env = { VETHFLOW_TEST_MARK: String(process.pid) }

const MAIN = join(repository, 'dist/test/demo/main.js')

/** What a demo could leave behind on this machine. */
async function traces(): Promise<{ namespaces: string[]; links: string; processes: string[] }> {
  const links = (await run(['ip', '-br', 'link'])).stdout
  const namespaces = readdirSync('/run/netns').filter((name) => name.includes('-demo_'))
  return { namespaces, links, processes: marked() }
}

/** Pids of what a demo of this file started. */
function marked(): string[] {
  return readdirSync('/proc').filter((pid) => procFile(pid, 'environ').includes(MARK))
}

/** Ids of the BPF links that those processes hold open (fdinfo, `link_id:`). */
function heldLinks(): number[] {
  return marked().flatMap((pid) => {
    try {
      return readdirSync(`/proc/${pid}/fdinfo`).flatMap((fd) => {
        const id = /^link_id:\s*(\d+)$/m.exec(procFile(pid, `fdinfo/${fd}`).join(''))?.[1]
        return id === undefined ? [] : [Number(id)]
      })
    } catch {
      return [] // ended meanwhile
    }
  })
}

async function existingLinks(): Promise<Set<number>> {
  const { stdout } = await run(['bpftool', '-j', 'link', 'show'])
  return new Set((JSON.parse(stdout || '[]') as { id: number }[]).map(({ id }) => id))
}

describe('the demo, live', () => {
  it('shows every kind of talk with its names, and ends by itself', { timeout: 120_000 }, async () => {
    const before = await traces()
    const task = await Task.start([process.execPath, MAIN, '--duration', '12', '--output', 'json'], { env })
    await task.said(/"OPENED"/, 60_000)
    const held = heldLinks()
    // Two directions of each pod's veth at least.
    expect(held.length).toBeGreaterThanOrEqual(18)
    const end = await task.ended
    expect(end, task.stderr).toEqual({ code: 0, signal: null })

    const lines = task.stdout.trimEnd().split('\n')
    const messages = lines.map((line) => JSON.parse(line) as { flow?: Flow; lost?: unknown; error?: unknown })
    expect(messages.filter((message) => message.error !== undefined)).toEqual([])
    const flows = messages.flatMap((message) => (message.flow === undefined ? [] : [message.flow]))
    const some = (what: string, matches: (flow: Flow) => boolean) =>
      expect(flows.some(matches), `${what}, among ${flows.length} flows`).toBe(true)
    const workload = (end: End, kind: string, name: string) =>
      end.workload?.kind === kind && end.workload.name === name

    for (const event of ['OPENED', 'UPDATED', 'CLOSED']) some(event, (flow) => flow.event === event)
    some(
      'frontend reaches api through its service',
      ({ source, destination, service, verdict, event }) =>
        workload(source, 'Deployment', 'frontend') &&
        workload(destination, 'Deployment', 'api') &&
        destination.port === 8080 &&
        service?.name === 'api' &&
        service.port === 80 &&
        verdict === 'FORWARDED' &&
        event === 'CLOSED',
    )
    some(
      'api reaches db',
      ({ source, destination }) =>
        workload(source, 'Deployment', 'api') &&
        workload(destination, 'StatefulSet', 'db') &&
        destination.pod === 'db-0',
    )
    some('a CronJob asks the world', ({ source, destination }) => {
      return workload(source, 'CronJob', 'report') && destination.kind === 'WORLD' && destination.port === 443
    })
    some('a closed port', ({ verdict, destination }) => verdict === 'REFUSED' && destination.port === 81)
    some('the world comes in by a NodePort', ({ source, service }) => {
      return source.kind === 'WORLD' && service?.name === 'frontend' && service.port === 30080
    })
    some('DNS', ({ protocol, destination, service }) => {
      return protocol === 'UDP' && destination.port === 53 && service?.name === 'kube-dns'
    })
    some('ping', ({ protocol, source, destination }) => {
      return (
        protocol === 'ICMP' && source.namespace === 'monitoring' && destination.namespace === 'monitoring'
      )
    })
    // Roads by the way they take through the nodes (docs/roads.md); those above are more of them.
    const ROADS: Readonly<Record<string, (flow: Flow) => boolean>> = {
      'pod to pod on one node': ({ source, destination, direction, translation }) =>
        source.namespace === 'monitoring' &&
        destination.port === 8080 &&
        direction === 'LOCAL' &&
        translation === undefined,
      'pod to pod across nodes, where it leaves': ({ source, destination, direction }) =>
        source.namespace === 'monitoring' && destination.port === 8080 && direction === 'EGRESS',
      'and as both nodes counted it': ({ source, destination, views }) =>
        source.namespace === 'monitoring' &&
        destination.port === 8080 &&
        views
          ?.map(({ nodeName }) => nodeName)
          .sort()
          .join() === 'n1,n2',
      'ClusterIP with a backend here': ({ service, direction }) =>
        service?.type === 'ClusterIP' && service.name === 'api' && direction === 'LOCAL',
      'ClusterIP with a backend elsewhere': ({ service, direction, translation }) =>
        service?.name === 'api' && direction === 'EGRESS' && translation?.destinationPort === 8080,
      hairpin: ({ source, destination, translation }) =>
        source.pod !== undefined && source.pod === destination.pod && translation?.sourceIp !== undefined,
      "a balancer's address": ({ source, service, destination }) =>
        source.kind === 'WORLD' && service?.type === 'LoadBalancer' && destination.namespace === 'ingress',
      'Ingress, the controller to the backend': ({ source, service }) =>
        source.namespace === 'ingress' && service?.ingresses?.includes('storefront') === true,
      "a kubelet's probe": ({ source, destination }) =>
        source.kind === 'NODE' && destination.workload?.name === 'frontend' && destination.port === 8080,
      masquerade: ({ source, translation, destination }) =>
        source.kind === 'POD' && destination.kind === 'WORLD' && translation?.sourceIp !== undefined,
      'a service without endpoints': ({ service, verdict }) =>
        service?.name === 'legacy' && verdict === 'REFUSED',
    }
    for (const [road, matches] of Object.entries(ROADS)) some(road, matches)
    some('a dropped connection is no forwarded one', ({ destination, verdict }) => {
      return destination.port === 6379 && verdict !== 'FORWARDED'
    })
    expect(new Set(flows.map((flow) => flow.nodeName))).toEqual(new Set(['n1', 'n2']))

    // One connection is one flow: a request of 310 octets to the api closes with at least them, once per node.
    const closed = flows.filter(({ event, service }) => event === 'CLOSED' && service?.name === 'api')
    expect(closed.length).toBeGreaterThan(5)
    for (const flow of closed) {
      expect(flow.forward.totalBytes, JSON.stringify(flow)).toBeGreaterThan(310)
      expect(flow.reverse.totalBytes, JSON.stringify(flow)).toBeGreaterThan(4_200)
    }
    const ids = closed.map(({ nodeName, agentId, id }) => `${nodeName}/${agentId}/${id}`)
    expect(new Set(ids).size).toBe(ids.length)

    const after = await traces()
    expect(after.namespaces).toEqual([])
    expect(after.links).toBe(before.links)
    expect(after.processes).toEqual([])
    const existing = await existingLinks()
    expect(held.filter((id) => existing.has(id))).toEqual([])
  })

  it('says so and cleans up when an agent dies', { timeout: 60_000 }, async () => {
    const task = await Task.start([process.execPath, MAIN], { env })
    await task.said(/flows until Ctrl-C/, 40_000)
    const agent = readdirSync('/proc').find((pid) => {
      const argv = procFile(pid, 'cmdline')
      return argv.includes('agent') && argv.some((word) => word.includes(`/vf${task.pid}-demo_`))
    })
    process.kill(Number(agent), 'SIGKILL')
    expect(await task.ended).toEqual({ code: 1, signal: null })
    expect(task.stderr).toMatch(/^demo: the agent of n[12] ended with SIGKILL/m)
    expect(await traces()).toMatchObject({ namespaces: [], processes: [] })
  })

  it('ends with make when only make is interrupted, with a summary and nothing left', {
    timeout: 90_000,
  }, async () => {
    const make = await Task.start(['make', '-C', repository, '-s', 'demo'], { env })
    await make.said(/ OPENED /, 80_000)
    make.signal('SIGINT')
    expect((await make.ended).signal ?? (await make.ended).code).not.toBe(0)
    expect(make.stderr).toMatch(/^\d+ flows? shown, 0 lost$/m)
    expect(make.stderr).toMatch(/everything is removed$/m)
    expect(await traces()).toMatchObject({ namespaces: [], processes: [] })
  })

  it('builds nothing when its port is taken', async () => {
    const holder = createServer()
    // Somebody else's hold on it is as good.
    await new Promise<void>((resolve) => {
      holder.once('error', () => resolve())
      holder.listen(4280, '127.0.0.1', resolve)
    })
    try {
      const task = await Task.start([process.execPath, MAIN], { env })
      expect((await task.ended).code).toBe(2)
      expect(task.stderr).toMatch(/port 4280 of 127\.0\.0\.1 is taken/)
    } finally {
      await new Promise((resolve) => holder.close(resolve))
    }
  })
})

function procFile(pid: string, name: string): string[] {
  try {
    return /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/${name}`, 'utf8').split('\0') : []
  } catch {
    return []
  }
}
