// The demo's cluster: two nodes, the pods of a small shop, their services, a world outside. Builds; nothing talks yet.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  endpoint,
  type Node,
  type Owner,
  type Pod,
  repository,
  type Service,
  type Testbed,
  tcpProxy,
  tcpServer,
  udpServer,
  type World,
} from '../testbed/index.js'

export interface Cluster {
  readonly bed: Testbed
  readonly nodes: readonly Node[]
  readonly pods: Readonly<Record<PodKey, Pod>>
  /** Answers on port 443. */
  readonly website: World
  /** Calls in from outside. */
  readonly visitor: World
  /** Throws away all that comes: whoever calls it waits for ever. */
  readonly silent: World
}

/** The address that a balancer outside leads to n1. */
const BALANCER_IP = '203.0.113.80'

type PodKey =
  | 'ingress'
  | 'frontend1'
  | 'frontend2'
  | 'api1'
  | 'api2'
  | 'db'
  | 'report'
  | 'coredns'
  | 'probe1'
  | 'probe2'

const SERVICE_IPS = {
  dns: '10.96.0.10',
  frontend: '10.96.0.30',
  ingress: '10.96.0.29',
  api: '10.96.0.31',
  db: '10.96.0.32',
  legacy: '10.96.0.33',
}
const SEARCH = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local']

/** Fills `bed`; what was made when it throws goes with the bed. */
export async function buildCluster(bed: Testbed): Promise<Cluster> {
  const [n1, n2] = await Promise.all([bed.node('n1', { zone: 'zone-a' }), bed.node('n2', { zone: 'zone-b' })])
  await bed.routes()
  const [website, visitor, silent] = await Promise.all([
    bed.world('website'),
    bed.world('visitor'),
    bed.world('silent'),
  ])

  const shop = (node: Node, name: string, app: string, owner: Owner, ports: Record<string, number> = {}) =>
    node.pod({ name, namespace: 'shop', labels: { app }, owner, ports })
  const frontend = { kind: 'Deployment', name: 'frontend' }
  const api = { kind: 'Deployment', name: 'api' }
  const [ingress, frontend1, frontend2, api1, api2, db, report, coredns, probe1, probe2] = await Promise.all([
    n1.pod({
      name: 'ingress-controller-6b9f4d7c8-z5wlt',
      namespace: 'ingress',
      labels: { app: 'ingress-controller' },
      owner: { kind: 'Deployment', name: 'ingress-controller' },
      ports: { http: 8080 },
    }),
    shop(n1, 'frontend-7d4b9c6f5-x2k8p', 'frontend', frontend, { http: 8080 }),
    shop(n2, 'frontend-7d4b9c6f5-m9vqz', 'frontend', frontend, { http: 8080 }),
    shop(n1, 'api-6c8f7b5d9-4tjwn', 'api', api, { http: 8080 }),
    shop(n2, 'api-6c8f7b5d9-hs6rl', 'api', api, { http: 8080 }),
    shop(n2, 'db-0', 'db', { kind: 'StatefulSet', name: 'db' }, { postgres: 5432 }),
    shop(n1, 'report-29384756-k7d2m', 'report', { kind: 'CronJob', name: 'report' }),
    n2.pod({
      name: 'coredns-5d78c9869d-q4t7s',
      namespace: 'kube-system',
      labels: { 'k8s-app': 'kube-dns' },
      owner: { kind: 'Deployment', name: 'coredns' },
      ports: { dns: 53 },
    }),
    ...[n1, n2].map((node) =>
      node.pod({
        name: `probe-${node === n1 ? 'b5x9k' : 'w8c3f'}`,
        namespace: 'monitoring',
        labels: { app: 'probe' },
        owner: { kind: 'DaemonSet', name: 'probe' },
      }),
    ),
  ] as const)
  if (probe1 === undefined || probe2 === undefined) throw new Error('the probes are missing')
  const pods = { ingress, frontend1, frontend2, api1, api2, db, report, coredns, probe1, probe2 }

  const services: Service[] = [
    {
      ...service('ingress', 'ingress-controller', SERVICE_IPS.ingress, 80, 8080, [ingress]),
      type: 'LoadBalancer',
      ingresses: [BALANCER_IP],
    },
    service('shop', 'frontend', SERVICE_IPS.frontend, 80, 8080, [frontend1, frontend2], 30080),
    service('shop', 'api', SERVICE_IPS.api, 80, 8080, [api1, api2]),
    service('shop', 'db', SERVICE_IPS.db, 5432, 5432, [db]),
    service('shop', 'legacy', SERVICE_IPS.legacy, 80, 8080, []),
    {
      namespace: 'kube-system',
      name: 'kube-dns',
      clusterIP: SERVICE_IPS.dns,
      ports: [{ name: 'dns', port: 53, targetPort: 53, protocol: 'udp' }],
      backends: [coredns],
    },
  ]
  await bed.services(services)
  await visitor.configure(`route add ${BALANCER_IP}/32 via 203.0.113.1`)
  await bed.fabric.configure(`route add ${BALANCER_IP}/32 via ${n1.ip}`)
  for (const pod of Object.values(pods)) pod.resolver(SERVICE_IPS.dns, SEARCH)

  await Promise.all([
    ...[frontend1, frontend2, api1, api2].map((pod) => tcpServer(pod, 8080)),
    ...[api1, api2].map((pod) => udpServer(pod, 9125)),
    // the controller: ends what comes from outside, and asks a frontend itself
    tcpProxy(ingress, 8080, endpoint(frontend2.ip, 8080)),
    tcpServer(db, 5432),
    tcpServer(website, 443),
    dnsServer(bed, coredns, services, website),
    // Somebody's policy: the database's cache port is closed, packets to it vanish.
    n2.drop(`ip daddr ${db.ip} tcp dport 6379`),
    silent.nft('table ip silent {\nchain input {\ntype filter hook input priority 0; policy drop;\n}\n}'),
  ])
  return { bed, nodes: [n1, n2], pods, website, visitor, silent }
}

function service(
  namespace: string,
  name: string,
  clusterIP: string,
  port: number,
  targetPort: number,
  backends: readonly Pod[],
  nodePort?: number,
): Service {
  return {
    namespace,
    name,
    clusterIP,
    type: nodePort === undefined ? 'ClusterIP' : 'NodePort',
    ports: [{ name: 'main', port, targetPort, ...(nodePort === undefined ? {} : { nodePort }) }],
    backends,
  }
}

/** Starts the DNS server in its pod: the services' names, and one of the world. */
async function dnsServer(
  bed: Testbed,
  pod: Pod,
  services: readonly Service[],
  website: World,
): Promise<void> {
  const table = Object.fromEntries([
    ...services.map(({ namespace, name, clusterIP }) => [
      `${name}.${namespace}.svc.cluster.local`,
      clusterIP,
    ]),
    ['updates.example.com', website.ip],
  ])
  const file = join(bed.directory, 'dns.json')
  writeFileSync(file, JSON.stringify(table))
  const task = await pod.start([
    process.execPath,
    join(repository, 'dist/test/demo/dns-server.js'),
    file,
    '0.0.0.0:53',
  ])
  await task.said(/^READY 53$/m)
}

/** The Ingress by which the controller leads to the frontend. */
const INGRESS = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: { name: 'storefront', namespace: 'shop', uid: 'storefront' },
  spec: { defaultBackend: { service: { name: 'frontend', port: { name: 'main' } } } },
}

/** Addresses that the traffic goes to, and objects beside those of the testbed. */
export { BALANCER_IP, INGRESS, SERVICE_IPS }
