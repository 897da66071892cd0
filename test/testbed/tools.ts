// Where the repository is, and its small C programs: compiled on first use, again when their source changed.

import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './run.js'

/** The top of the checkout, from the sources as well as from dist/. */
export const repository: string = (() => {
  let directory = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(directory, 'package-lock.json'))) {
    const parent = dirname(directory)
    if (parent === directory) throw new Error('the testbed runs inside a checkout only')
    directory = parent
  }
  return directory
})()

const built = new Map<string, Promise<string>>()

/**
 * The path of a program compiled: of test/testbed/<name>.c, or of all sources in test/testbed/<name>/. What ends in .so
 * is a library to load before others.
 */
export function tool(name: 'traffic' | 'forward' | 'timeshift.so'): Promise<string> {
  let path = built.get(name)
  if (path === undefined) {
    path = compile(name)
    built.set(name, path)
  }
  return path
}

async function compile(name: string): Promise<string> {
  const place = join(repository, 'test/testbed', name.replace(/\.so$/, ''))
  const sources = existsSync(place)
    ? readdirSync(place)
        .sort()
        .map((file) => join(place, file))
    : [`${place}.c`]
  const target = join(repository, '.make', name)
  const fresh = (source: string) => existsSync(target) && statSync(target).mtimeMs > statSync(source).mtimeMs
  if (sources.every(fresh)) return target
  mkdirSync(dirname(target), { recursive: true })
  const own = `${target}.${process.pid}` // several processes may come here at once
  const units = sources.filter((source) => source.endsWith('.c'))
  const shared = name.endsWith('.so') ? ['-shared', '-fPIC'] : []
  await run(['gcc', '-O2', '-Wall', '-Wextra', '-Werror', ...shared, '-o', own, ...units])
  renameSync(own, target)
  return target
}
