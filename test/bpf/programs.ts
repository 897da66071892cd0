// The programs of the prebuilt object, one packet at a time: through bpf_prog_test_run, or by a TUN or TAP device for what
// that refuses. What they accounted is read from the maps and forgotten after each case. Closed by whoever made it.

import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { HookMap } from '../../agent/kernel/counters.js'
import { Drain } from '../../agent/kernel/drain.js'
import { address, koffi } from '../../agent/kernel/ffi.js'
import { mark, view } from '../../agent/kernel/layout.gen.js'
import { libbpf } from '../../agent/kernel/libbpf.js'
import { BpfObject } from '../../agent/kernel/object.js'
import { prebuiltDir } from '../../agent/kernel/programs.js'
import { TunnelMap } from '../../agent/kernel/tunnel-map.js'
import type { Account, DecodedTunnel } from './decode.js'

/** The loopback device, on which bpf_prog_test_run puts what it makes. */
const LOOPBACK = 1
const ENTRIES = 64
/** Offsets in struct __sk_buff (linux/bpf.h) and of struct bpf_test_run_opts (bpf/bpf.h). */
const SKB = { size: 192, ifindex: 40, gsoSegs: 164, gsoSize: 176 }
const OPTIONS = {
  size: 80,
  in: 8,
  out: 16,
  inSize: 24,
  outSize: 28,
  context: 32,
  contextSize: 48,
  retval: 56,
}
const TYPES = { vxlan: 1, geneve: 2, ip: 3, gre: 4 }

type TestRun = (fd: number, options: Buffer) => number
let testRun: TestRun | undefined

export interface Gso {
  readonly segments: number
  readonly size: number
}

export interface Ran {
  /** What the program returned, signed; undefined when the kernel does not take such a frame. */
  readonly verdict: number | undefined
  /** The packet as the program left it. */
  readonly out: Buffer
}

/** Sums of one direction of one flow. */
export interface Sum {
  packets: number
  bytes: number
  flags: number
}
export type Sums = Map<string, Sum>

export function sum(sums: Sums, account: Account, packets = 1): void {
  const known = sums.get(account.flow) ?? { packets: 0, bytes: 0, flags: 0 }
  known.packets += packets
  known.bytes += account.bytes
  known.flags |= account.flags
  sums.set(account.flow, known)
}

export class Programs {
  readonly object: BpfObject
  readonly #drains: { readonly 4: Drain; readonly 6: Drain }
  readonly #hooks: HookMap
  readonly #out = Buffer.alloc(65_536)

  constructor(
    programs: readonly string[],
    tunnels: readonly DecodedTunnel[] = [],
    file = 'flow.bpf.o',
    dns = false,
  ) {
    const sizes = { views4: ENTRIES, views6: ENTRIES, events: 4096 * 64 }
    this.object = BpfObject.load({ path: join(prebuiltDir(), file), programs, sizes, dns })
    const drain = (name: string, keySize: number, valueSize: number) =>
      new Drain({
        fd: this.object.mapFd(name),
        keySize,
        valueSize,
        maxEntries: ENTRIES,
        batch: true,
        batchSize: ENTRIES,
      })
    this.#drains = { 4: drain('views4', 16, 128), 6: drain('views6', 40, 152) }
    this.#hooks = new HookMap(this.object.mapFd('hooks'))
    new TunnelMap(this.object.mapFd('tunnels')).set(
      tunnels.map(({ carries, ...tunnel }) => ({ ...tunnel, type: TYPES[carries] })),
    )
  }

