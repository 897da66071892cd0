// Writes nftables rules for services in the shape that kube-proxy's nftables mode gives them (DNAT in prerouting and
// output, a random backend, mark and masquerade, reject without backends). Text only; runs nothing.

import type { Pod } from './pod.js'

export interface Service {
  readonly namespace: string
  readonly name: string
  /** ClusterIP unless given. */
  readonly type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer'
  readonly clusterIP: string
  /** A second address; its backends are the IPv6 addresses of the same pods. */
  readonly clusterIP6?: string
  readonly ports: readonly ServicePort[]
  readonly backends: readonly Backend[]
  /** LoadBalancer ingress addresses, translated on every node. */
  readonly ingresses?: readonly string[]
}

export interface ServicePort {
  readonly name?: string
  readonly port: number
  readonly targetPort: number
  /** tcp unless given. */
  readonly protocol?: 'tcp' | 'udp'
  readonly nodePort?: number
}

/** A pod, or an address of something that is none (a node's own process, the world). */
export type Backend = Pod | { readonly ip: string; readonly ip6?: string }

export interface ServiceView {
  readonly podCidr: string
  readonly nodeIp: string
}

/** One address family's words and addresses. */
interface Family {
  readonly table: 'ip' | 'ip6'
  readonly address: 'ipv4_addr' | 'ipv6_addr'
  clusterIp(service: Service): string | undefined
  backendIp(backend: Backend): string | undefined
  target(address: string, port: number): string
}

const IPV4: Family = {
  table: 'ip',
  address: 'ipv4_addr',
  clusterIp: (service) => service.clusterIP,
  backendIp: (backend) => backend.ip,
  target: (address, port) => `${address}:${port}`,
}
const IPV6: Family = {
  table: 'ip6',
  address: 'ipv6_addr',
  clusterIp: (service) => service.clusterIP6,
  backendIp: (backend) => backend.ip6,
  target: (address, port) => `[${address}]:${port}`,
}

/** The table `ip kube-proxy` (or `ip6`) for one node, replacing what was there in one transaction. */
export function serviceRules(services: readonly Service[], node: ServiceView, version: 4 | 6 = 4): string {
  const family = version === 4 ? IPV4 : IPV6
  const { table, address } = family
  const addresses: string[] = []
  const nodePorts: string[] = []
  const unserved: string[] = []
  const unservedPorts: string[] = []
  const chains: string[] = []
  for (const service of services) {
    const clusterIp = family.clusterIp(service)
    if (clusterIp === undefined) continue
    const backends = service.backends.map(family.backendIp).filter((ip) => ip !== undefined)
    for (const port of service.ports) {
      const protocol = port.protocol ?? 'tcp'
      const id = `${service.namespace}/${service.name}/${protocol}/${port.name ?? port.port}`
      const key = `${protocol} . ${port.port}`
      const outside = (service.ingresses ?? []).filter((ip) => ip.includes(':') === (version === 6))
      if (backends.length === 0) {
        for (const ip of [clusterIp, ...outside]) unserved.push(`${ip} . ${key} : goto reject-chain`)
        if (port.nodePort !== undefined) {
          unservedPorts.push(`${protocol} . ${port.nodePort} : goto reject-chain`)
        }
        continue
      }
      addresses.push(`${clusterIp} . ${key} : goto service-${id}`)
      for (const ip of outside) addresses.push(`${ip} . ${key} : goto external-${id}`)
      if (port.nodePort !== undefined) {
        nodePorts.push(`${protocol} . ${port.nodePort} : goto external-${id}`)
      }
      if (port.nodePort !== undefined || outside.length > 0) {
        chains.push(chain(`external-${id}`, ['jump mark-for-masquerade', `goto service-${id}`]))
      }
      const choices = backends.map((_, index) => `${index} : goto endpoint-${id}-${index}`)
      chains.push(
        chain(`service-${id}`, [
          `${table} daddr ${clusterIp} ${protocol} dport ${port.port} ${table} saddr != ${node.podCidr} jump mark-for-masquerade`,
          `numgen random mod ${choices.length} vmap { ${choices.join(', ')} }`,
        ]),
        ...backends.map((ip, index) =>
          chain(`endpoint-${id}-${index}`, [
            `${table} saddr ${ip} jump mark-for-masquerade`,
            `meta l4proto ${protocol} dnat to ${family.target(ip, port.targetPort)}`,
          ]),
        ),
      )
    }
  }
  return `table ${table} kube-proxy
delete table ${table} kube-proxy
table ${table} kube-proxy {
${map('service-ips', `${address} . inet_proto . inet_service`, addresses)}
${map('service-nodeports', 'inet_proto . inet_service', nodePorts)}
${map('no-endpoint-services', `${address} . inet_proto . inet_service`, unserved)}
${map('no-endpoint-nodeports', 'inet_proto . inet_service', unservedPorts)}
  set nodeport-ips { type ${address}; elements = { ${node.nodeIp} }; }
  chain reject-chain { reject; }
  chain mark-for-masquerade { mark set mark or 0x4000; }
  chain masquerading {
    mark and 0x4000 == 0 return
    mark set mark xor 0x4000
    masquerade fully-random
  }
${chains.join('\n')}
  chain services {
    ${table} daddr . meta l4proto . th dport vmap @service-ips
    ${table} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain service-endpoints-check {
    ${table} daddr . meta l4proto . th dport vmap @no-endpoint-services
    ${table} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }
  chain filter-input { type filter hook input priority filter; ct state new jump service-endpoints-check; }
  chain filter-forward { type filter hook forward priority filter; ct state new jump service-endpoints-check; }
  chain filter-output { type filter hook output priority filter; ct state new jump service-endpoints-check; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
}
`
}

/** Pods speak to everything outside of `clusterCidrs` as their node. */
export function masqueradeRules(podCidr: string, clusterCidrs: readonly string[]): string {
  const table = podCidr.includes(':') ? 'ip6' : 'ip'
  const inside = clusterCidrs.filter((range) => range.includes(':') === podCidr.includes(':'))
  return `table ${table} testbed-masquerade {
  chain postrouting {
    type nat hook postrouting priority srcnat + 10; policy accept;
    ${table} saddr ${podCidr} ${table} daddr != { ${inside.join(', ')} } masquerade
  }
}
`
}

function chain(name: string, lines: readonly string[]): string {
  return `  chain ${name} {\n${lines.map((line) => `    ${line}\n`).join('')}  }`
}

function map(name: string, type: string, elements: readonly string[]): string {
  const filled = elements.length === 0 ? '' : ` elements = { ${elements.join(', ')} };`
  return `  map ${name} { type ${type} : verdict;${filled} }`
}
