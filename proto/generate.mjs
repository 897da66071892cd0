// Generates proto/gen/vethflow.js and its types from proto/vethflow/v1/*.proto (`npm run proto`), and puts both into
// dist/ as well: tsc takes the types for the whole module and does not copy the JavaScript. Touches nothing else.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const proto = dirname(fileURLToPath(import.meta.url))
const gen = join(proto, 'gen')
const out = join(gen, 'vethflow.js')
const pbjs = createRequire(import.meta.url).resolve('protobufjs-cli/bin/pbjs')

mkdirSync(gen, { recursive: true })
const draft = join(gen, `draft-${process.pid}.js`)
const draftTypes = draft.replace(/\.js$/, '.d.ts')
const flags = [
  ...[
    '-t',
    'static-module',
    '-w',
    'esm',
    '--dts',
    '--dependency',
    '../runtime.js',
    '-r',
    'vethflow',
    '-p',
    proto,
  ],
  ...['--force-number', '--no-verify', '--no-convert', '--no-delimited', '--no-typeurl', '--no-service'],
]
const run = spawnSync(process.execPath, [pbjs, ...flags, '-o', draft, 'vethflow/v1/stream.proto'], {
  encoding: 'utf8',
  cwd: proto,
})
if (run.status !== 0) {
  process.stderr.write(run.stderr + run.stdout)
  process.exit(1)
}

const script = readFileSync(draft, 'utf8')
// The generator's types speak of the long package, which is switched off, and of the runtime by its bare name.
const types = readFileSync(draftTypes, 'utf8')
  .replace(/^import Long = require\("long"\);\n/m, '')
  .replace(/^import \* as \$protobuf from .*$/m, 'import type * as $protobuf from "protobufjs/minimal.js";')
rmSync(draft)
rmSync(draftTypes)
if (/\bLong\b/.test(types)) {
  process.stderr.write(
    'proto/generate.mjs: the generated types still speak of Long; is --force-number gone?\n',
  )
  process.exit(1)
}

for (const folder of [gen, join(proto, '..', 'dist', 'proto', 'gen')]) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'vethflow.js'), script)
  writeFileSync(join(folder, 'vethflow.d.ts'), types)
}
process.stdout.write(`${out}\n`)