  /** Runs a program over a frame of at least an Ethernet header, at a device of this network namespace. */
  run(program: string, frame: Buffer, gso?: Gso, ifindex = LOOPBACK): Ran {
    const fd = this.object.programFd(program)
    if (fd === undefined) throw new Error(`${program} is not loaded`)
    const options = Buffer.alloc(OPTIONS.size)
    const context = Buffer.alloc(SKB.size)
    options.writeBigUInt64LE(BigInt(OPTIONS.size), 0)
    options.writeBigUInt64LE(address(frame), OPTIONS.in)
    options.writeUInt32LE(frame.length, OPTIONS.inSize)
    options.writeBigUInt64LE(address(this.#out), OPTIONS.out)
    options.writeUInt32LE(this.#out.length, OPTIONS.outSize)
    if (gso !== undefined || ifindex !== LOOPBACK) {
      context.writeUInt32LE(gso?.segments ?? 0, SKB.gsoSegs)
      context.writeUInt32LE(gso?.size ?? 0, SKB.gsoSize)
      context.writeUInt32LE(ifindex, SKB.ifindex)
      options.writeBigUInt64LE(address(context), OPTIONS.context)
      options.writeUInt32LE(SKB.size, OPTIONS.contextSize)
    }
    testRun ??= koffi()
      .load('libbpf.so.1')
      .func('int bpf_prog_test_run_opts(int, void *)') as unknown as TestRun
    const result = testRun(fd, options)
    if (result === -22) return { verdict: undefined, out: frame }
    if (result !== 0) throw new Error(`bpf_prog_test_run_opts gave ${result}`)
    return {
      verdict: options.readInt32LE(OPTIONS.retval),
      out: Buffer.from(this.#out.subarray(0, options.readUInt32LE(OPTIONS.outSize))),
    }
  }

  /** What counts as no IP packet at a hook of the loopback device or of `ifindex`, since watch(). */
  others(egress: boolean, ifindex = LOOPBACK): { packets: number; bytes: number } {
    const counters = this.#hooks.read((ifindex << 1) | Number(egress))
    return { packets: counters?.otherPackets ?? -1, bytes: counters?.otherBytes ?? -1 }
  }

  /** What a hook saw go into tunnels and left to their devices, since watch(). */
  tunnelled(egress: boolean, ifindex: number): { packets: number; bytes: number } {
    const counters = this.#hooks.read((ifindex << 1) | Number(egress))
    return { packets: counters?.tunnelPackets ?? -1, bytes: counters?.tunnelBytes ?? -1 }
  }

  /** The hook is alive, with its counters at zero. */
  watch(egress: boolean, ifindex = LOOPBACK): void {
    this.#hooks.insert((ifindex << 1) | Number(egress))
  }

  /** Everything accounted since the last call, by flow and direction, and how many entries it took. */
  take(): { sums: Sums; entries: number } {
    const sums: Sums = new Map()
    let entries = 0
    for (const family of [4, 6] as const) {
      const drain = this.#drains[family]
      const size = family === 4 ? 4 : 16
      const found: Uint32Array[] = []
      drain.read((keys, values, count) => {
        for (let i = 0; i < count; i++) {
          const key = keys.slice(i * drain.keyWords, (i + 1) * drain.keyWords)
          found.push(key)
          const name = Buffer.from(key.buffer)
          const ends = [0, 1].map(
            (end) =>
              `${name.toString('hex', end * size, (end + 1) * size)}:${name.readUInt16BE(2 * size + 2 * end)}`,
          )
          const tail = `${family} ${name[2 * size + 4]} ${name[2 * size + 5]}`
          const at = i * drain.valueWords
          for (const dir of [0, 1]) {
            const packets = values[at + view.packets / 4 + dir]!
            if (packets === 0) continue
            sums.set(`${tail} ${ends[dir]}>${ends[dir ^ 1]}`, {
              packets,
              bytes: values[at + view.bytes / 4 + dir * 2]!,
              flags: (values[at + view.marks / 4]! >>> (dir * mark.MARK_FLAGS_SHIFT)) & 0xff,
            })
          }
        }
      })
      entries += found.length
      for (const key of found) drain.delete(key, 1)
    }
    return { sums, entries }
  }

  close(): void {
    this.object.close()
  }
}

const TUNSETIFF = 0x400454ca
const IFF = { tun: 1, tap: 2, noPacketInformation: 0x1000, vnetHeader: 0x4000 }
/** struct virtio_net_hdr. */
const VNET = {
  size: 10,
  flags: 0,
  gsoType: 1,
  headerLength: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
}

/**
 * A TUN or TAP device of the network namespace that this thread is in: what is written to it goes through its ingress hook
 * before write() returns. It goes with close().
 */
export class TunDevice {
  readonly #fd: number
  readonly #vnet: boolean
  #link = -1

  constructor(name: string, kind: 'tun' | 'tap', vnet = false) {
    this.#vnet = vnet
    this.#fd = openSync('/dev/net/tun', 'r+')
    const request = Buffer.alloc(40)
    request.write(name, 0)
    request.writeUInt16LE(IFF[kind] | IFF.noPacketInformation | (vnet ? IFF.vnetHeader : 0), 16)
    const ioctl = koffi().load(null).func('int ioctl(int, unsigned long, void *)')
    if (ioctl(this.#fd, TUNSETIFF, request) !== 0) throw new Error(`no ${kind} device ${name}`)
  }

  attach(programs: Programs, program: string, ifindex: number): void {
    this.#link = libbpf().bpf_link_create(programs.object.programFd(program) ?? -1, ifindex, 46, null)
    if (this.#link < 0) throw new Error(`cannot attach ${program}: ${this.#link}`)
  }

  /** With a virtio header: only `linear` bytes lie in the buffer's head, the rest in pages. False when it is refused. */
  write(packet: Buffer, linear = 0, gso?: { type: number; size: number; checksumStart: number }): boolean {
    const header = Buffer.alloc(this.#vnet ? VNET.size : 0)
    if (this.#vnet) {
      header.writeUInt16LE(linear, VNET.headerLength)
      if (gso !== undefined) {
        header.writeUInt8(1, VNET.flags)
        header.writeUInt8(gso.type, VNET.gsoType)
        header.writeUInt16LE(gso.size, VNET.gsoSize)
        header.writeUInt16LE(gso.checksumStart, VNET.checksumStart)
        header.writeUInt16LE(16, VNET.checksumOffset)
      }
    }
    try {
      return writeSync(this.#fd, Buffer.concat([header, packet])) > 0
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EINVAL') return false
      throw error
    }
  }

  close(): void {
    if (this.#link >= 0) closeSync(this.#link)
    closeSync(this.#fd)
  }
}
