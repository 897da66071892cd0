// The programs and the agent on other kernels than this one: does the verifier take them, at what cost, do they count
// exactly, is a translated connection one flow, and which features are there? Debian's 5.10 and 6.1 under qemu, with
// VETHFLOW_KERNELS=all every series of KERNEL_SERIES, and always the kernel here. VETHFLOW_KERNELS_OUTPUT names a folder
// for what each kernel said.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { unfetchable } from './debian.js'
import { bootGuest, unbootable } from './guest.js'
import { judge } from './judge.js'
import { fetchKernel, KERNEL_SERIES } from './kernel-package.js'
import { copyMachine, installAgent, pack, unmakeable } from './root.js'
import { Script } from './script.js'
import { makeWork, runHere, unbuildable } from './work.js'

const folder = mkdtempSync(join(tmpdir(), 'vethflow-kernels-'))
const script = new Script()
let made: Promise<string> | undefined

/** The packed file system of the guests; its folder `work` is what is tried here, too. */
function prepared(): Promise<string> {
  made ??= (async () => {
    const root = join(folder, 'root')
    await makeWork(join(root, 'work'), script)
    await copyMachine(root)
    installAgent(root)
    const file = join(folder, 'root.cpio')
    await pack(root, file)
    return file
  })()
  return made
}

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const missing = unbuildable() ?? unmakeable()
judge('the kernel that runs here', missing, script, async () => {
  await prepared()
  return runHere(join(folder, 'root/work'))
})
const foreign = process.arch === 'x64' ? undefined : 'the kernels tried are those for x86-64'
const all = process.env.VETHFLOW_KERNELS === 'all'
for (const series of KERNEL_SERIES.filter(({ always }) => all || always))
  judge(
    `Linux ${series.name}`,
    missing ?? foreign ?? unfetchable() ?? unbootable('amd64'),
    script,
    async () => bootGuest(await fetchKernel(series), await prepared(), mkdtempSync(join(folder, 'guest-'))),
    series.name,
  )
