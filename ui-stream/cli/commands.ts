// The commands of `vethflow`. Each is loaded when it is asked for, so that none pays for what another needs.

import type { FlagTable } from '../../agent/flags.js'

/** What a command is run with. */
export interface CommandContext {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal
}

/** What help says of a command. */
export interface CommandHelp {
  readonly usage: string
  readonly table: FlagTable
  readonly examples: readonly string[]
}

export interface Command {
  /** One sentence. */
  readonly summary: string
  help(): Promise<CommandHelp>
  /** Resolves with the exit code; throws a VethflowError for what the user has to know. */
  run(context: CommandContext): Promise<number>
}

export const COMMANDS: Readonly<Record<string, Command>> = {
  agent: {
    summary: 'Captures, names and serves the flows of this node',
    async help() {
      const { agentFlags } = await import('../../agent/config.js')
      return {
        usage: 'vethflow agent [flags]',
        table: agentFlags,
        examples: ['vethflow agent --manifests cluster/', 'vethflow agent --listen :4280 --insecure'],
      }
    },
    async run({ argv, env, signal }) {
      const { parseAgentConfig } = await import('../../agent/config.js')
      const config = parseAgentConfig(argv, env)
      const { runAgent } = await import('../../agent/main.js')
      return await runAgent(config, signal)
    },
  },
  tail: {
    summary: 'Prints flows as they happen, or from history',
    async help() {
      const { tailFlags } = await import('../tail/flags.js')
      return {
        usage: 'vethflow tail [flags]',
        table: tailFlags,
        examples: [
          'vethflow tail --namespace shop --not --port 53',
          'vethflow tail --to-service shop/web --verdict dropped --since 5m -f',
          'vethflow tail --last 100 -o json',
        ],
      }
    },
    async run({ argv, env, signal }) {
      const { runTail } = await import('../tail/main.js')
      return await runTail(argv, { stdout: process.stdout, stderr: process.stderr, env, signal })
    },
  },
  gateway: {
    summary: 'Serves the flows of many agents as one stream',
    async help() {
      const { gatewayFlags } = await import('./gateway-config.js')
      return {
        usage: 'vethflow gateway --agent URL [--agent URL...] [flags]',
        table: gatewayFlags,
        examples: ['vethflow gateway --agent ws://10.0.0.1:4280 --agent ws://10.0.0.2:4280'],
      }
    },
    async run({ argv, env, signal }) {
      const { parseGatewayConfig } = await import('./gateway-config.js')
      const config = parseGatewayConfig(argv, env)
      const { runGateway } = await import('../gateway/main.js')
      return await runGateway(config, signal)
    },
  },
  status: {
    summary: 'Tells how an agent or a gateway is doing',
    async help() {
      const { statusFlags } = await import('../status/flags.js')
      return { usage: 'vethflow status [flags]', table: statusFlags, examples: ['vethflow status -o json'] }
    },
    async run({ argv, env, signal }) {
      const { runStatus } = await import('../status/main.js')
      return await runStatus(argv, { stdout: process.stdout, env, signal })
    },
  },
  detach: {
    summary: 'Removes what a killed agent left on interfaces in this network namespace',
    async help() {
      return { usage: 'vethflow detach', table: {}, examples: [] }
    },
    async run({ argv }) {
      const { runDetach } = await import('./detach.js')
      return await runDetach(argv, (line) => process.stdout.write(`${line}\n`))
    },
  },
}
