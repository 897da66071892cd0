// What the records add up to is what the interface and the sockets counted themselves, to the packet and the octet.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  endpoint,
  type Node,
  type Pod,
  sendFrames,
  Testbed,
  tcpConnect,
  tcpServer,
  udpSend,
  udpServer,
} from '../testbed/index.js'
import { RunningAgent, sums } from './agent.js'

const ETHERNET_HEADER = 14
/** An ARP request for 10.9.9.9 from a locally administered address, padded to 60 bytes. */
const ARP = `ffffffffffff020000000001080600010800060400010200000000010a0909080000000000000a090909${'00'.repeat(18)}`
/** A frame of a protocol that is not IP: LLDP's EtherType. */
const LLDP = `0180c200000e02000000000188cc${'00'.repeat(46)}`

describe('records add up to', () => {
  let bed: Testbed
  let node: Node
  let client: Pod
  let server: Pod

  beforeAll(async () => {
    bed = await Testbed.create('conserve')
    node = await bed.node('n1')
    client = await node.pod({ name: 'client' })
    server = await node.pod({ name: 'server' })
    await node.quiet()
  })
  afterAll(() => bed?.close())

  it("the interface's packets and octets: a million packets with offloads off, while the map is drained", async () => {
    for (const pod of [client, server]) await pod.bothOffloads(false)
    const veth = client.hostVeth
    const agent = await RunningAgent.start(bed, node, 'n1', { interfaces: [veth] })
    try {
      const tcp = await tcpServer(server, 7001)
      const udp = await udpServer(server, 7002)
      const before = await node.counters(veth)
      // 400,000 datagrams there and back, about 220,000 segments of 320 MB and their acknowledgements
      await udpSend(client, endpoint(server.ip, udp.port), {
        count: 400_000,
        size: 64,
        sockets: 50,
        window: 64,
      })
      await tcpConnect(client, endpoint(server.ip, tcp.port), {
        count: 8,
        parallel: 4,
        bytesOut: 40_000_000,
        bytesIn: 1000,
      })
      await sendFrames(client, 'eth0', [ARP, LLDP], { count: 500 })
      await tcp.stop()
      await udp.stop()
      const after = await node.counters(veth)
      const otherPackets = await agent.metric('vethflow_interface_other_packets_total', { interface: veth })
      const otherBytes = await agent.metric('vethflow_interface_other_bytes_total', { interface: veth })
      await agent.close()
      const packets = after.rxPackets - before.rxPackets + after.txPackets - before.txPackets
      const bytes = after.rxBytes - before.rxBytes + after.txBytes - before.txBytes
      const told = sums(agent.flows)
      console.log(`${packets} packets, ${bytes} bytes at ${veth}; records: ${told.packets}, ${told.bytes}`)
      expect(packets).toBeGreaterThan(1_000_000)
      expect(otherPackets).toBeGreaterThanOrEqual(1000)
      expect(told.consistent).toBe(true)
      expect({ packets: told.packets + otherPackets, bytes: told.bytes + otherBytes }).toEqual({
        packets,
        bytes: bytes - packets * ETHERNET_HEADER,
      })
      expect(agent.lost).toEqual([])
    } finally {
      await agent.kill()
    }
  }, 180_000)

  it("the socket's own segments with offloads on, and never more than one connection's", async () => {
    for (const pod of [client, server]) await pod.bothOffloads(true)
    const agent = await RunningAgent.start(bed, node, 'n1')
    try {
      const tcp = await tcpServer(server, 7011)
      const sent = await tcpConnect(client, endpoint(server.ip, tcp.port), {
        count: 4,
        parallel: 2,
        bytesOut: 50_000_000,
        bytesIn: 2_000_000,
      })
      const served = await tcp.stop()
      await agent.until('4 closed', (a) => a.latest().filter((f) => f.event === 'CLOSED').length >= 4)
      await agent.close()
      const flows = agent.flows.filter((f) => f.destination?.port === 7011)
      const told = sums(flows)
      console.log(
        `sockets: ${sent.segmentsOut} out, ${served.segmentsOut} back; records: ${told.forward}, ${told.reverse}`,
      )
      expect(new Set(flows.map((f) => f.id)).size).toBe(4)
      expect(told.consistent).toBe(true)
      expect({ forward: told.forward, reverse: told.reverse }).toEqual({
        forward: sent.segmentsOut,
        // the SYN+ACK of each connection is sent before its socket is there to count it
        reverse: served.segmentsOut + 4,
      })
    } finally {
      await agent.kill()
    }
  }, 120_000)
})
