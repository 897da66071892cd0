// The map `tunnels`: which outer packets uplinks open. It holds no file descriptor of its own.

import { Errno, kernelError } from './ffi.js'
import { tunnel_device, tunnel_key } from './layout.gen.js'
import { libbpf } from './libbpf.js'

/** A tunnel that ends on this node: the key and value of the map `tunnels`. */
export interface Tunnel {
  /** UDP destination port; 0 for IPIP and GRE. */
  readonly port: number
  /** 17, 4, 41 or 47. */
  readonly protocol: number
  /** 4 or 6, of the outer addresses. */
  readonly family: 4 | 6
  /** TUNNEL_* of bpf/flow.h. */
  readonly type: number
  /** This node's outer address, 4 or 16 bytes; undefined: any. */
  readonly local?: Uint8Array
}

/** Keeps the map `tunnels` equal to what it is told. */
export class TunnelMap {
  private readonly fd: number
  private present = new Map<string, Buffer>()

  constructor(fd: number) {
    this.fd = fd
  }

  /** Two devices with one port and different local addresses open it for any address. The first 64 are taken. */
  set(tunnels: readonly Tunnel[]): void {
    const wanted = new Map<string, Buffer>()
    for (const tunnel of tunnels) {
      const key = tunnelKey(tunnel).toString('hex')
      const value = tunnelValue(tunnel)
      const other = wanted.get(key)
      if (other !== undefined && !other.equals(value))
        value.fill(0, tunnel_device.local, tunnel_device.local + 16)
      if (wanted.size < MAX_TUNNELS || wanted.has(key)) wanted.set(key, value)
    }
    for (const key of this.present.keys()) {
      if (wanted.has(key)) continue
      const result = libbpf().bpf_map_delete_elem(this.fd, Buffer.from(key, 'hex'))
      if (result !== 0 && result !== -Errno.ENOENT) throw kernelError('TUNNELS', 'forget a tunnel', result)
    }
    for (const [key, value] of wanted) {
      if (this.present.get(key)?.equals(value)) continue
      const result = libbpf().bpf_map_update_elem(this.fd, Buffer.from(key, 'hex'), value, 0)
      if (result !== 0) throw kernelError('TUNNELS', 'note a tunnel', result)
    }
    this.present = wanted
  }
}

const MAX_TUNNELS = 64

function tunnelKey(tunnel: Tunnel): Buffer {
  const key = Buffer.alloc(tunnel_key.size)
  key.writeUInt16BE(tunnel.port, tunnel_key.port)
  key.writeUInt8(tunnel.protocol, tunnel_key.protocol)
  key.writeUInt8(tunnel.family, tunnel_key.family)
  return key
}

function tunnelValue(tunnel: Tunnel): Buffer {
  const value = Buffer.alloc(tunnel_device.size)
  if (tunnel.local !== undefined) value.set(tunnel.local.subarray(0, 16), tunnel_device.local)
  value.writeUInt8(tunnel.type, tunnel_device.type)
  return value
}
