// Where to listen, and whether that is safe: from other machines only with TLS and a token, unless told otherwise.

import { BlockList, isIP } from 'node:net'
import { ExitCode, usageError, VethflowError } from '../../agent/errors.js'

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** True for 127.0.0.0/8, ::1 and localhost. `host` without brackets. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  const version = isIP(host)
  return version !== 0 && loopback.check(host, version === 4 ? 'ipv4' : 'ipv6')
}

/** Parses `ADDR:PORT` with an IP address (IPv6 in brackets) or localhost. Throws a usage error. */
export function parseListen(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2] ?? ''
  const port = Number(match?.[3])
  const valid = match?.[1] === undefined ? isIP(host) === 4 || host === 'localhost' : isIP(host) === 6
  if (match === null || !valid || port > 65535) {
    throw usageError(
      `--listen takes ADDRESS:PORT as in 127.0.0.1:4280 or [::1]:4280, not ${JSON.stringify(text)}`,
    )
  }
  return { host, port }
}

/** Throws when others could reach `address` in the clear, or without having to prove who they are. */
export function checkExposure(
  address: ListenAddress,
  { insecure, encrypts, asks }: { insecure: boolean; encrypts: boolean; asks: boolean },
): void {
  if (insecure || isLoopback(address.host) || (encrypts && asks)) return
  const lacks = encrypts ? 'a token' : asks ? 'TLS' : 'TLS and a token'
  throw new VethflowError(
    'INSECURE_LISTEN',
    `--listen ${address.host}:${address.port} is reachable from other machines without ${lacks}`,
    {
      exitCode: ExitCode.USAGE,
      hint: 'Give --tls-cert and --tls-key, and --token-file or --auth kubernetes; or listen on 127.0.0.1; or allow it with --insecure',
    },
  )
}
