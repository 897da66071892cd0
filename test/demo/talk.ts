// What talks in the demo, gently enough to be read: requests, lookups, and every way in which a connection fails.

import { endpoint, type Namespace, tool } from '../testbed/index.js'
import { BALANCER_IP, type Cluster, SERVICE_IPS } from './cluster.js'

/** Longer than anybody watches; the bed ends what runs. */
const FOREVER = ['--count', '100000000', '--seconds', '864000']

/** Starts it all; it goes on until the bed closes. Returns a function that ends the lookups. */
export async function startTalking(cluster: Cluster): Promise<() => void> {
  const { pods, nodes, website, visitor, silent } = cluster
  const traffic = await tool('traffic')
  const connect = (from: Namespace, to: string, rate: number, bytesOut: number, bytesIn: number) =>
    from.start([
      traffic,
      'tcp-connect',
      ...['--to', to, '--rate', String(rate), '--bytes-out', String(bytesOut), '--bytes-in', String(bytesIn)],
      ...['--connect-timeout', '4000', ...FOREVER],
    ])
  const api = `${SERVICE_IPS.api}:80`
  const db = `${SERVICE_IPS.db}:5432`
  const [n1] = nodes
  if (n1 === undefined) throw new Error('the cluster has no node')
  await Promise.all([
    connect(visitor, endpoint(n1.ip, 30080), 2, 420, 18_000),
    // by the balancer's address and the Ingress: two connections, the controller between them
    connect(visitor, endpoint(BALANCER_IP, 80), 1, 380, 6_000),
    // a kubelet's probe; and a pod that asks for its own service, which at times is itself
    connect(n1, endpoint(pods.frontend1.ip, 8080), 1, 64, 64),
    connect(pods.frontend1, `${SERVICE_IPS.frontend}:80`, 1, 120, 800),
    connect(pods.frontend1, api, 2, 310, 4_200),
    connect(pods.frontend2, api, 1, 310, 4_200),
    connect(pods.api1, db, 2, 180, 900),
    connect(pods.api2, db, 1, 180, 900),
    connect(pods.probe1, endpoint(pods.frontend1.ip, 8080), 1, 90, 200),
    connect(pods.probe2, endpoint(pods.frontend1.ip, 8080), 1, 90, 200),
    connect(pods.report, endpoint(website.ip, 443), 1, 600, 9_000),
    // Refused: a closed port, and a service without endpoints.
    connect(pods.report, endpoint(pods.api2.ip, 81), 1, 64, 0),
    connect(pods.frontend1, `${SERVICE_IPS.legacy}:80`, 1, 64, 0),
    // Dropped on the way, and never answered.
    connect(pods.frontend2, endpoint(pods.db.ip, 6379), 1, 64, 0),
    connect(pods.api1, endpoint(silent.ip, 9999), 1, 64, 0),
    // Long ones: a datagram stream from each node, and somebody's ping.
    pods.probe1.start(['ping', '-q', '-i', '2', pods.probe2.ip]),
    ...[pods.probe1, pods.probe2].map((pod) =>
      pod.start([
        traffic,
        'udp-send',
        ...[
          '--to',
          endpoint(pods.api1.ip, 9125),
          '--rate',
          '10',
          '--size',
          '120',
          '--window',
          '1',
          ...FOREVER,
        ],
      ]),
    ),
  ])
  return startLookups([
    [pods.frontend1, 'api'],
    [pods.api2, 'db'],
    [pods.report, 'updates.example.com'],
    [pods.report, 'no-such-service'],
  ])
}

/** One lookup a second in turn, by the resolver of the C library with its search list. */
function startLookups(questions: readonly (readonly [Namespace, string])[]): () => void {
  let turn = 0
  const timer = setInterval(() => {
    const [pod, name] = questions[turn++ % questions.length] ?? []
    if (pod === undefined || name === undefined) return
    // 2: no such name, which one of them has not.
    pod.exec(['getent', 'ahostsv4', name], { accept: [0, 2], timeoutMs: 10_000 }).catch(() => undefined)
  }, 1_000)
  return () => clearInterval(timer)
}
