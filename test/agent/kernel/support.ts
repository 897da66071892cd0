// What the tests of agent/kernel share: network namespaces of their own, pods on veths, foreign programs on the hooks,
// and a build of the project for child processes. Everything made here is removed by close().

import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Datapath } from '../../../agent/kernel/datapath.js'
import { view, view4 } from '../../../agent/kernel/layout.gen.js'
import { BPF_PROG_TYPE_SCHED_CLS, libbpf } from '../../../agent/kernel/libbpf.js'
import { CLONE_NEWNET, libc } from '../../../agent/kernel/libc.js'

let made = 0

/** Runs a program and gives its output. It runs in the network namespace this thread is in. */
export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** `ip` with the words of one string. */
export function ip(words: string): string {
  return run('ip', ...words.split(' '))
}

/**
 * A network namespace that this thread is in until close(): `ip` and everything else acts there. Pods are namespaces of
 * their own.
 */
export class Node {
  readonly name: string
  private readonly home: number
  private readonly names: string[] = []

  constructor() {
    this.home = openSync('/proc/thread-self/ns/net', 'r')
    this.name = this.namespace()
    this.enter(this.name)
    ip('link set lo up')
  }

  /** A further namespace; its name. */
  namespace(): string {
    const name = `vf-k-${process.pid}-${made++}`
    ip(`netns add ${name}`)
    this.names.push(name)
    // No packets but the test's own: IPv6 would look for neighbours and routers.
    run('ip', 'netns', 'exec', name, 'sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1')
    return name
  }

  /** A veth `host` here whose other end is eth0 (10.99.N.2/24) of a new namespace; the pod's name. */
  pod(host: string, subnet: number): string {
    const pod = this.namespace()
    ip(`link add ${host} type veth peer name eth0 netns ${pod}`)
    ip(`-n ${pod} link set lo up`)
    ip(`-n ${pod} addr add 10.99.${subnet}.2/24 dev eth0`)
    ip(`-n ${pod} link set eth0 up`)
    ip(`addr add 10.99.${subnet}.1/32 dev ${host}`)
    ip(`link set ${host} up`)
    ip(`route add 10.99.${subnet}.2/32 dev ${host}`)
    // No packets but the test's own: a fixed neighbour each way.
    const there = macOf(ip(`-n ${pod} -o link show eth0`))
    const here = macOf(ip(`-o link show ${host}`))
    ip(`neigh replace 10.99.${subnet}.2 lladdr ${there} dev ${host} nud permanent`)
    ip(`-n ${pod} neigh replace 10.99.${subnet}.1 lladdr ${here} dev eth0 nud permanent`)
    return pod
  }

  enter(name: string): void {
    const fd = openSync(`/run/netns/${name}`, 'r')
    try {
      if (libc().setns(fd, CLONE_NEWNET) !== 0) throw new Error(`cannot enter ${name}`)
    } finally {
      closeSync(fd)
    }
  }

  close(): void {
    if (libc().setns(this.home, CLONE_NEWNET) !== 0) throw new Error('cannot go home')
    closeSync(this.home)
    for (const name of this.names.splice(0)) if (existsSync(`/run/netns/${name}`)) ip(`netns del ${name}`)
  }
}

function macOf(line: string): string {
  return /link\/ether ([\da-f:]+)/.exec(line)?.[1] ?? ''
}

/** ifindex of an interface of this namespace. */
export function ifindexOf(name: string): number {
  return Number(/^(\d+):/.exec(ip(`-o link show ${name}`))?.[1])
}

/**
 * Sends `count` UDP datagrams from a namespace to 10.99.`subnet`.1:`port`, all of one flow. From a socket that is not
 * connected: an ICMP error would swallow the next datagram.
 */
export function sendUdp(pod: string, subnet: number, port: number, count: number): void {
  const script = `use Socket; socket(S, PF_INET, SOCK_DGRAM, 0) or die; my $to = sockaddr_in(${port}, inet_aton("10.99.${subnet}.1")); for (1..${count}) { send(S, "x", 0, $to) == 1 or die $! }`
  run('ip', 'netns', 'exec', pod, 'perl', '-e', script)
}

