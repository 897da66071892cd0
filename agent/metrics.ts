// What kernel and capture count, for /metrics. Read when somebody asks; nothing is counted here.

import { Counter, Gauge, type Registry } from 'prom-client'
import type { CaptureState } from './capture/capture.js'
import type { Datapath } from './kernel/datapath.js'
import type { Told } from './told.js'

/** Adds the agent's metrics to the server's registry. */
export function registerAgentMetrics(
  registry: Registry,
  datapath: Datapath,
  capture: () => CaptureState,
  told: Told,
): void {
  const registers = [registry]
  const hook = ['interface', 'direction'] as const
  const perHook = (
    name: string,
    help: string,
    value: (counters: ReturnType<Datapath['hookCounters']>[number]) => number,
  ) =>
    new Counter({
      name,
      help,
      labelNames: hook,
      registers,
      collect() {
        this.reset()
        for (const counters of datapath.hookCounters())
          this.inc(
            { interface: counters.name, direction: counters.egress ? 'egress' : 'ingress' },
            value(counters),
          )
      },
    })
  perHook(
    'vethflow_interface_other_packets_total',
    'Packets that are not IP, ARP among them',
    (c) => c.otherPackets,
  )
  perHook('vethflow_interface_other_bytes_total', 'Their bytes without Ethernet header', (c) => c.otherBytes)
  perHook('vethflow_interface_lost_packets_total', 'Packets accounted nowhere', (c) => c.lostPackets)
  perHook('vethflow_interface_lost_bytes_total', 'Their bytes without Ethernet header', (c) => c.lostBytes)
  perHook(
    'vethflow_interface_tunnel_packets_total',
    'First packets of connections on their way into a tunnel; they are accounted where they come out of it',
    (c) => c.tunnelPackets,
  )
  const read = (name: string, help: string, value: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  read('vethflow_kernel_map_full_total', 'Packets that found the map full', () => datapath.losses().mapFull)
  read('vethflow_kernel_ring_full_total', 'Events that found the ring full', () => datapath.losses().ringFull)
  read('vethflow_flow_packets_total', 'Packets in records', () => told.packets)
  read('vethflow_flow_bytes_total', 'Their IP octets', () => told.bytes)
  read('vethflow_unattached_packets_total', 'Packets that crossed interfaces before they were hooked', () =>
    datapath.missedPackets(),
  )
  read('vethflow_kernel_dns_full_total', 'DNS messages that were not copied', () => datapath.losses().dns)
  read('vethflow_records_total', 'Flow records made', () => capture().records)
  read('vethflow_ring_records_total', 'Events read from the ring', () => capture().ringRecords)
  read('vethflow_ring_malformed_total', 'Events that were not understood', () => capture().malformed)
  read(
    'vethflow_flows_absorbed_total',
    'Flows told on their own before they turned out to be part of another one (CLOSED, EVICTED)',
    () => capture().absorbed,
  )
  read('vethflow_sockets_lost_total', 'Sockets of which the kernel could not tell', () =>
    datapath.socketsLost(),
  )
  read(
    'vethflow_ends_without_process_total',
    'Ends of this node that were told without a process',
    () => capture().ownerless,
  )
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  gauge('vethflow_connections', 'Connections that are open', () => capture().connections)
  gauge('vethflow_sockets', 'Sockets that are known', () => capture().sockets)
  gauge('vethflow_processes', 'Processes that are known', () => capture().processes)
  gauge('vethflow_socket_walk_milliseconds', 'What the last walk over all open files took', () =>
    datapath.lastSocketWalkMs(),
  )
  gauge('vethflow_drain_milliseconds', 'What the last drain of the maps took', () => capture().drainMs)
}
