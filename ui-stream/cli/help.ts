// Help texts, made from the flag tables so that they cannot lie.

import { type Flag, type FlagTable, variableOf } from '../../agent/flags.js'

/** The help of one command. `lead` is a sentence on what it does. */
export function helpText(
  usage: string,
  lead: string,
  table: FlagTable,
  examples: readonly string[] = [],
): string {
  const groups = new Map<string, Flag<unknown>[]>()
  for (const flag of Object.values(table)) {
    if (flag.unavailable === true) continue
    const group = flag.group ?? 'Flags'
    const list = groups.get(group)
    if (list === undefined) groups.set(group, [flag])
    else list.push(flag)
  }
  const lines = [lead, '', `Usage: ${usage}`]
  const names = new Set(Object.values(table).map((flag) => flag.name))
  for (const [group, flags] of groups) {
    lines.push('', `${group}:`)
    for (const flag of flags) {
      const prefixes = ['from-', 'to-'].filter((prefix) => names.has(prefix + flag.name))
      if (!isVariant(flag.name, names)) lines.push(flagLine(flag, prefixes))
    }
  }
  lines.push('', 'Also --help and --version.')
  const variables = Object.values(table).some((flag) => variableOf(flag) !== undefined)
  if (variables)
    lines.push('A flag beats its variable (VETHFLOW_ and the name in upper case, e.g. VETHFLOW_SERVER).')
  if (table.config !== undefined)
    lines.push("A variable beats the configuration file, whose keys are the flags' names.")
  if (examples.length > 0) lines.push('', 'Examples:', ...examples.map((example) => `  ${example}`))
  return `${lines.join('\n')}\n`
}

/** True for `from-pod` where there is `pod`, which then stands for both. */
function isVariant(name: string, names: ReadonlySet<string>): boolean {
  const bare = name.replace(/^(from|to)-/, '')
  return bare !== name && names.has(bare)
}

function flagLine(flag: Flag<unknown>, prefixes: readonly string[]): string {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `
  const prefix = prefixes.length === 0 ? '' : `[${prefixes.join('|')}]`
  const spelled = `  ${short}--${prefix}${flag.name}${flag.takes === undefined ? '' : ` ${flag.takes}`}`
  const worth = flag.shownDefault === undefined ? '' : ` (default ${flag.shownDefault})`
  const text = `${flag.help}${worth}`
  return spelled.length > 33 ? `${spelled}\n${' '.repeat(35)}${text}` : `${spelled.padEnd(35)}${text}`
}
