// The folder that scenario.sh works in: the two C programs compiled without need of any library, the objects, the
// frames. Also runs the scenario on this machine's own kernel, in namespaces that go with it.

import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../testbed/run.js'
import { repository } from '../testbed/tools.js'
import type { Script } from './script.js'

const HERE = join(repository, 'test/kernels')
const PATIENCE_MS = 200_000

/** What is missing for building the folder and trying this machine's kernel, or undefined. */
export function unbuildable(): string | undefined {
  const tools = ['gcc', 'ip', 'nft', 'iptables-nft-restore', 'unshare'].filter(
    (tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0,
  )
  if (tools.length > 0) return `not there: ${tools.join(', ')}`
  if (!existsSync('/usr/include/bpf/libbpf.h')) return 'libbpf-dev is not there'
  return process.getuid?.() === 0 ? undefined : 'needs root'
}

/** Makes the folder. `compiler` is a command and its first arguments. Throws with what the compiler said. */
export async function makeWork(
  folder: string,
  script: Script,
  compiler: readonly string[] = ['gcc'],
): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const compile = [...compiler, '-O2', '-Wall', '-Werror', '-static', '-o']
  const parts = readdirSync(join(HERE, 'capture')).filter((name) => name.endsWith('.c'))
  const sources = parts.map((name) => join(HERE, 'capture', name))
  await run([...compile, join(folder, 'capture'), ...sources, '-lbpf', '-lelf', '-lz'])
  await run([...compile, join(folder, 'stream'), join(HERE, 'stream.c')])
  await run([...compile, join(folder, 'contend'), join(HERE, 'contend.c'), '-lpthread'])
  for (const name of ['flow.bpf.o', 'flow-5.12.bpf.o', 'flow-5.10.bpf.o'])
    copyFileSync(join(repository, 'bpf/prebuilt', name), join(folder, name))
  for (const name of ['scenario.sh', 'service.nft', 'service.iptables', 'instead.nft'])
    copyFileSync(join(HERE, name), join(folder, name))
  writeFileSync(join(folder, 'frames'), script.bytes)
}

/** What scenario.sh says on the kernel that runs here. */
export async function runHere(folder: string): Promise<string> {
  const argv = [
    'unshare',
    '--net',
    '--mount',
    'sh',
    join(folder, 'scenario.sh'),
    folder,
    join(repository, 'dist'),
  ]
  return (await run(argv, { timeoutMs: PATIENCE_MS })).stdout
}
