// Boots a kernel under qemu's software emulation with nothing but a file system in memory, and hands back what
// scenario.sh said there. Leaves no process and no file behind.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../testbed/run.js'
import type { Architecture } from './debian.js'
import type { KernelFiles } from './kernel-package.js'
import { copyModules } from './modules.js'
import { pack } from './root.js'

/** A guest boots in two seconds; the scenario takes a minute on a loaded machine. */
const PATIENCE_MS = 900_000

/** The last that scenario.sh says. */
const END = 'run end - -'

/** By architecture: the emulator, its machine, and where the kernel and init say something (the same where there is one). */
const MACHINES = {
  amd64: { emulator: 'qemu-system-x86_64', options: [], console: 'ttyS0', output: 'ttyS1' },
  arm64: {
    emulator: 'qemu-system-aarch64',
    // what the clouds' machines are; not `max`, on which V8's code crashes under qemu 7.2
    options: ['-machine', 'virt', '-cpu', 'neoverse-n1'],
    console: 'ttyAMA0',
    output: 'ttyAMA0',
  },
} as const

/** What is missing for booting a guest, or undefined. */
export function unbootable(architecture: Architecture): string | undefined {
  const tools = [MACHINES[architecture].emulator, 'cpio', 'xz', 'zstd']
  const missing = tools.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  return missing.length === 0 ? undefined : `not there: ${missing.join(', ')}`
}

/**
 * Runs scenario.sh in a guest that starts from `root` (a packed file system) and its modules; `folder` is an empty one of
 * its own. Throws with the console's end.
 */
export async function bootGuest(kernel: KernelFiles, root: string, folder: string): Promise<string> {
  const { emulator, options, console, output } = MACHINES[kernel.architecture]
  const own = join(folder, 'own')
  mkdirSync(own)
  copyModules(kernel, join(own, 'modules'))
  await pack(own, join(folder, 'modules.cpio'))
  const image = join(folder, 'initramfs')
  await run(['sh', '-c', `cat '${root}' '${join(folder, 'modules.cpio')}' >'${image}'`])

  const files = [...new Set([console, output])].map((name) => join(folder, name))
  const argv = [emulator, '-accel', 'tcg', '-m', '1024', '-nodefaults', '-display', 'none', '-no-reboot']
  argv.push(...options, '-kernel', kernel.image, '-initrd', image)
  argv.push('-append', `console=${console} panic=-1 quiet rdinit=/init output=${output}`)
  for (const file of files) argv.push('-serial', `file:${file}`)
  try {
    await run(argv, { timeoutMs: PATIENCE_MS })
  } catch (cause) {
    const said = files.map((path) => readFileSync(path, 'utf8').slice(-1500)).join('\n')
    throw new Error(`the guest with ${kernel.release} did not end:\n${said}`, { cause })
  }
  const text = readFileSync(join(folder, output), 'utf8')
  const end = text.indexOf(END)
  if (end < 0) throw new Error(files.map((path) => readFileSync(path, 'utf8').slice(-3000)).join('\n'))
  // behind it the kernel says that it restarts, where it has no other console
  return text.slice(0, end + END.length)
}
