// The file system that a guest starts from, but for its kernel's modules: tools, Node, the agent as it is installed, the
// scenario. Made once for all guests of an architecture, from this machine's own files or from Debian's packages.

import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { run } from '../testbed/run.js'
import { repository } from '../testbed/tools.js'

/** Taken with their libraries; busybox's own sh would run busybox's own ip. */
const TOOLS = ['busybox', 'sh', 'ip', 'nft', 'iptables-nft-restore', 'node']
/** Opened by name while they run: by the agent, and (a folder) by iptables. */
const LIBBPF = 'libbpf.so.1'
const EXTENSIONS = 'xtables'
/** Loaded only where the agent speaks to a cluster; larger than all the rest. */
const LEFT_OUT = '@kubernetes/client-node'

const INIT = `#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
read -r line </proc/cmdline
exec >"/dev/\${line##*output=}" 2>&1
while read -r module; do insmod "/modules/$module" || echo "error insmod $module"; done </modules/order
/usr/bin/sh /work/scenario.sh /work /vethflow/dist
reboot -f
`

/** What is missing here for making a root of this machine's files, or undefined. */
export function unmakeable(): string | undefined {
  const missing = ['cpio', ...TOOLS].filter(
    (tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0,
  )
  if (missing.length > 0) return `not there: ${missing.join(', ')}`
  return existsSync(join(repository, 'dist/test/kernels/drive.js')) ? undefined : 'dist/ is not built'
}

/** The folders at the top that lead into /usr, as every machine of Debian's has them. */
export function mergeUsr(root: string): void {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', name), { recursive: true })
    if (!existsSync(join(root, name))) symlinkSync(`usr/${name}`, join(root, name))
  }
}

/** Fills `root` from what is installed on this machine. */
export async function copyMachine(root: string): Promise<void> {
  mergeUsr(root)
  const which = async (tool: string): Promise<string> =>
    (await run(['sh', '-c', `command -v ${tool}`])).stdout.trim()
  for (const tool of TOOLS) await copyWithLibraries(await which(tool), root)
  const libbpf = (await run(['ldconfig', '-p'])).stdout.match(new RegExp(`${LIBBPF} .* => (\\S+)`))?.[1]
  if (libbpf === undefined) throw new Error(`${LIBBPF} is not there`)
  await copyWithLibraries(libbpf, root)
  cpSync(join(dirname(libbpf), EXTENSIONS), join(root, dirname(libbpf), EXTENSIONS), {
    recursive: true,
    verbatimSymlinks: true,
  })
}

/** A program or library and those it names, at the paths where it looks for them. */
async function copyWithLibraries(path: string, root: string): Promise<void> {
  const { stdout } = await run(['ldd', path], { accept: [0, 1] })
  for (const file of [path, ...(stdout.match(/\/\S+/g) ?? [])]) {
    mkdirSync(join(root, dirname(file)), { recursive: true })
    copyFileSync(file, join(root, file))
  }
}

/**
 * The built agent under /vethflow with the npm packages that it needs, and the first program. `native` is the folder of a
 * package with koffi's library for another architecture than this one.
 */
export function installAgent(root: string, native?: string): void {
  const home = join(root, 'vethflow')
  for (const part of ['dist', 'bpf/prebuilt', 'proto/vethflow', 'package.json', 'package-lock.json'])
    cpSync(join(repository, part), join(home, part), { recursive: true })
  cpSync(join(repository, 'proto/gen'), join(home, 'proto/gen'), { recursive: true })
  copyPackages(repository, home, new Set([LEFT_OUT]))
  if (native !== undefined)
    cpSync(native, join(home, 'node_modules/@koromix/koffi-linux-arm64'), { recursive: true })
  writeFileSync(join(root, 'init'), INIT, { mode: 0o755 })
}

/** What the package in `folder` depends on, and so on; packages are looked for as Node does. */
function copyPackages(folder: string, home: string, done: Set<string>): void {
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  ) as { dependencies?: Record<string, string>; optionalDependencies?: Record<string, string> }
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    let at = folder
    while (!existsSync(join(at, 'node_modules', name)) && at !== repository) at = dirname(at)
    const found = join(at, 'node_modules', name)
    const place = found.slice(repository.length)
    if (done.has(name) || done.has(place) || !existsSync(found)) continue
    done.add(place)
    cpSync(found, join(home, place), { recursive: true })
    copyPackages(found, home, done)
  }
}

/** Packs a folder for the kernel to start from; several may follow each other in one file. */
export async function pack(root: string, file: string): Promise<void> {
  await run(['sh', '-c', `find . | cpio -o -H newc --quiet >'${file}'`], { cwd: root })
}
