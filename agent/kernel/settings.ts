// The map `settings`: what the running agent tells all programs. It holds no file descriptor of its own.

import { kernelError } from './ffi.js'
import { settings, TUNNEL_PORTS } from './layout.gen.js'
import { libbpf } from './libbpf.js'

/** Less than this is what lies between two readings of two clocks, nanoseconds. */
const CLOCK_NOISE_NS = 1e6

/** The one entry of `settings`, written when something in it changes. */
export class Settings {
  private readonly fd: number
  private readonly key = new Uint32Array(1)
  private readonly value = Buffer.alloc(settings.size)
  private ahead = 0
  private ports: string | undefined

  constructor(fd: number) {
    this.fd = fd
  }

  /** All UDP ports of this node's tunnels. More than the entry has room for: the programs ask the map each time. */
  tunnelPorts(ports: Iterable<number>): void {
    const known = [...new Set(ports)].sort((a, b) => a - b)
    if (known.join() === this.ports) return
    this.ports = known.join()
    this.value.fill(0, settings.tunnel_ports, settings.tunnel_ports + TUNNEL_PORTS * 2)
    for (const [i, port] of known.slice(0, TUNNEL_PORTS).entries())
      this.value.writeUInt16BE(port, settings.tunnel_ports + i * 2)
    this.value.writeUInt32LE(known.length <= TUNNEL_PORTS ? 1 : 0, settings.tunnel_ports_told)
    this.write()
  }

  /** By how much the boot clock is ahead of the monotonic one, microseconds: it changes when the machine has slept. */
  bootAhead(us: number): void {
    const ns = us * 1000
    if (Math.abs(ns - this.ahead) < CLOCK_NOISE_NS) return
    this.ahead = ns
    this.value.writeBigUInt64LE(BigInt(Math.max(0, Math.round(ns))), settings.boot_ahead)
    this.write()
  }

  private write(): void {
    const result = libbpf().bpf_map_update_elem(this.fd, this.key, this.value, 0)
    if (result !== 0) throw kernelError('SETTINGS', 'tell the programs their settings', result)
  }
}
