// `make demo`: a small cluster, an agent per node, a gateway, and the flows live until Ctrl-C or for --duration seconds.
// stdout holds only what `vethflow tail` prints. Whatever happens, nothing stays behind.

import { createServer } from 'node:net'
import { parseArgs } from 'node:util'
import { Testbed } from '../testbed/index.js'
import { buildCluster, INGRESS } from './cluster.js'
import { GATEWAY_PORT, said, startAgent, startGateway, startTail } from './observe.js'
import { onParentInterrupted } from './parent.js'
import { startTalking } from './talk.js'

const OUTPUTS = ['compact', 'wide', 'json']

const started = performance.now()
function progress(text: string): void {
  process.stderr.write(`demo: ${((performance.now() - started) / 1000).toFixed(1)} s  ${text}\n`)
}

function usage(text: string): never {
  process.stderr.write(`demo: ${text}\n`)
  process.exit(2)
}

function options(): { seconds: number; output: string } {
  const { values } = parseArgs({
    options: { duration: { type: 'string', default: '0' }, output: { type: 'string', default: 'compact' } },
  })
  const seconds = Number(values.duration)
  if (!/^\d+$/.test(values.duration) || seconds > 86_400) {
    usage(`DURATION takes whole seconds (0: until Ctrl-C), not ${values.duration}`)
  }
  if (!OUTPUTS.includes(values.output)) usage(`OUTPUT takes ${OUTPUTS.join(', ')}, not ${values.output}`)
  if (process.getuid?.() !== 0) usage('needs root: it makes network namespaces and loads eBPF programs')
  return { seconds, output: values.output }
}

/** Says so at once when the gateway's port is taken, not after the cluster was built. */
function portIsFree(): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(GATEWAY_PORT, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}

/** Resolves with why it ended: 'interrupted', 'duration', or a sentence about what went wrong. */
async function demo(bed: Testbed, seconds: number, output: string, signal: AbortSignal): Promise<string> {
  const cluster = await buildCluster(bed)
  signal.throwIfAborted()
  const pods = cluster.nodes.reduce((sum, node) => sum + node.pods.length, 0)
  progress(`${cluster.nodes.length} nodes and ${pods} pods are up`)

  const manifests = bed.writeManifests([INGRESS])
  const agents = await Promise.all(cluster.nodes.map((node) => startAgent(bed, node, manifests, signal)))
  progress('an agent captures on each node')
  const gateway = await startGateway(
    bed,
    agents.map(({ url }) => url),
    signal,
  )
  progress(`the gateway answers on http://127.0.0.1:${GATEWAY_PORT}/`)
  const tail = await startTail(bed, output)
  const stopTalking = await startTalking(cluster)
  progress(seconds > 0 ? `flows for ${seconds} s` : 'flows until Ctrl-C')

  let timer: NodeJS.Timeout | undefined
  const why = await Promise.race([
    new Promise<string>((resolve) => {
      if (signal.aborted) resolve('interrupted')
      signal.addEventListener('abort', () => resolve('interrupted'), { once: true })
    }),
    new Promise<string>((resolve) => {
      if (seconds > 0) timer = setTimeout(() => resolve('duration'), seconds * 1000)
    }),
    // A reader that had enough (a closed pipe) ends the demo like Ctrl-C.
    tail.ended.then(({ code, signal }) => (code === 0 ? 'interrupted' : `tail ended with ${code ?? signal}`)),
    ...[...agents, gateway].map(({ name, task }) =>
      task.ended.then(({ code, signal }) => `${name} ended with ${code ?? signal}: ${said(task)}`),
    ),
  ])
  clearTimeout(timer)
  stopTalking()
  // The tail first: it has a summary to print, and nothing to complain of yet.
  if (tail.end === undefined) await tail.stop('SIGINT')
  await gateway.task.stop()
  await Promise.all(agents.map(({ task }) => task.stop()))
  return why
}

async function main(): Promise<number> {
  const { seconds, output } = options()
  if (!(await portIsFree())) usage(`port ${GATEWAY_PORT} of 127.0.0.1 is taken; is another demo running?`)
  const stop = new AbortController()
  let bed: Testbed | undefined
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(130) // asked twice: the exit handler of the testbed cleans
      stop.abort()
    })
  }
  const stopLooking = onParentInterrupted(() => stop.abort())
  try {
    bed = await Testbed.create('demo')
    const why = await demo(bed, seconds, output, stop.signal)
    if (why === 'duration' || why === 'interrupted') return 0
    process.stderr.write(`demo: ${why}\n`)
    return 1
  } catch (error) {
    if (stop.signal.aborted) return 0
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  } finally {
    stopLooking()
    await bed?.close()
    progress('everything is removed')
  }
}

process.exit(await main())
