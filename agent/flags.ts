// Command-line flags as a table: what a command takes is data, and parsing, help and configuration files follow from it.
// Shared vocabulary. Knows no command of its own and prints nothing; a mistake is a usage error that names the flag.

import { usageError } from './errors.js'

/** One flag. `takes` is absent for a switch; `many` flags may be repeated and give an array. */
export interface Flag<T> {
  readonly name: string
  readonly short?: string
  /** What stands after the flag in help, e.g. `DURATION`. */
  readonly takes?: string
  readonly many: boolean
  readonly help: string
  /** Shown in help; what the flag is worth when nobody sets it. */
  readonly shownDefault?: string
  /** Heading that help lists the flag under. */
  readonly group?: string
  /**
   * Variable to read; `false`: none. Without it, VETHFLOW_ and the name in upper case.
   * Kubernetes sets VETHFLOW_PORT and VETHFLOW_SERVICE_* in pods beside a service called vethflow: no flag may use those.
   */
  readonly env?: string | false
  readonly fallback: T
  /** The value of one occurrence, or an error made by `flagError`. */
  parse(text: string, where: string): unknown
  /** Known, but refused in this version. */
  readonly unavailable?: boolean
}

export type FlagTable = Readonly<Record<string, Flag<unknown>>>
/** What a table gives once parsed. */
export type FlagValues<T extends FlagTable> = {
  -readonly [K in keyof T]: T[K] extends Flag<infer V> ? V : never
}

interface FlagText {
  name: string
  help: string
  short?: string
  group?: string
  env?: string | false
}

/** A switch: false unless it is given. */
export function switchFlag(text: FlagText): Flag<boolean> {
  return { ...text, many: false, fallback: false, parse: parseSwitch }
}

/** A flag with one value; `undefined` or `fallback` when nobody sets it. */
export function valueFlag<T>(text: FlagText & { takes: string; parse: ParseValue<T> }): Flag<T | undefined>
export function valueFlag<T>(
  text: FlagText & { takes: string; parse: ParseValue<T>; fallback: T; shownDefault?: string },
): Flag<T>
export function valueFlag<T>(
  text: FlagText & { takes: string; parse: ParseValue<T>; fallback?: T; shownDefault?: string },
): Flag<T | undefined> {
  return { ...text, many: false, fallback: text.fallback }
}

/** A flag that may be repeated. In a variable the values are separated by commas. */
export function listFlag<T>(text: FlagText & { takes: string; parse: ParseValue<T> }): Flag<readonly T[]> {
  return { ...text, many: true, fallback: [] }
}

/** A flag of the contract that this version does not serve yet: parsed, then refused by name. Left out of help. */
export function laterFlag(name: string, takes?: string): Flag<undefined> {
  return {
    name,
    help: '',
    many: false,
    fallback: undefined,
    unavailable: true,
    ...(takes === undefined ? {} : { takes }),
    parse: (_text, where) => {
      throw usageError(`${where} is not available in this version`)
    },
  }
}

/** Reads one occurrence of a flag; `where` names the flag, variable or file key for errors. */
export type ParseValue<T> = (text: string, where: string) => T

/** The usage error of a bad value: `--x takes A duration such as 5s, not "y"`. */
export function flagError(where: string, takes: string, text: string): Error {
  return usageError(`${where} takes ${takes}, not ${quote(text)}`)
}

