// Packages of Debian's, fetched and unpacked into a folder with an apt configuration of their own: the machine's package
// lists, sources and architectures stay as they are, and the archive is the one that they name. Nothing is installed.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../testbed/run.js'

/** Debian's names of them. */
export type Architecture = 'amd64' | 'arm64'

const PATIENCE_MS = 300_000

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

/** Why no package can be fetched here, or undefined. */
export function unfetchable(): string | undefined {
  const tool = ['apt-get', 'dpkg-deb'].find((name) => spawnSync(name, ['--version']).status !== 0)
  if (tool !== undefined) return `${tool} is not there`
  return archives().Debian === undefined ? 'apt knows no archive of Debian here' : undefined
}

/** apt's view of some suites (releases like `trixie`, `trixie-backports`) of one architecture, in a folder of its own. */
export class Packages {
  readonly #folder: string
  readonly #options: readonly string[]

  private constructor(folder: string, options: readonly string[]) {
    this.#folder = folder
    this.#options = options
  }

  /** Reads the suites' lists; `folder` is made, and is the caller's to remove. Throws what apt says. */
  static async open(
    suites: readonly string[],
    architecture: Architecture,
    folder: string,
  ): Promise<Packages> {
    for (const path of ['state/lists/partial', 'cache/archives/partial'])
      mkdirSync(join(folder, path), { recursive: true })
    const known = archives()
    const sources = suites.flatMap((suite) => {
      const lines = [`deb ${known.Debian} ${suite} main`]
      // only releases have one of their own
      const release = !suite.includes('-') && suite !== 'unstable'
      if (release && known['Debian-Security'] !== undefined)
        lines.push(`deb ${known['Debian-Security']} ${suite}-security main`)
      return lines
    })
    writeFileSync(join(folder, 'sources.list'), `${sources.join('\n')}\n`)
    writeFileSync(join(folder, 'status'), '')
    const options = [
      `Dir::Etc::sourcelist=${folder}/sources.list`,
      'Dir::Etc::sourceparts=/dev/null',
      `Dir::State=${folder}/state`,
      `Dir::State::status=${folder}/status`,
      `Dir::Cache=${folder}/cache`,
      `APT::Architecture=${architecture}`,
      `APT::Architectures=${architecture}`,
      'Acquire::Languages=none',
      'APT::Sandbox::User=root',
      // the machine's own wishes after an update are not for this one
      'APT::Update::Post-Invoke-Success::=true',
    ].flatMap((option) => ['-o', option])
    await run(['apt-get', ...options, 'update'], { timeoutMs: PATIENCE_MS })
    return new Packages(folder, options)
  }

  /** The names that match, oldest version in a name first. */
  async search(pattern: RegExp): Promise<string[]> {
    const { stdout } = await run(['apt-cache', ...this.#options, 'pkgnames', 'linux-'])
    return stdout
      .split('\n')
      .filter((name) => pattern.test(name))
      .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  }

  /** Unpacks packages into `target`; with `dependencies` all that they need to be installed, too. */
  async unpack(names: readonly string[], target: string, dependencies = false): Promise<void> {
    const patience = { timeoutMs: PATIENCE_MS, cwd: join(this.#folder, 'cache/archives') }
    const install = ['install', '--download-only', '--yes', '--no-install-recommends', ...names]
    await run(['apt-get', ...this.#options, ...(dependencies ? install : ['download', ...names])], patience)
    for (const name of readdirSync(patience.cwd).filter((one) => one.endsWith('.deb'))) {
      await run(['dpkg-deb', '-x', name, target], patience)
      rmSync(join(patience.cwd, name))
    }
  }
}
