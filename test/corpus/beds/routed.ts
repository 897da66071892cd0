// Routed veths without a bridge (the ptp plugin), nodes joined by routes, IPv4 and IPv6 side by side; rules of our own for
// what the recorded ones lack.

import {
  ContainerGroups,
  endpoint,
  hostPodManifest,
  Namespace,
  type Pod,
  type Service,
  Testbed,
  tcpProxy,
  tcpServer,
  udpServer,
} from '../../testbed/index.js'
import type { Built, CorpusBed } from '../bed.js'
import {
  ADDRESSES,
  CLUSTER_IPS,
  INGRESS_PORT,
  ip,
  LAN,
  NODE_PORT,
  n1,
  n2,
  RETURNED,
  routedRows,
} from './routed-rows.js'

const HOSTNET_UID = '0b6f3a52-6d0e-4b0f-9d3c-6a3f5b0e1c11'

async function build(): Promise<Built> {
  const bed = await Testbed.create('routed')
  const [one, two] = await Promise.all(
    ([1, 2] as const).map((number) =>
      bed.node(`n${number}`, {
        cni: 'ptp',
        ip: `172.18.0.${number + 1}`,
        ip6: `fd00:18::${number + 1}`,
        podCidr: `10.244.${number}.0/24`,
        podCidr6: `fd00:244:0:${number}::/64`,
      }),
    ),
  )
  if (one === undefined || two === undefined) throw new Error('the nodes are missing')
  await bed.routes()
  const make = (name: 'client' | 'server' | 'controller' | 'published' | 'meshed' | 'far'): Promise<Pod> =>
    (name === 'far' ? two : one).pod({
      name,
      namespace: 'shop',
      ips: [...ADDRESSES[name]],
      ...(name === 'server' || name === 'controller' ? { owner: { kind: 'Deployment', name } } : {}),
      ...(name === 'published'
        ? { hostPorts: [{ hostPort: 8088, containerPort: 8080, protocol: 'tcp' as const }] }
        : {}),
    })
  const names = ['client', 'server', 'controller', 'published', 'meshed', 'far'] as const
  const [pods, caller] = await Promise.all([
    Promise.all(names.map(make)),
    bed.world('visitor', { ip: ip('visitor', 4), ip6: ip('visitor', 6) }),
  ])
  const there: Record<string, Pod> = Object.fromEntries(names.map((name, i) => [name, pods[i]!]))
  const lanPod = await macvlan(bed, one)
  const groups = new ContainerGroups()
  const hostnet = groups.container(one, HOSTNET_UID, 'main')

  const services: Service[] = [
    ...(['near', 'away', 'echo'] as const).map(
      (name): Service => ({
        namespace: 'shop',
        name,
        clusterIP: CLUSTER_IPS[name][0],
        clusterIP6: CLUSTER_IPS[name][1],
        type: name === 'away' ? 'NodePort' : 'ClusterIP',
        ports: [
          name === 'echo'
            ? { name: 'main', port: 7, targetPort: 7007, protocol: 'udp' }
            : {
                name: 'main',
                port: 80,
                targetPort: name === 'near' ? 8080 : 8081,
                ...(name === 'away' ? { nodePort: NODE_PORT } : {}),
              },
        ],
        backends: [name === 'away' ? there.far! : there.server!],
      }),
    ),
    {
      namespace: 'shop',
      name: 'canary',
      clusterIP: '10.96.1.4',
      clusterIP6: 'fd00:96::4',
      ports: [{ name: 'main', port: 80, targetPort: 8080 }],
      backends: [there.server!],
    },
    {
      namespace: 'shop',
      name: 'controller',
      type: 'NodePort',
      clusterIP: '10.96.1.5',
      ports: [{ name: 'main', port: 443, targetPort: 8443, nodePort: INGRESS_PORT }],
      backends: [there.controller!],
    },
  ]
  await bed.services(services)

  // a balancer's address that no node translates: n1 hands it on to n2, whose pod has it and answers past n1
  await bed.fabric.configure(`route add ${RETURNED}/32 via ${n1.ip}`)
  await one.configure(`route add ${RETURNED}/32 via ${n2.ip}`)
  await two.configure(`route add ${RETURNED}/32 via ${ip('far', 4)} dev ${there.far!.hostVeth} onlink`)
  await there.far!.configure(`addr add ${RETURNED}/32 dev lo`)

  // the sidecar: what comes to port 80 of the pod ends at a proxy in it, which speaks to the application over loopback
  await there.meshed!.nft(
    'table ip mesh { chain inbound { type nat hook prerouting priority dstnat; tcp dport 80 redirect to :15006; }\n}\n',
  )
  await Promise.all([
    tcpServer(there.meshed!, 8080, { address: '127.0.0.1' }),
    tcpProxy(there.meshed!, 15_006, '127.0.0.1:8080'),
    tcpServer(there.published!, 8080),
    tcpServer(there.far!, 8082, { address: RETURNED }),
    ...([there.server!, there.far!] as Namespace[]).flatMap((where) =>
      [7000, 8080, 8081].map((port) => tcpServer(where, port, { address: '::' })),
    ),
    udpServer(there.server!, 7007, { address: '::' }),
    tcpServer(caller, 443, { address: '::' }),
    tcpServer(one, 9001, { address: '::' }),
    tcpServer(two, 9001, { address: '::' }),
  ])
  const controller = await tcpProxy(there.controller!, 8443, endpoint(ip('far', 4), 8081))

  const places: Record<string, Namespace> = {
    n1: one,
    n2: two,
    visitor: caller,
    lan: lanPod,
    hostnet,
    ...there,
  }
  return {
    bed,
    nodes: { n1: one, n2: two },
    places,
    address: (place, family) => (place === 'lan' ? LAN : ip(place as keyof typeof ADDRESSES, family)),
    manifests: bed.writeManifests([
      ...moreObjects(),
      hostPodManifest(one, { namespace: 'shop', name: 'hostnet', uid: HOSTNET_UID }, [hostnet]),
    ]),
    proxies: { controller },
    close: () => groups.close(),
  }
}