/** A user's text made safe and short for an error line. */
export function quote(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 77)}...` : text
  return JSON.stringify(short).replaceAll(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** One flag as it stood on the command line, in order. */
export interface Occurrence {
  readonly key: string
  readonly name: string
  readonly value: unknown
}

export interface ParsedFlags<T extends FlagTable> {
  readonly values: FlagValues<T>
  /** Keys that the command line, a variable or the file set. */
  readonly given: ReadonlySet<string>
  /** The command line's flags in their order: for those that change the next one. */
  readonly occurrences: readonly Occurrence[]
}

/** Settings below the command line: variables, then a file's. */
export interface FlagSources {
  env?: Readonly<Record<string, string | undefined>>
  /** From a configuration file, by flag name; `origin` names the file in errors. */
  file?: { readonly origin: string; readonly values: ReadonlyMap<string, readonly string[]> }
}

/** The name of the variable that stands for `flag`, or undefined. */
export function variableOf(flag: Flag<unknown>): string | undefined {
  if (flag.env === false || flag.unavailable === true) return undefined
  return flag.env ?? `VETHFLOW_${flag.name.replaceAll('-', '_').toUpperCase()}`
}

/**
 * Parses `argv` (without the command's name) by `table`. A flag beats a variable, which beats the file. Accepts
 * `--name value`, `--name=value`, `-fvalue`, and `--switch=false`. Throws a usage error that names what is wrong.
 */
export function parseFlags<T extends FlagTable>(
  command: string,
  table: T,
  argv: readonly string[],
  sources: FlagSources = {},
): ParsedFlags<T> {
  const occurrences = readArguments(command, table, argv)
  const values: Record<string, unknown> = {}
  const given = new Set<string>()
  for (const [key, flag] of Object.entries(table)) {
    const onLine = occurrences.filter((one) => one.key === key).map((one) => one.value)
    const found = onLine.length > 0 ? onLine : fromBelow(flag, sources)
    if (found === undefined) {
      values[key] = flag.fallback
      continue
    }
    given.add(key)
    values[key] = flag.many ? found : found[found.length - 1]
  }
  return { values: values as FlagValues<T>, given, occurrences }
}

/** Values from a variable or else the file; undefined when neither says anything. */
function fromBelow(flag: Flag<unknown>, sources: FlagSources): unknown[] | undefined {
  const variable = variableOf(flag)
  const text = variable === undefined ? undefined : sources.env?.[variable]
  if (variable !== undefined && text !== undefined && text !== '') {
    const texts = flag.many ? text.split(',').filter((part) => part !== '') : [text]
    return texts.map((one) => flag.parse(one.trim(), variable))
  }
  const inFile = sources.file?.values.get(flag.name)
  if (inFile === undefined || sources.file === undefined) return undefined
  const origin = sources.file.origin
  return inFile.map((one) => flag.parse(one, `${flag.name} in ${origin}`))
}

function readArguments(command: string, table: FlagTable, argv: readonly string[]): Occurrence[] {
  const byName = new Map<string, [string, Flag<unknown>]>()
  for (const [key, flag] of Object.entries(table)) {
    byName.set(`--${flag.name}`, [key, flag])
    if (flag.short !== undefined) byName.set(`-${flag.short}`, [key, flag])
  }
  const occurrences: Occurrence[] = []
  const words = [...argv]
  for (let i = 0; i < words.length; i++) {
    const argument = words[i] ?? ''
    if (!argument.startsWith('-') || argument === '-') {
      throw usageError(`${command} takes no argument ${quote(argument)}`, `See ${command} --help`)
    }
    let spelled = argument
    let value: string | undefined
    const equals = argument.indexOf('=')
    if (argument.startsWith('--') && equals > 0) {
      spelled = argument.slice(0, equals)
      value = argument.slice(equals + 1)
    } else if (!argument.startsWith('--') && argument.length > 2) {
      spelled = argument.slice(0, 2)
      value = argument.slice(argument[2] === '=' ? 3 : 2)
    }
    const entry = byName.get(spelled)
    if (entry === undefined) throw unknownFlag(command, spelled, table)
    const [key, flag] = entry
    const name = `--${flag.name}`
    if (flag.takes === undefined) {
      // `-fo json` is `-f -o json`.
      if (/^-[A-Za-z][A-Za-z]/.test(argument)) {
        words.splice(i + 1, 0, `-${argument.slice(2)}`)
        value = undefined
      }
      occurrences.push({ key, name, value: flag.parse(value ?? 'true', name) })
      continue
    }
    if (value === undefined) {
      value = words[++i]
      // A negative number or a lone dash may be a value; anything else with a dash is the next flag.
      if (value === undefined || (/^-./.test(value) && byName.has(value.replace(/=.*$/s, '')))) {
        throw usageError(`${name} takes ${flag.takes}, and nothing was given`)
      }
    }
    occurrences.push({ key, name, value: flag.parse(value, name) })
  }
  return occurrences
}

function unknownFlag(command: string, spelled: string, table: FlagTable): Error {
  const names = Object.values(table)
    .filter((flag) => flag.unavailable !== true)
    .map((flag) => `--${flag.name}`)
  const near = nearest(spelled, [...names, '--help', '--version'])
  const hint = near === undefined ? `See ${command} --help` : `Did you mean ${near}?`
  return usageError(`${command} has no flag ${quote(spelled)}`, hint)
}

/** The word of `words` that is most likely meant by `text`, or undefined when none is near. */
export function nearest(text: string, words: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.max(2, Math.floor(text.length / 3)) + 1
  for (const word of words) {
    const distance = editDistance(text.slice(0, 64), word)
    if (distance < least) {
      least = distance
      best = word
    }
  }
  return best
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1))
    }
    previous = row
  }
  return previous[b.length] ?? 0
}

function parseSwitch(text: string, where: string): boolean {
  const word = text.toLowerCase()
  if (word === 'true' || word === '1' || word === 'yes' || word === 'on') return true
  if (word === 'false' || word === '0' || word === 'no' || word === 'off') return false
  throw flagError(where, 'true or false', text)
}
