// A flood of packets, each from somewhere else: the agent stays within its bounds, says what it could not account, and
// is exact again soon after. The full form (30 s) is in test/long.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { endpoint, flood, Testbed, tcpConnect, tcpServer } from '../testbed/index.js'
import { RunningAgent, sums } from './agent.js'

const SECONDS = Number(process.env.VETHFLOW_FLOOD_SECONDS ?? 5)

/** CPU seconds of a process, and its resident memory. */
function usage(pid: number): { cpu: number; rssMb: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return {
    cpu: (Number(fields[11]) + Number(fields[12])) / 100,
    rssMb: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024,
  }
}

describe('a SYN flood', () => {
  it(`of 500,000 packets a second for ${SECONDS} s to a pod`, async () => {
    const bed = await Testbed.create('flood')
    try {
      const node = await bed.node('n1')
      const client = await node.pod({ name: 'client' })
      const server = await node.pod({ name: 'server' })
      await node.quiet()
      const agent = await RunningAgent.start(bed, node, 'n1', {
        interfaces: [client.hostVeth],
        filters: [{ name: 'port', values: ['7500'], negate: false }],
      })
      try {
        const before = usage(agent.task.pid)
        const toldBefore = await agent.metric('vethflow_flow_packets_total')
        const otherBefore = await agent.metric('vethflow_interface_other_packets_total')
        const counters = await node.counters(client.hostVeth)
        const syn = [
          await node.mac('cni0'),
          await client.mac('eth0'),
          '0800',
          `45000028000040004006${'0000'}`,
          'c6120001',
          server.ip
            .split('.')
            .map((octet) => Number(octet).toString(16).padStart(2, '0'))
            .join(''),
          '03e81f90000000010000000050020400000000000000000000000000',
        ]
          .join('')
          .replaceAll(':', '')
        const began = performance.now()
        const { sent } = await flood(client, 'eth0', syn, {
          count: 500_000 * SECONDS,
          rate: 500_000,
          seconds: SECONDS + 5,
        })
        const seconds = (performance.now() - began) / 1000
        const during = usage(agent.task.pid)
        const after = await node.counters(client.hostVeth)
        await new Promise((wake) => setTimeout(wake, 5000))
        // exact again
        const tcp = await tcpServer(server, 7500)
        const lostBefore = agent.lost.length
        const exchange = await tcpConnect(client, endpoint(server.ip, 7500), {
          count: 200,
          rate: 200,
          bytesOut: 1000,
          bytesIn: 1000,
        })
        await tcp.stop()
        const mine = () => agent.flows.filter((f) => f.destination?.port === 7500)
        await agent.until(
          '200 closed',
          () => mine().filter((f) => f.event === 'CLOSED').length >= 200,
          20_000,
        )
        expect(sums(mine())).toMatchObject({
          forward: exchange.segmentsOut,
          reverse: exchange.segmentsIn,
          consistent: true,
        })
        const packets = after.rxPackets - counters.rxPackets
        const lostDuring = agent.lost.slice(0, lostBefore).reduce((sum, { count }) => sum + (count ?? 0), 0)
        // Every packet that the interface carried is in a record, was lost and told, or is not IP.
        const account = async () => {
          const now = await node.counters(client.hostVeth)
          const carried = now.rxPackets + now.txPackets - counters.rxPackets - counters.txPackets
          const told = (await agent.metric('vethflow_flow_packets_total')) - toldBefore
          const other = (await agent.metric('vethflow_interface_other_packets_total')) - otherBefore
          const lost = ((await agent.status()).lost ?? [])
            .filter(({ unit }) => unit === 'PACKETS')
            .reduce((sum, { count }) => sum + (count ?? 0), 0)
          return { carried, told, other, lost }
        }
        let sum = await account()
        for (const end = performance.now() + 10_000; performance.now() < end; sum = await account()) {
          if (sum.told + sum.other + sum.lost === sum.carried) break
          await new Promise((wake) => setTimeout(wake, 250))
        }
        console.log(
          `${sum.carried} packets = ${sum.told} in records + ${sum.lost} lost + ${sum.other} not IP`,
        )
        expect(sum.told + sum.other + sum.lost).toBe(sum.carried)
        console.log(
          `${sent} sent in ${seconds.toFixed(1)} s (${(sent / seconds / 1000).toFixed(0)} k/s), ${packets} at the veth, ${agent.flows.length} records, lost ${JSON.stringify(
            agent.lost
              .slice(0, lostBefore)
              .map((l) => [l.stage, l.unit, l.count])
              .slice(0, 12),
          )} = ${lostDuring}; ` +
            `agent ${((during.cpu - before.cpu) / seconds).toFixed(2)} of a core, RSS ${before.rssMb.toFixed(0)} -> ${during.rssMb.toFixed(0)} -> ${usage(agent.task.pid).rssMb.toFixed(0)} MB`,
        )
        expect((during.cpu - before.cpu) / seconds).toBeLessThan(1.05)
        // All tables full: 131,072 connections, and a history that grows to its 64 MiB.
        expect(Math.max(during.rssMb, usage(agent.task.pid).rssMb)).toBeLessThan(320)
      } finally {
        await agent.kill()
      }
    } finally {
      await bed.close()
    }
  }, 240_000)
})
