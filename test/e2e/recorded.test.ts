// The recorded cluster come to life: kube-proxy's own rules as they were written, pods at the addresses that they name,
// names from the lists of the same API server. What the agent tells is what a person would read off those recordings.

import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import {
  endpoint,
  type Node,
  type Pod,
  repository,
  Testbed,
  tcpConnect,
  tcpServer,
} from '../testbed/index.js'
import { type FlowJson, RunningAgent, sums } from './agent.js'

const FIXTURES = `${repository}/test/fixtures`

let bed: Testbed | undefined
let agent: RunningAgent | undefined

afterEach(async () => {
  await agent?.kill()
  agent = undefined
  await bed?.close()
  bed = undefined
})

/** The lists of the recording, as somebody would put them into a directory. */
function lists(directory: string): string {
  const target = `${directory}/recorded`
  mkdirSync(target, { recursive: true })
  for (const name of readdirSync(`${FIXTURES}/kubernetes`))
    if (name.startsWith('list-') && name.endsWith('.json'))
      copyFileSync(`${FIXTURES}/kubernetes/${name}`, `${target}/${name}`)
  return target
}

describe.each([
  ['nftables', (node: Node) => node.loadNft(`${FIXTURES}/kube-proxy/n1.nft`)],
  ['iptables', (node: Node) => node.loadIptables(`${FIXTURES}/kube-proxy/n1.iptables-save`)],
])("with kube-proxy's own %s rules", (_, load) => {
  it('names pods, workloads and what was addressed', async () => {
    bed = await Testbed.create('recorded')
    const n1 = await bed.node('n1', { ip: '172.18.0.2', podCidr: '10.244.1.0/24' })
    const n2 = await bed.node('n2', { ip: '172.18.0.3', podCidr: '10.244.2.0/24' })
    await bed.routes()
    const pod = (node: Node, name: string, ip: string): Promise<Pod> =>
      node.pod({ name, namespace: 'shop', ip })
    const db0 = await pod(n1, 'db-0', '10.244.1.2')
    const near = await pod(n1, 'web-859494c7d5-fgph8', '10.244.1.3')
    const far = await pod(n2, 'web-859494c7d5-crjtt', '10.244.2.3')
    const world = await bed.world('outside')
    await load(n1)
    agent = await RunningAgent.start(bed, n1, 'n1', { manifests: lists(bed.directory) })
    const servers = [await tcpServer(near, 8080), await tcpServer(far, 8080)]
    const once = { count: 1, bytesOut: 2000, bytesIn: 3000 }
    // the backend is the rules' own random choice: enough connections to meet both
    const cluster = await tcpConnect(db0, endpoint('10.96.136.227', 80), { ...once, count: 24 })
    const nodePort = await tcpConnect(world, endpoint(n1.ip, 30080), { ...once, count: 12 })
    const refused = await tcpConnect(db0, endpoint('10.96.0.1', 443), { count: 1 })
    for (const server of servers) await server.stop()
    expect(cluster.ok).toBe(24)
    expect(nodePort.ok).toBe(12)
    expect(refused.refused).toBe(1)
    const tcp = (): FlowJson[] => agent!.latest().filter((f) => f.protocol === 'TCP')
    await agent.until(
      '36 closed',
      () => tcp().filter((f) => f.event === 'CLOSED' && f.verdict === 'FORWARDED').length >= 36,
    )
    await agent.close()

    const web = tcp().filter((f) => f.service?.name === 'web')
    expect(web).toHaveLength(24)
    for (const flow of web)
      expect(flow).toMatchObject({
        source: {
          kind: 'POD',
          namespace: 'shop',
          pod: 'db-0',
          workload: { kind: 'StatefulSet', name: 'db' },
          nodeName: 'n1',
        },
        service: {
          namespace: 'shop',
          name: 'web',
          portName: 'http',
          ip: '10.96.136.227',
          port: 80,
          type: 'ClusterIP',
        },
        destination: {
          kind: 'POD',
          namespace: 'shop',
          port: 8080,
          workload: { kind: 'Deployment', name: 'web' },
        },
        verdict: 'FORWARDED',
      })
    for (const [ip, name, direction] of [
      ['10.244.1.3', 'web-859494c7d5-fgph8', 'LOCAL'],
      ['10.244.2.3', 'web-859494c7d5-crjtt', 'EGRESS'],
    ] as const) {
      const there = web.filter((f) => f.destination?.ip === ip)
      expect(there.length).toBeGreaterThan(0)
      for (const flow of there) expect(flow).toMatchObject({ destination: { pod: name }, direction })
    }
    expect(sums(agent.flows.filter((f) => f.service?.name === 'web'))).toMatchObject({
      forward: cluster.segmentsOut,
      reverse: cluster.segmentsIn,
      consistent: true,
    })

    const outside = tcp().filter((f) => f.service?.name === 'web-np')
    expect(outside).toHaveLength(12)
    for (const flow of outside)
      expect(flow).toMatchObject({
        source: { kind: 'WORLD', ip: world.ip },
        service: { namespace: 'shop', name: 'web-np', type: 'NodePort', ip: '172.18.0.2', port: 30080 },
        destination: { kind: 'POD', workload: { kind: 'Deployment', name: 'web' } },
      })

    const api = tcp().filter((f) => f.service?.ip === '10.96.0.1')
    expect(api).toHaveLength(1)
    expect(api[0]).toMatchObject({
      service: { namespace: 'default', name: 'kubernetes', portName: 'https' },
      verdict: 'REFUSED',
    })
  }, 60_000)
})
