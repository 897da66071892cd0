// The recorded cluster: kube-proxy's own rules, nftables and iptables, as they were written on n1; pods at the addresses
// that they name, behind the bridge plugin; nodes joined by routes. Names come from the lists of the same API server.

import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import {
  type Namespace,
  type Node,
  type Pod,
  repository,
  Testbed,
  tcpServer,
  udpServer,
} from '../../testbed/index.js'
import type { Built, CorpusBed } from '../bed.js'
import type { End } from '../row.js'
import {
  BOTH,
  db0,
  db1,
  dns1,
  dns2,
  n1,
  n2,
  outside,
  recordedRows,
  visitor,
  web1,
  web2,
} from './recorded-rows.js'

const FIXTURES = `${repository}/test/fixtures`
/** The lists of the recording, as somebody would put them into a directory. */
function lists(directory: string): string {
  const target = `${directory}/recorded`
  mkdirSync(target, { recursive: true })
  for (const name of readdirSync(`${FIXTURES}/kubernetes`))
    if (name.startsWith('list-') && name.endsWith('.json'))
      copyFileSync(`${FIXTURES}/kubernetes/${name}`, `${target}/${name}`)
  return target
}

async function build(): Promise<Built> {
  const bed = await Testbed.create('recorded')
  const [one, two] = await Promise.all([
    bed.node('n1', { ip: n1.ip, podCidr: '10.244.1.0/24' }),
    bed.node('n2', { ip: n2.ip, podCidr: '10.244.2.0/24' }),
  ])
  await bed.routes()
  const make = (where: Node, end: End): Promise<Pod> =>
    where.pod({ name: end.pod ?? '', namespace: end.namespace ?? '', ip: end.ip })
  const [pDb0, pWeb1, pDns1, pDb1, pWeb2, pDns2, client] = await Promise.all([
    ...[db0, web1, dns1].map((end) => make(one, end)),
    ...[db1, web2, dns2].map((end) => make(two, end)),
    bed.world('visitor', { ip: visitor.ip }),
  ])
  const there: Record<string, Namespace> = {
    n1: one,
    n2: two,
    'db-0': pDb0!,
    'db-1': pDb1!,
    'web-1': pWeb1!,
    'web-2': pWeb2!,
    'dns-1': pDns1!,
    'dns-2': pDns2!,
    visitor: client!,
  }
  await client!.configure(`addr add ${outside.ip}/32 dev eth0`, 'route add 203.0.113.10/32 via 203.0.113.1')
  await bed.fabric.configure(
    `route add ${outside.ip}/32 via ${visitor.ip}`,
    `route add 203.0.113.10/32 via ${n1.ip}`,
    `route add 198.51.100.7/32 via ${n1.ip}`,
  )
  // the node's cache takes the service's address and its own, and conntrack stays out of it
  await two.configure('addr add 10.96.0.10/32 dev lo', 'addr add 169.254.20.10/32 dev lo')
  await two.nft(
    'table ip node-local-dns {\n' +
      'chain prerouting { type filter hook prerouting priority raw; ip daddr { 10.96.0.10, 169.254.20.10 } udp dport 53 notrack; }\n' +
      'chain output { type filter hook output priority raw; ip saddr { 10.96.0.10, 169.254.20.10 } udp sport 53 notrack; }\n' +
      '}\n',
  )
  await two.drop('ip daddr 10.244.2.200')
  await Promise.all([
    ...[pWeb1, pWeb2].flatMap((where) => [tcpServer(where!, 8080), tcpServer(where!, 9090)]),
    ...[pDns1, pDns2].flatMap((where) => [
      udpServer(where!, 53),
      tcpServer(where!, 53),
      tcpServer(where!, 9153),
    ]),
    tcpServer(pDb1!, 5432),
    tcpServer(client!, 443),
    tcpServer(client!, 9000, { address: outside.ip }),
    tcpServer(one, 9001),
    tcpServer(two, 9001),
    tcpServer(two, 6443),
    ...['10.96.0.10', '169.254.20.10'].map((address) => udpServer(two, 53, { address })),
  ])
  const masquerade = (await one.exec(['nft', 'list', 'table', 'ip', 'testbed-masquerade'])).stdout
  return {
    bed,
    nodes: { n1: one, n2: two },
    places: there,
    address: (place) => (place === 'visitor' ? visitor.ip : ((there[place] as Partial<Pod>).ip ?? '')),
    manifests: lists(bed.directory),
    async load(rules) {
      await one.nft(`flush ruleset\n${masquerade}`)
      if (rules === 'nftables') await one.loadNft(`${FIXTURES}/kube-proxy/n1.nft`)
      else {
        await one.loadIptables(`${FIXTURES}/kube-proxy/n1.iptables-save`)
        await one.loadIptables(`${FIXTURES}/kube-proxy/n1.ip6tables-save`, 6)
      }
      await one.exec(['conntrack', '-F'])
    },
  }
}

export const recorded: CorpusBed = { name: 'recorded', rows: recordedRows, rules: BOTH, build }
