// The flags of `vethflow status`.

import { oneOf } from '../../agent/flag-values.js'
import { valueFlag } from '../../agent/flags.js'
import { serverFlags } from '../tail/flags.js'

/** The flag table of `vethflow status`. */
export const statusFlags = {
  ...serverFlags,
  output: valueFlag({
    name: 'output',
    short: 'o',
    takes: 'table|json',
    help: 'form of the answer',
    group: 'How',
    parse: oneOf('table', 'json'),
    fallback: 'table' as const,
    shownDefault: 'table',
    // VETHFLOW_OUTPUT is that of tail, and takes other words.
    env: false,
  }),
}
