// Names and backends while they change: never somebody else's.

import { writeFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { RunningAgent } from '../e2e/agent.js'
import { endpoint, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'
import { churn } from './churn.js'

let bed: Testbed | undefined
let agent: RunningAgent | undefined

afterEach(async () => {
  await agent?.kill()
  agent = undefined
  await bed?.close()
  bed = undefined
})

describe('endpoints that change a hundred times a second', () => {
  it('never give a flow the wrong backend', async () => {
    const result = await churn(5)
    console.log(JSON.stringify({ ...result, wrong: result.wrong.length }))
    expect(result.wrong).toEqual([])
    expect(result.connections).toBe(750)
    expect(result.backends).toBe(5)
    expect(result.changes.rules).toBe(500)
    expect(result.changes.names).toBeGreaterThan(100)
  }, 60_000)
})

it('an address that passes on from pod to pod: each flow to the one that held it then', async () => {
  bed = await Testbed.create('passing')
  // routed: on a bridge the client's neighbour entry would outlive the pod
  const node = await bed.node('n1', { cni: 'ptp' })
  const client = await node.pod({ name: 'client' })
  const ip = '10.244.1.77'
  const holders = ['first', 'second', 'third']
  const manifests = bed.writeManifests()
  const tell = () =>
    writeFileSync(
      `${manifests}/cluster.json`,
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items: bed!.manifests() }),
    )
  agent = await RunningAgent.start(bed, node, 'n1', { manifests })
  const gaps: number[] = []
  const ports: number[] = []
  let deletedAt = 0
  for (const name of holders) {
    const pod = await node.pod({ name, ip })
    tell()
    await tcpServer(pod, 8080)
    if (deletedAt > 0) gaps.push(performance.now() - deletedAt)
    const report = await tcpConnect(client, endpoint(ip, 8080), { count: 3, rate: 2, ports: true })
    expect(report.ok).toBe(3)
    ports.push(...(report.ports ?? []))
    deletedAt = performance.now()
    await pod.delete()
    tell()
  }
  await agent.close()
  const flows = agent.flows.filter((flow) => flow.protocol === 'TCP')
  for (const [number, port] of ports.entries()) {
    const records = flows.filter((flow) => flow.source?.port === port)
    const holder = `${ip} ${holders[Math.floor(number / 3)]}`
    // what comes before the agent has been told who holds the address names nobody, and never somebody else
    const named = records.map((flow) => `${flow.destination?.ip} ${flow.destination?.pod ?? 'nobody'}`)
    const others = named.filter((name) => name !== holder && name !== `${ip} nobody`)
    expect(others, `connection ${number}`).toEqual([])
    if (number % 3 === 2) expect(named.at(-1), `connection ${number}`).toBe(holder)
  }
  console.log(
    `the address was somebody else's ${gaps.map((gap) => `${gap.toFixed(0)} ms`).join(' and ')} later`,
  )
}, 60_000)
