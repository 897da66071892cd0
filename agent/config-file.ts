// Reads a YAML configuration file whose keys are a command's flags. May not interpret values: that is the flags' work.

import { readFileSync, statSync } from 'node:fs'
import { parse, YAMLParseError } from 'yaml'

import { fileProblem, usageError } from './errors.js'
import { type FlagTable, nearest, quote } from './flags.js'

const MAX_CONFIG_BYTES = 1 << 20

/**
 * The settings of `path` as texts by flag name, for `parseFlags`. Throws a usage error for a file that cannot be read,
 * is not YAML, or has a key or value that no flag takes.
 */
export function readConfigFile(path: string, table: FlagTable): ReadonlyMap<string, readonly string[]> {
  const document = parseYaml(path)
  const values = new Map<string, readonly string[]>()
  if (document === null || document === undefined) return values
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw usageError(
      `--config takes a YAML file of flag names and values, and ${quote(path)} is something else`,
    )
  }
  const flags = new Map(Object.values(table).map((flag) => [flag.name, flag]))
  for (const [name, value] of Object.entries(document as Record<string, unknown>)) {
    const flag = flags.get(name)
    if (flag === undefined || name === 'config') {
      const near = nearest(name, [...flags.keys()])
      throw usageError(
        `${quote(path)} has the unknown key ${quote(name)}`,
        near === undefined ? undefined : `Did you mean ${near}?`,
      )
    }
    const items = Array.isArray(value) ? value : [value]
    if (Array.isArray(value) && !flag.many) {
      throw usageError(`${name} in ${quote(path)} takes ${flag.takes ?? 'true or false'}, not a list`)
    }
    values.set(
      name,
      items.map((item) => scalar(item, name, path, flag.takes ?? 'true or false')),
    )
  }
  return values
}

function parseYaml(path: string): unknown {
  let text: string
  try {
    if (statSync(path).size > MAX_CONFIG_BYTES) throw new Error('it is larger than 1 MiB')
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw usageError(
      `--config takes a file that can be read, and ${quote(path)} cannot: ${fileProblem(cause)}`,
    )
  }
  try {
    // Aliases are not followed without bound: yaml's maxAliasCount stands at 100.
    return parse(text, { prettyErrors: false, logLevel: 'error' })
  } catch (cause) {
    throw usageError(`--config takes a YAML file, and ${quote(path)} is not one: ${reason(cause, text)}`)
  }
}

function scalar(value: unknown, name: string, path: string, takes: string): string {
  if (typeof value === 'string' || typeof value === 'boolean') return String(value)
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  throw usageError(
    `${name} in ${quote(path)} takes ${takes}, not ${value === null ? 'nothing' : 'a structure'}`,
  )
}

/** What the parser says, and in which line. */
function reason(cause: unknown, text: string): string {
  if (!(cause instanceof YAMLParseError)) return fileProblem(cause)
  const line = text.slice(0, cause.pos[0]).split('\n').length
  return `line ${line}: ${cause.message.split('\n', 1)[0] ?? ''}`
}
