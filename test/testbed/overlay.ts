// Connects nodes by VXLAN the way flannel does: one device a node, learning off, forwarding entries written by hand.

import type { Node } from './node.js'
import { run } from './run.js'

export interface VxlanOptions {
  /** 1 unless given. */
  readonly vni?: number
  /** UDP port; 8472 unless given, as flannel. */
  readonly port?: number
}

/** Makes `flannel.<vni>` on every node, and routes each node's pod range through it. Pods made later get its MTU. */
export async function vxlan(nodes: readonly Node[], options: VxlanOptions): Promise<void> {
  const vni = options.vni ?? 1
  const device = `flannel.${vni}`
  // A locally administered address that follows from the node's, so that nobody has to ask.
  const mac = (node: Node) =>
    `0a:56${node.ip
      .split('.')
      .map((octet) => `:${Number(octet).toString(16).padStart(2, '0')}`)
      .join('')}`
  const inner = (node: Node) => node.podCidr.split('/')[0] ?? ''
  const inner6 = (node: Node) => node.podCidr6?.split('/')[0]
  await Promise.all(
    nodes.map(async (node) => {
      const others = nodes.filter((other) => other !== node)
      await node.configure(
        `link add ${device} address ${mac(node)} mtu 1450 type vxlan id ${vni} local ${node.ip} dev eth0 dstport ${options.port ?? 8472} nolearning`,
        `addr add ${inner(node)}/32 dev ${device}`,
        ...(inner6(node) === undefined ? [] : [`addr add ${inner6(node)}/128 dev ${device} nodad`]),
        `link set ${device} up`,
        ...others.flatMap((other) => [
          `neigh replace ${inner(other)} lladdr ${mac(other)} dev ${device} nud permanent`,
          `route replace ${other.podCidr} via ${inner(other)} dev ${device} onlink`,
          ...(inner6(other) === undefined
            ? []
            : [
                `neigh replace ${inner6(other)} lladdr ${mac(other)} dev ${device} nud permanent`,
                `route replace ${other.podCidr6} via ${inner6(other)} dev ${device} onlink`,
              ]),
        ]),
      )
      await run(['bridge', '-n', node.netns, '-batch', '-'], {
        input: others
          .map((other) => `fdb replace ${mac(other)} dev ${device} dst ${other.ip} self permanent\n`)
          .join(''),
      })
      await node.sysctl({ [`ipv4/conf/${device}/rp_filter`]: 0 })
      node.setPodMtu(1450)
    }),
  )
}
