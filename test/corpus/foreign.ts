// Programs of an eBPF CNI, as small as they can be and real: redirects that skip hooks, and a rewritten connect(2) in
// place of NAT. Whoever loads them closes what is returned.

import { closeSync, mkdirSync, openSync, rmdirSync } from 'node:fs'
import { BPF_PROG_TYPE_SCHED_CLS, libbpf } from '../../agent/kernel/libbpf.js'
import { withNetns } from '../../agent/kernel/netns.js'
import { appendTcx } from '../agent/kernel/support.js'
import { Namespace, type RunOptions, type RunResult, run } from '../testbed/index.js'

/** opcode, destination register, source register, offset, immediate */
type Instruction = readonly [number, number, number, number, number]

const PROG_TYPE_CGROUP_SOCK_ADDR = 18
const CGROUP_INET4_CONNECT = 10
const TCX_NEXT = -1
/** bpf_redirect_neigh, bpf_redirect_peer (linux/bpf.h). */
const REDIRECT = { neighbour: 152, peer: 155 } as const

const CGROUPS = '/sys/fs/cgroup/unified'

function load(type: number, name: string, code: readonly Instruction[], expectedAttach?: number): number {
  const bytes = Buffer.alloc(code.length * 8)
  for (const [i, [opcode, destination, source, offset, immediate]] of code.entries()) {
    bytes.writeUInt8(opcode, i * 8)
    bytes.writeUInt8(destination | (source << 4), i * 8 + 1)
    bytes.writeInt16LE(offset, i * 8 + 2)
    bytes.writeInt32LE(immediate | 0, i * 8 + 4)
  }
  let options: Buffer | null = null
  if (expectedAttach !== undefined) {
    // struct bpf_prog_load_opts: size, attempts, expected_attach_type
    options = Buffer.alloc(16)
    options.writeBigUInt64LE(16n, 0)
    options.writeUInt32LE(expectedAttach, 12)
  }
  const fd = libbpf().bpf_prog_load(type, name, 'GPL', bytes, code.length, options)
  if (fd < 0) throw new Error(`${name} cannot be loaded: ${fd}`)
  return fd
}

const words = (address: string): number => Buffer.from(address.split('.').map(Number)).readInt32BE(0)
const networkOrder = (address: string): number => Buffer.from(address.split('.').map(Number)).readInt32LE(0)

/** What goes to `to` (IPv4) leaves by `ifindex`, past what lies between. */
export interface Redirect {
  readonly to: string
  readonly ifindex: number
  readonly how: keyof typeof REDIRECT
}

/** Puts redirects on an interface's ingress, behind whoever is there. Gives the descriptors to close. */
export function redirect(node: Namespace, ifindex: number, rules: readonly Redirect[]): number[] {
  const code: Instruction[] = [
    [0xbf, 6, 1, 0, 0], // the packet, where absolute loads look for it
    [0x28, 0, 0, 0, 12], // EtherType
    [0x15, 0, 0, 2, 0x0800],
    [0xb7, 0, 0, 0, TCX_NEXT],
    [0x95, 0, 0, 0, 0],
  ]
  for (const { to, ifindex: out, how } of rules)
    code.push(
      [0x20, 0, 0, 0, 30], // IPv4 destination
      [0x56, 0, 0, 6, words(to)],
      [0xb7, 1, 0, 0, out],
      [0xb7, 2, 0, 0, 0],
      [0xb7, 3, 0, 0, 0],
      [0xb7, 4, 0, 0, 0],
      [0x85, 0, 0, 0, REDIRECT[how]],
      [0x95, 0, 0, 0, 0],
    )
  code.push([0xb7, 0, 0, 0, TCX_NEXT], [0x95, 0, 0, 0, 0])
  return withNetns(node.path, () => {
    const program = load(BPF_PROG_TYPE_SCHED_CLS, 'cni_redirect', code)
    return [program, appendTcx(program, ifindex, false)]
  })
}

/** A place whose processes are in a control group of their own. */
class Grouped extends Namespace {
  readonly #processes: string
  constructor(netns: string, group: string) {
    super(netns)
    this.#processes = `${group}/cgroup.procs`
  }

  override exec(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    // outside first: `ip netns exec` hides the control groups
    const enter = ['sh', '-c', 'echo $$ > "$0" && exec "$@"', this.#processes]
    return run([...enter, 'ip', 'netns', 'exec', this.netns, ...argv], options)
  }
}

/** Where a service's address becomes a backend's. */
export interface SocketBalancer {
  readonly address: string
  readonly port: number
  readonly backend: string
  readonly backendPort: number
}

/** The namespace, with connect(2) rewritten for everything that is run in it. */
export function balanceSockets(
  where: Namespace,
  { address, port, backend, backendPort }: SocketBalancer,
): { place: Namespace; close(): void } {
  const swapped = (value: number): number => ((value & 0xff) << 8) | (value >>> 8)
  const group = `${CGROUPS}/${where.netns}`
  mkdirSync(group)
  const held: number[] = []
  try {
    // struct bpf_sock_addr: user_ip4 at 4, user_port at 24, both in network order
    const program = load(
      PROG_TYPE_CGROUP_SOCK_ADDR,
      'cni_connect4',
      [
        [0x61, 2, 1, 4, 0],
        [0x56, 2, 0, 6, networkOrder(address)],
        [0x61, 3, 1, 24, 0],
        [0x56, 3, 0, 4, swapped(port)],
        [0xb4, 2, 0, 0, networkOrder(backend)],
        [0x63, 1, 2, 4, 0],
        [0xb4, 3, 0, 0, swapped(backendPort)],
        [0x63, 1, 3, 24, 0],
        [0xb7, 0, 0, 0, 1],
        [0x95, 0, 0, 0, 0],
      ],
      CGROUP_INET4_CONNECT,
    )
    held.push(program)
    const directory = openSync(group, 'r')
    const link = libbpf().bpf_link_create(program, directory, CGROUP_INET4_CONNECT, null)
    closeSync(directory)
    if (link < 0) throw new Error(`cni_connect4 cannot be attached: ${link}`)
    held.push(link)
  } catch (error) {
    for (const fd of held) closeSync(fd)
    rmdirSync(group)
    throw error
  }
  return {
    place: new Grouped(where.netns, group),
    close() {
      for (const fd of held) closeSync(fd)
      rmdirSync(group)
    },
  }
}
