// Packets that one CPU sends through a veth in a second, with the program on the receiving end over without.

import { hookNumber } from '../agent/kernel/hook.js'
import { prebuiltDir } from '../agent/kernel/programs.js'
import { Bed } from './bed.js'
import type { BenchOptions } from './options.js'
import { VethflowProgram, whileAttached } from './program-under-test.js'
import { type Row, row } from './report.js'
import { spread } from './spread.js'

const TCP = 6

export async function packetRate(options: BenchOptions, progress: (what: string) => void): Promise<Row[]> {
  const bed = await Bed.create()
  const rows: Row[] = []
  try {
    for (const { flows, least } of [
      { flows: 64, least: 0.87 },
      { flows: 10_000, least: 0.82 },
    ]) {
      const name = `packets a second, ${flows.toLocaleString('en-US')} flows`
      progress(name)
      const program = new VethflowProgram(`${prebuiltDir()}/flow.bpf.o`, 'veth_ingress', [
        hookNumber(bed.hostIndex, false),
      ])
      const rate = async (on: boolean): Promise<number> => {
        program.settle()
        const { sent, ns } = await whileAttached(
          on ? program : undefined,
          bed.node.path,
          bed.hostIndex,
          false,
          () => bed.generate('flows', { protocol: TCP, flows, count: options.quick ? 30_000 : 1_000_000 }),
        )
        return (sent / ns) * 1e9
      }
      try {
        const ratios: number[] = []
        const without: number[] = []
        await rate(true)
        for (let round = 0; round < options.pairs; round++) {
          const first = await rate(round % 2 === 0)
          const second = await rate(round % 2 !== 0)
          const [on, off] = round % 2 === 0 ? [first, second] : [second, first]
          ratios.push(on / off)
          without.push(off)
        }
        rows.push(row(`${name}: without`, '1/s', spread(without)))
        rows.push(
          row(`${name}: with over without`, 'ratio', spread(ratios), { kind: 'atLeast', value: least }),
        )
      } finally {
        program.close()
      }
    }
  } finally {
    await bed.close()
  }
  return rows
}
