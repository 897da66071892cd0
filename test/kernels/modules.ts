// The modules of a kernel that the scenario needs, and in which order they can be loaded.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { KernelFiles } from './kernel-package.js'

/** By name, where they are no part of the kernel itself: devices, hooks, NAT by nftables and iptables, ctnetlink. */
const MODULES = ['veth', 'tun', 'sch_ingress', 'cls_bpf']
MODULES.push('nf_tables', 'nft_chain_nat', 'nft_nat', 'nft_masq', 'nf_nat', 'nf_conntrack_netlink')
MODULES.push('nft_compat', 'nft_counter', 'xt_nat', 'xt_MASQUERADE', 'xt_tcpudp')

/** Puts MODULES and what they depend on into `target`, unpacked, and a list `order` of them. */
export function copyModules(kernel: KernelFiles, target: string): void {
  const files = new Map<string, string>()
  const collect = (folder: string): void => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name)
      if (statSync(path).isDirectory()) collect(path)
      else if (/\.ko(\.xz|\.zst)?$/.test(name)) files.set(moduleName(name), path)
    }
  }
  collect(join(kernel.modules, 'kernel'))
  const order: string[] = []
  mkdirSync(target, { recursive: true })
  const add = (name: string): void => {
    const path = files.get(name)
    if (path === undefined || order.includes(`${name}.ko`)) return
    const bytes = path.endsWith('.ko') ? readFileSync(path) : unpack(path)
    for (const other of dependencies(bytes)) add(other)
    writeFileSync(join(target, `${name}.ko`), bytes)
    order.push(`${name}.ko`)
  }
  for (const name of MODULES) add(name)
  writeFileSync(join(target, 'order'), `${order.join('\n')}\n`)
}

function moduleName(file: string): string {
  return basename(file)
    .replace(/\.ko(\.xz|\.zst)?$/, '')
    .replaceAll('-', '_')
}

/** The `depends=` of a module's .modinfo. */
function dependencies(module: Buffer): string[] {
  const at = module.indexOf('\0depends=')
  if (at < 0) return []
  const text = module.toString('latin1', at + 9, module.indexOf(0, at + 9))
  return text
    .split(',')
    .filter((name) => name !== '')
    .map((name) => name.replaceAll('-', '_'))
}

function unpack(path: string): Buffer {
  const tool = path.endsWith('.xz') ? 'xz' : 'zstd'
  const { status, stdout } = spawnSync(tool, ['-dc', path], { maxBuffer: 64 * 1024 * 1024 })
  if (status !== 0) throw new Error(`${tool} cannot unpack ${path}`)
  return stdout
}
