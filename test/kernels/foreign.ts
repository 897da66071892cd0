// What a guest of the other architecture (arm64) needs and this machine's own files cannot give: a file system of Debian's
// packages, the static libraries to compile for it, koffi's library for it. Fetched once into the cache; not installed.

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../testbed/run.js'
import { repository } from '../testbed/tools.js'
import { Packages } from './debian.js'
import { cached } from './kernel-package.js'
import { mergeUsr } from './root.js'

/** Debian's first release whose Node is new enough for the agent. */
const SYSTEM_SUITE = 'trixie'
const SYSTEM = ['busybox-static', 'dash', 'iproute2', 'nftables', 'iptables', 'libbpf1', 'nodejs']
/** Static libraries have to fit the cross compiler's C library, which is this machine's release. */
const LIBRARY_SUITE = 'bookworm'
const LIBRARIES = ['libbpf-dev', 'libelf-dev', 'zlib1g-dev']
const COMPILER = 'aarch64-linux-gnu-gcc'

/** What is missing here for making them, or undefined. */
export function unforeign(): string | undefined {
  const missing = [COMPILER, 'npm', 'tar'].filter(
    (tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0,
  )
  return missing.length === 0 ? undefined : `not there: ${missing.join(', ')}`
}

/** Fills `root` from Debian's packages for arm64. */
export async function copyForeign(root: string): Promise<void> {
  const folder = await cached('system-arm64', async (fresh) => {
    mergeUsr(fresh)
    const apt = join(fresh, 'apt')
    const packages = await Packages.open([SYSTEM_SUITE], 'arm64', apt)
    await packages.unpack(SYSTEM, fresh, true)
    rmSync(apt, { recursive: true })
    for (const part of ['doc', 'info', 'locale', 'man'])
      rmSync(join(fresh, 'usr/share', part), { recursive: true, force: true })
  })
  cpSync(folder, root, { recursive: true, verbatimSymlinks: true })
}

/** The compiler for arm64 with the libraries that capture is linked to. */
export async function foreignCompiler(): Promise<string[]> {
  const folder = await cached('libraries-arm64', async (fresh) => {
    const apt = join(fresh, 'apt')
    const packages = await Packages.open([LIBRARY_SUITE], 'arm64', apt)
    await packages.unpack(LIBRARIES, fresh)
    rmSync(apt, { recursive: true })
  })
  return [COMPILER, `-I${folder}/usr/include`, `-L${folder}/usr/lib/aarch64-linux-gnu`]
}

/** The folder of the npm package with koffi's library for arm64, of the version that is installed here. */
export async function foreignKoffi(): Promise<string> {
  const { optionalDependencies } = JSON.parse(
    readFileSync(join(repository, 'node_modules/koffi/package.json'), 'utf8'),
  ) as { optionalDependencies: Record<string, string> }
  const name = '@koromix/koffi-linux-arm64'
  const version = optionalDependencies[name]
  if (version === undefined) throw new Error(`koffi names no ${name}`)
  const folder = await cached(`koffi-arm64-${version}`, async (fresh) => {
    await run(['npm', 'pack', '--silent', `${name}@${version}`], { cwd: fresh, timeoutMs: 120_000 })
    await run(['sh', '-c', 'tar -xzf *.tgz && rm *.tgz'], { cwd: fresh })
  })
  const found = join(folder, 'package')
  if (!existsSync(found)) throw new Error(`${folder} holds no package; remove it`)
  return found
}
