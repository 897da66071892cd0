// The roads on which a connection is translated in scenario.sh's cluster, and what the agent must say of each. Two pods
// `a` and `b` on one node, `world` behind its uplink; the rules are in service.nft and service.iptables.

/** One connection, by what the agent tells of it. Addresses and ports are those of the cluster. */
export interface Road {
  readonly name: string
  /** Network namespaces. */
  readonly client: string
  readonly server: string
  readonly source: string
  /** What the client asks for. */
  readonly address: string
  readonly port: number
  /** Who answers. */
  readonly destination: string
  readonly serverPort: number
  /** The client as the server sees it, where that is not itself. */
  readonly masquerade?: string
}

export const ROADS: readonly Road[] = [
  {
    name: 'a service whose backend is another pod, by nftables',
    client: 'a',
    server: 'b',
    source: '10.244.1.2',
    address: '10.96.0.10',
    port: 80,
    destination: '10.244.2.2',
    serverPort: 8080,
  },
  {
    name: 'a service that leads a pod to itself as its node, by iptables',
    client: 'a',
    server: 'a',
    source: '10.244.1.2',
    address: '10.96.0.11',
    port: 80,
    destination: '10.244.1.2',
    serverPort: 8082,
    masquerade: '10.244.1.1',
  },
  {
    name: 'a pod that speaks to the world as its node',
    client: 'a',
    server: 'world',
    source: '10.244.1.2',
    address: '192.0.2.2',
    port: 9000,
    destination: '192.0.2.2',
    serverPort: 9000,
    masquerade: '192.0.2.1',
  },
  {
    name: "a node's port that the world asks for",
    client: 'world',
    server: 'b',
    source: '192.0.2.2',
    address: '192.0.2.1',
    port: 30080,
    destination: '10.244.2.2',
    serverPort: 8080,
    masquerade: '10.244.2.1',
  },
  {
    name: 'a service over IPv6',
    client: 'a',
    server: 'b',
    source: 'fd00:1::2',
    address: 'fd00:96::10',
    port: 80,
    destination: 'fd00:2::2',
    serverPort: 8080,
  },
  {
    name: 'a pod over IPv6, as it is',
    client: 'a',
    server: 'b',
    source: 'fd00:1::2',
    address: 'fd00:2::2',
    port: 9090,
    destination: 'fd00:2::2',
    serverPort: 9090,
  },
]

const BYTES = 200_000

/** What stream.c is asked to do. */
export function streamArguments(road: Road): string[] {
  return [road.server, `${road.serverPort}`, road.client, road.address, `${road.port}`, `${BYTES}`]
}
