// What happens when there is no room: the map takes what it can, the ring carries the packets of the rest, and what
// neither took is told. Nothing is ever missing without a word.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Stage, Unit } from '../../ui-stream/protocol/messages.js'
import { endpoint, type Node, type Pod, Testbed, udpSend, udpServer } from '../testbed/index.js'
import { RunningAgent, sums } from './agent.js'

const ETHERNET_HEADER = 14

describe('with a map of 1,024 connections', () => {
  let bed: Testbed
  let node: Node
  let client: Pod
  let server: Pod

  beforeAll(async () => {
    bed = await Testbed.create('full')
    node = await bed.node('n1')
    client = await node.pod({ name: 'client' })
    server = await node.pod({ name: 'server' })
    await node.quiet()
  })
  afterAll(() => bed?.close())

  it('4,000 live flows add up with what is told as lost', async () => {
    const agent = await RunningAgent.start(bed, node, 'n1', {
      interfaces: [client.hostVeth],
      flags: ['--max-connections', '1024'],
    })
    try {
      const udp = await udpServer(server, 7300)
      const before = await node.counters(client.hostVeth)
      await udpSend(client, endpoint(server.ip, udp.port), {
        count: 60_000,
        size: 64,
        sockets: 4000,
        window: 64,
        sourcePort: 20_000,
      })
      await udp.stop()
      const after = await node.counters(client.hostVeth)
      const mapFull = await agent.metric('vethflow_kernel_map_full_total')
      const other = await agent.metric('vethflow_interface_other_packets_total')
      await agent.close()
      const packets = after.rxPackets - before.rxPackets + after.txPackets - before.txPackets
      const bytes = after.rxBytes - before.rxBytes + after.txBytes - before.txBytes
      const lost = agent.lost
        .filter(({ unit }) => unit === Unit.UNIT_PACKETS)
        .reduce((sum, { count }) => sum + (count ?? 0), 0)
      const told = sums(agent.flows)
      console.log(
        `${packets} packets of ${new Set(agent.flows.map((f) => f.id)).size} flows; ${mapFull} found the map full, ${lost} lost`,
      )
      expect(mapFull).toBeGreaterThan(10_000)
      expect(told.consistent).toBe(true)
      expect(told.packets + lost + other).toBe(packets)
      if (lost === 0) expect(told.bytes).toBe(bytes - packets * ETHERNET_HEADER)
    } finally {
      await agent.kill()
    }
  }, 60_000)

  it('also when nobody reads the ring until it is full, too', async () => {
    const agent = await RunningAgent.start(bed, node, 'n1', {
      interfaces: [client.hostVeth],
      flags: ['--max-connections', '1024'],
    })
    try {
      const udp = await udpServer(server, 7301)
      const before = await node.counters(client.hostVeth)
      agent.task.signal('SIGSTOP')
      await udpSend(client, endpoint(server.ip, udp.port), {
        count: 150_000,
        size: 64,
        sockets: 4000,
        window: 64,
        sourcePort: 20_000,
      })
      agent.task.signal('SIGCONT')
      await udp.stop()
      const after = await node.counters(client.hostVeth)
      // told to end while all of it still waits
      await agent.close()
      const packets = after.rxPackets - before.rxPackets + after.txPackets - before.txPackets
      const lost = agent.lost.reduce((sum, { count }) => sum + (count ?? 0), 0)
      const told = sums(agent.flows)
      console.log(`${packets} packets; ${told.packets} in records, ${lost} lost`)
      expect(
        agent.lost.every(({ stage, unit }) => stage === Stage.STAGE_KERNEL_MAP && unit === Unit.UNIT_PACKETS),
      ).toBe(true)
      expect(lost).toBeGreaterThan(10_000)
      expect(told.consistent).toBe(true)
      expect(told.packets + lost).toBe(packets)
    } finally {
      await agent.kill()
    }
  }, 60_000)
})