/** A pod whose interface lies on the node's uplink: there is no veth of it in the node. */
async function macvlan(bed: Testbed, one: Namespace): Promise<Namespace> {
  const name = `${bed.prefix}lan`
  await Namespace.make([name])
  await one.configure(
    `link add lan0 link eth0 type macvlan mode bridge`,
    `link set lan0 netns ${name} name eth0`,
  )
  const made = new Namespace(name)
  await made.configure(`addr add ${LAN}/16 dev eth0`, 'link set eth0 up', 'route add default via 172.18.0.1')
  return made
}

function moreObjects(): object[] {
  return [
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'lan', namespace: 'shop', uid: 'lan' },
      spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'testbed' }] },
      status: { phase: 'Running', hostIP: n1.ip, podIP: LAN, podIPs: [{ ip: LAN }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'returned', namespace: 'shop', uid: 'returned' },
      spec: {
        type: 'LoadBalancer',
        clusterIP: '10.96.1.6',
        clusterIPs: ['10.96.1.6'],
        ports: [{ name: 'main', protocol: 'TCP', port: 8082, targetPort: 8082 }],
      },
      status: { loadBalancer: { ingress: [{ ip: RETURNED }] } },
    },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'storefront', namespace: 'shop', uid: 'storefront' },
      spec: {
        rules: [
          {
            host: 'store.example',
            http: {
              paths: [
                {
                  path: '/',
                  pathType: 'Prefix',
                  backend: { service: { name: 'away', port: { name: 'main' } } },
                },
              ],
            },
          },
        ],
      },
    },
  ]
}

export const routed: CorpusBed = {
  name: 'routed',
  rows: routedRows,
  uncovered: { n1: ['shop/lan'], n2: [] },
  build,
}
