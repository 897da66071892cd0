// The benchmarks' own C and BPF programs: compiled on first use, again when their source changed. Needs gcc, and clang
// for the yardstick.

import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { repository, run } from '../test/testbed/index.js'

const CLANG = process.env.CLANG ?? 'clang-19'

/** The frame generator (generate.c); gives its path. */
export function generator(): Promise<string> {
  return compile('generate.c', 'generate', (source, target) => [
    ...['gcc', '-O2', '-Wall', '-Wextra', '-Werror', '-o', target, source],
  ])
}

/** The yardstick's object (yardstick.bpf.c); gives its path. `source` may be another program of the same make. */
export async function yardstickObject(): Promise<string> {
  const { stdout } = await run(['uname', '-m'])
  return compile('yardstick.bpf.c', 'yardstick.bpf.o', (source, target) => [
    ...[CLANG, '-O2', '-g', '-target', 'bpf', '-mcpu=v3', '-Wall', '-Wextra', '-Werror'],
    ...[`-I/usr/include/${stdout.trim()}-linux-gnu`, '-c', source, '-o', target],
  ])
}

async function compile(
  file: string,
  name: string,
  command: (source: string, target: string) => readonly string[],
): Promise<string> {
  const source = join(repository, 'bench', file)
  const target = join(repository, '.make', name)
  if (existsSync(target) && statSync(target).mtimeMs > statSync(source).mtimeMs) return target
  mkdirSync(join(repository, '.make'), { recursive: true })
  const own = `${target}.${process.pid}`
  await run(command(source, own))
  renameSync(own, target)
  return target
}
