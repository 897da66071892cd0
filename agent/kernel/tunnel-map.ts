// The map `tunnels`: which outer packets uplinks look into. It holds no file descriptor of its own.

import { Errno, kernelError } from './ffi.js'
import { TUNNEL_IDS, tunnel_device, tunnel_key } from './layout.gen.js'
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
  /** VNI or key that the device takes; undefined: any. */
  readonly id?: number
  /** The device is hooked: its inner packets are accounted there, and uplinks only note them. */
  readonly inside?: boolean
}

/** Keeps the map `tunnels` equal to what it is told. */
export class TunnelMap {
  private readonly fd: number
  private present = new Map<string, Buffer>()

  constructor(fd: number) {
    this.fd = fd
  }

  /**
   * Two devices with one port and different local addresses open it for any address; so do more ids than there is room
   * for. The first 64 are taken.
   */
  set(tunnels: readonly Tunnel[]): void {
    const alike = new Map<string, Tunnel[]>()
    for (const tunnel of tunnels) {
      const key = tunnelKey(tunnel).toString('hex')
      const others = alike.get(key)
      if (others !== undefined) others.push(tunnel)
      else if (alike.size < MAX_TUNNELS) alike.set(key, [tunnel])
    }
    const wanted = new Map([...alike].map(([key, devices]) => [key, tunnelValue(devices)]))
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

/** What all devices of one port and protocol take. */
function tunnelValue(devices: readonly Tunnel[]): Buffer {
  const value = Buffer.alloc(tunnel_device.size)
  const locals = new Set(
    devices.map(({ local }) => (local === undefined ? '' : Buffer.from(local).toString('hex'))),
  )
  const [local = ''] = locals
  if (locals.size === 1) value.set(Buffer.from(local, 'hex').subarray(0, 16), tunnel_device.local)
  const ids = new Set(devices.map(({ id }) => id))
  if (!ids.has(undefined) && ids.size <= TUNNEL_IDS) {
    value.writeUInt8(ids.size, tunnel_device.id_count)
    for (const [i, id] of [...ids].entries()) value.writeUInt32LE((id ?? 0) >>> 0, tunnel_device.ids + i * 4)
  }
  value.writeUInt8(devices[0]?.type ?? 0, tunnel_device.type)
  value.writeUInt8(devices.every(({ inside }) => inside === true) ? 1 : 0, tunnel_device.inside)
  return value
}
