// Which pods of this node no hook of their own sees: the node would reach them by its own way out, so they have no veth
// here (macvlan, ipvlan, SR-IOV). Asked for status only, and looked up at most every 10 s.

import type { AddressWords } from './identity/address.js'
import type { InterfaceStatus } from './kernel/namespace.js'

export interface UncoveredPod {
  readonly namespace: string
  readonly pod: string
  readonly reason: string
}

interface PodHere {
  readonly namespace: string
  readonly name: string
  readonly addresses: readonly AddressWords[]
}

const EVERY_MS = 10_000
/** As Kubernetes allows on a node, and some. */
const MOST_PODS = 512
const MOST_TOLD = 100

/** Bytes of an address, 4 or 16. */
function bytesOf([w0, w1, w2, w3]: AddressWords): Uint8Array {
  const bytes = Buffer.alloc(16)
  for (const [i, word] of [w0, w1, w2, w3].entries()) bytes.writeUInt32BE(word, i * 4)
  return w0 === 0 && w1 === 0 && w2 === 0xffff ? bytes.subarray(12) : bytes
}

/** Remembers its answer. */
export class UncoveredPods {
  readonly #interfaceTo: (address: Uint8Array) => number | undefined
  #answer: readonly UncoveredPod[] = []
  #askAgain = 0

  constructor(interfaceTo: (address: Uint8Array) => number | undefined) {
    this.#interfaceTo = interfaceTo
  }

  list(pods: () => Iterable<PodHere>, interfaces: () => readonly InterfaceStatus[]): readonly UncoveredPod[] {
    const now = performance.now()
    if (now < this.#askAgain) return this.#answer
    const uplinks = new Map<number, string>()
    for (const { ifindex, name, role } of interfaces()) if (role === 'uplink') uplinks.set(ifindex, name)
    // nothing is hooked yet
    if (uplinks.size === 0) return this.#answer
    this.#askAgain = now + EVERY_MS
    const found: UncoveredPod[] = []
    let asked = 0
    for (const { namespace, name, addresses } of pods()) {
      const [address] = addresses
      if (address === undefined) continue
      if (++asked > MOST_PODS || found.length === MOST_TOLD) break
      const uplink = uplinks.get(this.#interfaceTo(bytesOf(address)) ?? 0)
      if (uplink === undefined) continue
      const reason = `it has no interface in this node: only what passes ${uplink} is seen`
      found.push({ namespace, pod: name, reason })
    }
    this.#answer = found
    return found
  }
}
