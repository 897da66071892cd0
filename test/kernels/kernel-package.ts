// Debian's kernels, fetched once into a cache outside the repository.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type Architecture, Packages } from './debian.js'

/** A kernel and where it comes from. */
export interface KernelSeries {
  readonly name: string
  readonly architecture: Architecture
  /** Debian's releases that may have it. */
  readonly suites: readonly string[]
  /** Which package holds it, its release in a group of its own; the newest match is taken. */
  readonly package: RegExp
  /** Tried by `make test` too. */
  readonly always: boolean
}

/** Where Debian's newest kernels are: what is being made, and what of it has been built for the last release. */
const NEWEST = ['unstable', 'trixie-backports']

/** Those that the table of docs/kernels.md is about, oldest first. */
export const KERNEL_SERIES: readonly KernelSeries[] = [
  {
    name: '5.10',
    architecture: 'amd64',
    suites: ['bullseye'],
    package: /^linux-image-(5\.10\.0-\d+-cloud-amd64)$/,
    always: true,
  },
  {
    name: '6.1',
    architecture: 'amd64',
    suites: ['bookworm'],
    package: /^linux-image-(6\.1\.0-\d+-cloud-amd64)$/,
    always: true,
  },
  {
    name: '6.12',
    architecture: 'amd64',
    suites: ['trixie'],
    package: /^linux-image-(6\.12\.\d+\+deb13-cloud-amd64)$/,
    always: false,
  },
  {
    name: '7',
    architecture: 'amd64',
    suites: NEWEST,
    package: /^linux-image-(7\.\d+\.\d+\+deb\d+-cloud-amd64)$/,
    always: false,
  },
  {
    name: '7 PREEMPT_RT',
    architecture: 'amd64',
    suites: NEWEST,
    package: /^linux-image-(7\.\d+\.\d+\+deb\d+-rt-amd64)$/,
    always: false,
  },
]

/** The one for the other architecture. */
export const KERNEL_ARM64: KernelSeries = {
  name: '6.12 arm64',
  architecture: 'arm64',
  suites: ['trixie'],
  package: /^linux-image-(6\.12\.\d+\+deb13-cloud-arm64)$/,
  always: false,
}

/** An unpacked kernel. */
export interface KernelFiles {
  readonly architecture: Architecture
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

/** A folder of the cache, filled by `fill` when it is not there. What fails leaves nothing. */
export async function cached(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(kernelCache(), name.replaceAll(' ', '-'))
  if (existsSync(folder)) return folder
  const fresh = `${folder}.${process.pid}`
  try {
    mkdirSync(fresh, { recursive: true })
    await fill(fresh)
    renameSync(fresh, folder)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return folder
}

/** The kernel, from the cache when it is there (then it may no longer be the newest). Throws when it cannot be fetched. */
export async function fetchKernel(wanted: KernelSeries): Promise<KernelFiles> {
  const folder = await cached(wanted.name, async (fresh) => {
    const apt = join(fresh, 'apt')
    const packages = await Packages.open(wanted.suites, wanted.architecture, apt)
    const release = (await packages.search(wanted.package))
      .map((name) => wanted.package.exec(name)?.[1])
      .at(-1)
    if (release === undefined) throw new Error(`no kernel ${wanted.name} in ${wanted.suites.join(' or ')}`)
    // since 7.0 the image's package only names those that hold it
    const parts = new RegExp(`^linux-(image|base|binary|modules)-${release.replaceAll(/[.+]/g, '\\$&')}$`)
    await packages.unpack(await packages.search(parts), fresh)
    rmSync(apt, { recursive: true })
  })
  for (const tree of ['lib/modules', 'usr/lib/modules']) {
    const root = join(folder, tree)
    const release = existsSync(root) ? readdirSync(root)[0] : undefined
    if (release === undefined) continue
    const modules = join(root, release)
    const image = [join(folder, 'boot', `vmlinuz-${release}`), join(modules, 'vmlinuz')].find((path) =>
      existsSync(path),
    )
    if (image !== undefined) return { architecture: wanted.architecture, release, image, modules }
  }
  throw new Error(`${folder} holds no kernel; remove it`)
}
