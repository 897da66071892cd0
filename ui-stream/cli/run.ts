// From the words on the command line to an exit code: help, version, the command, and errors as one line.

import { describeError, ExitCode, usageError, VethflowError } from '../../agent/errors.js'
import { nearest, quote } from '../../agent/flags.js'
import { version } from '../../agent/version.js'
import { safe } from '../tail/text.js'
import { COMMANDS } from './commands.js'
import { helpText } from './help.js'

/** What the command line is run with; the process's own unless a test says otherwise. */
export interface CliSurroundings {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signal: AbortSignal
  /** Writes help and version to stdout. */
  out(text: string): void
  /** Writes one line of error to stderr. */
  err(line: string): void
}

/** Runs `vethflow` and resolves with its exit code; never rejects. */
export async function runCli(surroundings: CliSurroundings): Promise<number> {
  const { argv, env } = surroundings
  const name = argv[0]
  try {
    return await dispatch(name, surroundings)
  } catch (error) {
    surroundings.err(errorLine(name, error))
    if (env.VETHFLOW_DEBUG !== undefined) surroundings.err(details(error))
    return error instanceof VethflowError ? error.exitCode : ExitCode.FAILED
  }
}

async function dispatch(name: string | undefined, surroundings: CliSurroundings): Promise<number> {
  const { argv, env, signal, out } = surroundings
  if (name === undefined) {
    throw usageError(`vethflow takes a command: ${Object.keys(COMMANDS).join(', ')}`, 'See vethflow --help')
  }
  if (name === '--help' || name === '-h' || name === 'help') {
    const about = argv[1]
    const known = about === undefined ? undefined : Object.hasOwn(COMMANDS, about)
    if (known === false) throw unknownCommand(about ?? '')
    out(about === undefined ? overview() : await commandHelp(about))
    return ExitCode.DONE
  }
  if (name === '--version' || name === 'version') {
    out(`vethflow ${version()}\n`)
    return ExitCode.DONE
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) throw unknownCommand(name)
  const rest = argv.slice(1)
  if (rest.includes('--help') || rest.includes('-h')) {
    out(await commandHelp(name))
    return ExitCode.DONE
  }
  if (rest.includes('--version')) {
    out(`vethflow ${version()}\n`)
    return ExitCode.DONE
  }
  return await command.run({ argv: rest, env, signal })
}

function unknownCommand(name: string): VethflowError {
  const names = Object.keys(COMMANDS)
  if (name.startsWith('-')) {
    return usageError(
      `vethflow has no flag ${quote(name)} before the command`,
      `Commands are ${names.join(', ')}`,
    )
  }
  const near = nearest(name, names)
  const hint = near === undefined ? `Commands are ${names.join(', ')}` : `Did you mean ${near}?`
  return usageError(`vethflow has no command ${quote(name)}`, hint)
}

function overview(): string {
  const lines = [
    'vethflow shows who talks to whom in a Kubernetes cluster.',
    '',
    'Usage: vethflow COMMAND [flags]',
    '',
  ]
  for (const [name, { summary }] of Object.entries(COMMANDS)) lines.push(`  ${name.padEnd(10)}${summary}`)
  lines.push('', 'vethflow COMMAND --help tells the flags of a command; vethflow --version the version.')
  return `${lines.join('\n')}\n`
}

async function commandHelp(name: string): Promise<string> {
  const command = COMMANDS[name]
  if (command === undefined) return overview()
  const { usage, table, examples } = await command.help()
  return helpText(usage, `${command.summary}.`, table, examples)
}

/** One line, harmless on a terminal. Usage errors speak for themselves; the others carry their code. */
function errorLine(name: string | undefined, error: unknown): string {
  const text = describeError(error).replace(/^USAGE: /, '')
  const who = name === undefined || !Object.hasOwn(COMMANDS, name) ? 'vethflow' : `vethflow ${name}`
  const line = safe(text)
  return line.startsWith('vethflow') ? line : `${who}: ${line}`
}

/** For whoever mends it: what the verifier wrote, or where an error that nobody thought of came from. */
function details(error: unknown): string {
  if (!(error instanceof Error)) return ''
  const log: unknown = Reflect.get(error, 'log')
  return typeof log === 'string' ? log : (error.stack ?? '')
}
