// Runs the benchmarks: a table on stdout (JSON with --json), progress on stderr, results saved in bench/results.
//
//   node dist/bench/main.js [--quick] [--long] [--pairs N] [--no-save] [--json] [--only REGEXP] [--beside FOLDER] [--reference OBJECT] [GROUP…]

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { repository } from '../test/testbed/index.js'
import { connections, idle, latency, memory } from './agent.js'
import { CPU } from './bed.js'
import { gateway } from './gateway.js'
import { identity } from './identity.js'
import { kernelCost } from './kernel-cost.js'
import { encode, line } from './line.js'
import type { BenchOptions } from './options.js'
import { packetRate } from './packet-rate.js'
import { load, machine, type Row, table } from './report.js'
import { stream } from './stream.js'

type Group = (options: BenchOptions, progress: (what: string) => void) => Promise<Row[]>

const GROUPS: Readonly<Record<string, Group>> = {
  kernel: kernelCost,
  rate: packetRate,
  identity,
  encode,
  line,
  idle,
  connections,
  latency,
  gateway,
  memory,
  stream,
}

const { values, positionals } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    long: { type: 'boolean', default: false },
    pairs: { type: 'string' },
    'no-save': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    reference: { type: 'string' },
    beside: { type: 'string' },
    only: { type: 'string' },
  },
  allowPositionals: true,
})
const unknown = positionals.find((name) => GROUPS[name] === undefined)
const pairs = Number(values.pairs ?? (values.quick ? 1 : 9))
if (unknown !== undefined || !Number.isInteger(pairs) || pairs < 1) {
  const what = unknown === undefined ? '--pairs takes a number from 1 on' : `there is no group ${unknown}`
  console.error(`bench: ${what}; groups: ${Object.keys(GROUPS).join(', ')}`)
  process.exit(2)
}
const options: BenchOptions = {
  quick: values.quick,
  long: values.long,
  pairs,
  ...(values.reference === undefined ? {} : { reference: values.reference }),
  ...(values.beside === undefined ? {} : { beside: values.beside }),
  ...(values.only === undefined ? {} : { only: new RegExp(values.only) }),
}

const results: object[] = []
for (const name of positionals.length > 0 ? positionals : Object.keys(GROUPS)) {
  const began = load()
  const rows = await (GROUPS[name] as Group)(options, (what) => console.error(`${name}: ${what}`))
  const result = {
    group: name,
    machine: machine(),
    conditions: {
      loadBefore: began,
      loadAfter: load(),
      generatorCpu: CPU,
      pairs: options.pairs,
      quick: options.quick,
      long: options.long,
    },
    rows,
  }
  results.push(result)
  if (!values.json) console.log(`${name} (load ${began.toFixed(2)} before)\n${table(rows)}\n`)
  // A part of the rows would take the place of all.
  if (values['no-save'] || options.quick || options.only !== undefined) continue
  const folder = join(repository, 'bench', 'results')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(result, null, 2)}\n`)
}
if (values.json) console.log(JSON.stringify(results))
