// `vethflow gateway` as a process: opens the gateway, waits for the signal, closes it.

import { pino } from 'pino'

import { Gateway, type GatewayConfig } from './gateway.js'

/** Runs a gateway until `signal` says so. Resolves with the exit code. */
export async function runGateway(config: GatewayConfig, signal: AbortSignal): Promise<number> {
  // Logs go to stderr like those of every command; stdout is for flows.
  const log = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  const gateway = await Gateway.open(config, log)
  try {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      else signal.addEventListener('abort', () => resolve(), { once: true })
    })
  } finally {
    await gateway.close()
  }
  return 0
}
