// Debian's kernels, fetched once into a cache outside the repository with an apt configuration of their own: the machine's
// package lists and sources stay as they are, and the archive is the one that they name.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { run } from '../testbed/run.js'

/** A kernel and where it comes from. */
export interface KernelSeries {
  readonly series: string
  /** Debian's release that has it. */
  readonly suite: string
  /** Which package holds it; the newest match is taken. */
  readonly package: RegExp
  /** Tried by `make test` too. */
  readonly always: boolean
}

/** Oldest first. */
export const KERNEL_SERIES: readonly KernelSeries[] = [
  { series: '5.10', suite: 'bullseye', package: /^linux-image-5\.10\.0-\d+-cloud-amd64$/, always: true },
  { series: '6.1', suite: 'bookworm', package: /^linux-image-6\.1\.0-\d+-cloud-amd64$/, always: true },
  { series: '6.12', suite: 'trixie', package: /^linux-image-6\.12\.\d+\+deb13-cloud-amd64$/, always: false },
]

/** An unpacked kernel. */
export interface KernelFiles {
  readonly release: string
  /** The bootable image. */
  readonly image: string
  /** The folder of its modules. */
  readonly modules: string
}

/** The cache; VETHFLOW_KERNEL_CACHE moves it. */
export function kernelCache(): string {
  return process.env.VETHFLOW_KERNEL_CACHE ?? join(homedir(), '.cache', 'vethflow', 'kernels')
}

/** Why no kernel can be fetched here, or undefined. */
export function unfetchable(): string | undefined {
  if (process.arch !== 'x64') return 'the kernels tried are those for x86-64'
  const tool = ['apt-get', 'dpkg-deb'].find((name) => spawnSync(name, ['--version']).status !== 0)
  if (tool !== undefined) return `${tool} is not there`
  return archives().Debian === undefined ? 'apt knows no archive of Debian here' : undefined
}

/** The addresses of Debian's archives that this machine's apt is set up with, by label. */
function archives(): Partial<Record<'Debian' | 'Debian-Security', string>> {
  const format = '$(ORIGIN)|$(LABEL)|$(REPO_URI)'
  const { stdout } = spawnSync('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    encoding: 'utf8',
  })
  const found: Record<string, string> = {}
  for (const line of (stdout ?? '').split('\n')) {
    const [origin, label, uri] = line.split('|')
    if (origin === 'Debian' && label !== undefined && uri !== undefined) found[label] ??= uri
  }
  return found
}

/** The kernel, from the cache when it is there. Throws when it cannot be fetched. */
export async function fetchKernel(wanted: KernelSeries): Promise<KernelFiles> {
  const folder = join(kernelCache(), wanted.series)
  if (!existsSync(folder)) {
    const fresh = `${folder}.${process.pid}`
    try {
      await unpack(wanted, fresh)
      renameSync(fresh, folder)
    } finally {
      rmSync(fresh, { recursive: true, force: true })
    }
  }
  const image = readdirSync(join(folder, 'boot')).find((name) => name.startsWith('vmlinuz-'))
  if (image === undefined) throw new Error(`${folder} holds no kernel; remove it`)
  const release = image.slice('vmlinuz-'.length)
  const modules = [join(folder, 'usr/lib/modules', release), join(folder, 'lib/modules', release)].find(
    (path) => existsSync(path),
  )
  if (modules === undefined) throw new Error(`${folder} holds no modules; remove it`)
  return { release, image: join(folder, 'boot', image), modules }
}

async function unpack(wanted: KernelSeries, folder: string): Promise<void> {
  const apt = join(folder, 'apt')
  for (const path of ['state/lists/partial', 'cache/archives/partial'])
    mkdirSync(join(apt, path), { recursive: true })
  const known = archives()
  const sources = [
    known.Debian === undefined ? '' : `deb ${known.Debian} ${wanted.suite} main\n`,
    known['Debian-Security'] === undefined
      ? ''
      : `deb ${known['Debian-Security']} ${wanted.suite}-security main\n`,
  ].join('')
  writeFileSync(join(apt, 'sources.list'), sources)
  writeFileSync(join(apt, 'status'), '')
  const options = [
    `Dir::Etc::sourcelist=${apt}/sources.list`,
    'Dir::Etc::sourceparts=/dev/null',
    `Dir::State=${apt}/state`,
    `Dir::State::status=${apt}/status`,
    `Dir::Cache=${apt}/cache`,
    'Acquire::Languages=none',
    'APT::Sandbox::User=root',
    // the machine's own wishes after an update are not for this one
    'APT::Update::Post-Invoke-Success::=true',
  ].flatMap((option) => ['-o', option])
  const patience = { timeoutMs: 300_000, cwd: folder }
  await run(['apt-get', ...options, 'update'], patience)
  await run(['apt-get', ...options, 'download', await newest(wanted, options)], patience)
  for (const name of readdirSync(folder).filter((one) => one.endsWith('.deb'))) {
    await run(['dpkg-deb', '-x', join(folder, name), folder], patience)
    rmSync(join(folder, name))
  }
  rmSync(apt, { recursive: true })
}

/** The newest package that matches. */
async function newest(wanted: KernelSeries, options: readonly string[]): Promise<string> {
  const { stdout } = await run(['apt-cache', ...options, 'search', '--names-only', '^linux-image-'])
  const names = stdout
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => wanted.package.test(name))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  const name = names.at(-1)
  if (name === undefined) throw new Error(`no kernel ${wanted.series} in ${wanted.suite}`)
  return name
}
