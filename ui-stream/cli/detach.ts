// `vethflow detach`: takes our programs off the interfaces of this network namespace, and of its pods'.

import { parseFlags } from '../../agent/flags.js'

/** Runs `vethflow detach`, and tells with `tell` how much there was to remove. Resolves with the exit code. */
export async function runDetach(argv: readonly string[], tell: (line: string) => void): Promise<number> {
  parseFlags('vethflow detach', {}, argv)
  const { sweep, sweepPods } = await import('../../agent/kernel/sweep.js')
  const removed = sweep() + (await sweepPods())
  tell(removed === 1 ? '1 program removed' : `${removed} programs removed`)
  return 0
}
