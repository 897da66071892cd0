// The other architecture: Debian's kernel for arm64 under qemu, with everything that test/kernels asks of a kernel.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { unfetchable } from '../kernels/debian.js'
import { copyForeign, foreignCompiler, foreignKoffi, unforeign } from '../kernels/foreign.js'
import { bootGuest, unbootable } from '../kernels/guest.js'
import { judge } from '../kernels/judge.js'
import { fetchKernel, KERNEL_ARM64 } from '../kernels/kernel-package.js'
import { installAgent, pack, unmakeable } from '../kernels/root.js'
import { Script } from '../kernels/script.js'
import { makeWork } from '../kernels/work.js'

const folder = mkdtempSync(join(tmpdir(), 'vethflow-arm64-'))
const script = new Script()

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const missing = unmakeable() ?? unforeign() ?? unfetchable() ?? unbootable('arm64')
judge(`Linux ${KERNEL_ARM64.name}`, missing, script, async () => {
  const kernel = await fetchKernel(KERNEL_ARM64)
  const root = join(folder, 'root')
  await makeWork(join(root, 'work'), script, await foreignCompiler())
  await copyForeign(root)
  installAgent(root, await foreignKoffi())
  const packed = join(folder, 'root.cpio')
  await pack(root, packed)
  return bootGuest(kernel, packed, mkdtempSync(join(folder, 'guest-')))
})