/** Packets that the IPv4 views count towards UDP or TCP `port`, in the direction of that port. */
export function packetsTo(datapath: Datapath, port: number): number {
  let packets = 0
  const { keyWords, valueWords } = datapath.strides(4)
  datapath.drain(4, (keys, values, count) => {
    for (let i = 0; i < count; i++) {
      const ports = keys[i * keyWords + 2] ?? 0
      for (const end of [0, 1]) {
        const word = end === 0 ? ports & 0xffff : ports >>> 16
        const number = ((word & 0xff) << 8) | (word >>> 8)
        // Towards end 1 are packets of dir 0, and the other way round.
        if (number === port)
          packets += values[i * valueWords + (view4.view + view.packets) / 4 + (1 - end)] ?? 0
      }
    }
  })
  return packets
}

/** File descriptors of this process with what they are. */
export function descriptors(): string[] {
  const found: string[] = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      found.push(readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, ''))
    } catch {
      // The descriptor of this very listing.
    }
  }
  return found.sort()
}

/** BPF descriptors of this process: maps, programs, links. */
export function bpfDescriptors(): string[] {
  return descriptors().filter((name) => name.includes('bpf'))
}

/** How many of this process's descriptors are tcx links. */
export function tcxLinks(): number {
  let count = 0
  for (const fd of readdirSync('/proc/self/fdinfo')) {
    try {
      if (/^link_type:\s*tcx$/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))) count++
    } catch {
      // The descriptor of this very listing.
    }
  }
  return count
}

/** A program of the tc kind that returns `verdict`, or redirects to an interface. Close the descriptor. */
export function foreignProgram(
  action: { verdict: number } | { redirect: number } | { redirectPeer: number },
): number {
  const code: number[][] =
    'verdict' in action
      ? [[0xb7, 0, action.verdict]]
      : [
          [0xb7, 1, 'redirect' in action ? action.redirect : action.redirectPeer],
          [0xb7, 2, 0],
          [0x85, 0, 'redirect' in action ? 23 /* bpf_redirect */ : 155 /* bpf_redirect_peer */],
        ]
  const instructions = [...code, [0x95, 0, 0]].map(([opcode, register, immediate]) => {
    const bytes = Buffer.alloc(8)
    bytes.writeUInt8(opcode ?? 0, 0)
    bytes.writeUInt8(register ?? 0, 1)
    bytes.writeInt32LE(immediate ?? 0, 4)
    return bytes
  })
  const bytes = Buffer.concat(instructions)
  const fd = libbpf().bpf_prog_load(
    BPF_PROG_TYPE_SCHED_CLS,
    'neighbour',
    'GPL',
    bytes,
    instructions.length,
    null,
  )
  if (fd < 0) throw new Error(`the foreign program cannot be loaded: ${fd}`)
  return fd
}

/** Puts a program at the end of the tcx chain, as somebody would who does not ask for the head. */
export function appendTcx(programFd: number, ifindex: number, egress: boolean): number {
  const fd = libbpf().bpf_link_create(programFd, ifindex, egress ? 47 : 46, null)
  if (fd < 0) throw new Error(`the foreign program cannot be attached: ${fd}`)
  return fd
}

/** Calls `probe` every 10 ms until it gives something, and gives that; fails after `limitMs`. */
export async function until<T>(
  what: string,
  limitMs: number,
  probe: () => T | undefined | false,
): Promise<T> {
  const end = performance.now() + limitMs
  for (;;) {
    const result = probe()
    if (result !== undefined && result !== false) return result
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise((wake) => setTimeout(wake, 10))
  }
}

/** Collects garbage now: what is measured after is held by somebody. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
}

/** A build of the project for child processes, in a folder of its own. */
export class Build {
  readonly folder: string

  constructor() {
    const project = resolve(import.meta.dirname, '../../..')
    this.folder = mkdtempSync(join(tmpdir(), 'vethflow-build-'))
    // Children without privilege read it too.
    chmodSync(this.folder, 0o755)
    try {
      // Other parts may not compile at this moment; what these tests need is emitted all the same.
      execFileSync(
        join(project, 'node_modules/.bin/tsc'),
        ['-p', project, '--outDir', this.folder, '--noCheck'],
        {
          stdio: 'ignore',
        },
      )
    } catch {
      // Reported by make check.
    }
    for (const name of ['node_modules', 'bpf', 'package.json'])
      symlinkSync(join(project, name), join(this.folder, name))
  }

  /** URL of a compiled module. */
  module(path: string): string {
    return `file://${join(this.folder, path)}`
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
