// Boots a kernel under qemu's software emulation with nothing but a file system in memory, and hands back what
// scenario.sh said there. Leaves no process and no file behind.

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { run } from '../testbed/run.js'
import type { KernelFiles } from './kernel-package.js'

/** The modules that the scenario needs, where they are no part of the kernel itself. */
const MODULES = ['veth', 'tun', 'sch_ingress', 'cls_bpf', 'nf_tables', 'nft_chain_nat', 'nft_nat', 'nf_nat']
/** Taken from this machine with their libraries; busybox's own sh would run busybox's own ip. */
const TOOLS = ['sh', 'ip', 'nft']

const INIT = `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
while read -r module; do insmod "/modules/$module" || echo "error insmod $module"; done </modules/order >/dev/ttyS1
SHELL /work/scenario.sh /work >/dev/ttyS1 2>&1
reboot -f
`
/** A guest boots in two seconds; the scenario takes a minute on a loaded machine. */
const PATIENCE_MS = 400_000

/** What is missing for booting a guest, or undefined. */
export function unbootable(): string | undefined {
  const tools = ['qemu-system-x86_64', 'busybox', 'cpio', 'xz', 'zstd', ...TOOLS]
  const missing = tools.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  return missing.length === 0 ? undefined : `not there: ${missing.join(', ')}`
}

/** Runs scenario.sh of `work` in a guest; `folder` is an empty one for the image. Throws with the console's end. */
export async function bootGuest(kernel: KernelFiles, work: string, folder: string): Promise<string> {
  const root = join(folder, 'root')
  mkdirSync(join(root, 'bin'), { recursive: true })
  const busybox = (await run(['sh', '-c', 'command -v busybox'])).stdout.trim()
  copyFileSync(busybox, join(root, 'bin/busybox'))
  for (const tool of TOOLS) await copyTool(tool, root)
  copyModules(kernel, root)
  cpSync(work, join(root, 'work'), { recursive: true })
  const shell = (await run(['sh', '-c', 'command -v sh'])).stdout.trim()
  writeFileSync(join(root, 'init'), INIT.replace('SHELL', shell))
  chmodSync(join(root, 'init'), 0o755)
  const image = join(folder, 'initramfs')
  await run(['sh', '-c', `find . | cpio -o -H newc --quiet >'${image}'`], { cwd: root })

  const output = join(folder, 'output')
  const console = join(folder, 'console')
  const argv = [
    'qemu-system-x86_64',
    '-accel',
    'tcg',
    '-m',
    '512',
    '-nodefaults',
    '-display',
    'none',
    '-no-reboot',
  ]
  argv.push('-kernel', kernel.image, '-initrd', image, '-append', 'console=ttyS0 panic=-1 quiet rdinit=/init')
  argv.push('-serial', `file:${console}`, '-serial', `file:${output}`)
  try {
    await run(argv, { timeoutMs: PATIENCE_MS })
  } catch (cause) {
    const said = [console, output].map((path) => readFileSync(path, 'utf8').slice(-1500)).join('\n')
    throw new Error(`the guest with ${kernel.release} did not end:\n${said}`, { cause })
  }
  const text = readFileSync(output, 'utf8')
  if (!text.includes('run end'))
    throw new Error(`${readFileSync(console, 'utf8').slice(-3000)}\n${text.slice(-1500)}`)
  return text
}

/** A program and the libraries it names, at the paths where it looks for them. */
async function copyTool(tool: string, root: string): Promise<void> {
  const path = (await run(['sh', '-c', `command -v ${tool}`])).stdout.trim()
  const { stdout } = await run(['ldd', path])
  const libraries = stdout.match(/\/\S+/g) ?? []
  for (const file of [path, ...libraries]) {
    mkdirSync(join(root, dirname(file)), { recursive: true })
    copyFileSync(file, join(root, file))
  }
}

/** MODULES and what they depend on, unpacked, and a list of them in an order in which they can be loaded. */
function copyModules(kernel: KernelFiles, root: string): void {
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
  const target = join(root, 'modules')
  mkdirSync(target)
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
