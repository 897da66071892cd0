// Wires the line, top to bottom: kernel -> capture -> identity -> stream. What each stage does stands in its own folder;
// here is only who hands what to whom, the clock that drives them, and the order in which they end.

import './young-generation.js'
import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { Stage, Unit } from '../ui-stream/protocol/messages.js'
import { openSecurity } from '../ui-stream/server/auth/open-security.js'
import { StreamServer } from '../ui-stream/server/server.js'
import { addressText } from './address-text.js'
import { Capture } from './capture/capture.js'
import { Sockets } from './capture/sockets.js'
import type { AgentConfig } from './config.js'
import { describeError } from './errors.js'
import { formatListen } from './flag-values.js'
import { parseAddress } from './identity/address.js'
import { openIdentity } from './identity/open.js'
import { OwnConnections } from './identity/own.js'
import { keepHeapSmall } from './kernel/c-heap.js'
import { bootUs, wallUs } from './kernel/clock.js'
import { Datapath } from './kernel/datapath.js'
import { HookDirectory } from './kernel/hook-directory.js'
import { LossTotals } from './loss-totals.js'
import { registerAgentMetrics } from './metrics.js'
import { agentStatus } from './status.js'
import { version } from './version.js'

/** The ring and the netlink socket are looked at this often while something happens, and when nothing does. */
const BUSY_MS = 10
const QUIET_MS = 80
/** After a round that failed; so many in a row end the agent. */
const RETRY_MS = 200
const MAX_FAILURES = 25
/** Names that are not there after so long do not keep the agent from being ready. */
const READY_WITHOUT_NAMES_MS = 30_000

/**
 * Runs an agent until `signal` aborts; then ends every flow (AGENT_STOPPED), detaches and closes. Gives the exit code.
 * Throws a VethflowError when it cannot start; nothing is left behind then.
 */
export async function runAgent(config: AgentConfig, signal: AbortSignal): Promise<number> {
  const ends: (() => void | Promise<void>)[] = []
  try {
    return await wire(config, signal, ends)
  } finally {
    // the last stage first, so that what is told at the end still reaches the clients
    for (const end of ends.reverse()) await end()
  }
}

async function wire(
  config: AgentConfig,
  signal: AbortSignal,
  ends: (() => void | Promise<void>)[],
): Promise<number> {
  const log = pino({ base: { node: config.nodeName } }, pino.destination({ dest: 2, sync: true }))
  const startedMs = Date.now()
  const agentId = randomBytes(6).toString('hex')

  // kernel
  keepHeapSmall()
  const datapath = Datapath.open({
    maxConnections: config.maxConnections,
    disable: new Set(config.disableFeatures),
    // who asks for an interface by name may mean the loopback's
    loopbackSockets: config.interfaces.length > 0,
  })
  ends.push(() => datapath.close())
  const hooks = new HookDirectory()
  const losses = new LossTotals(config.nodeName)

  // identity
  const identity = await openIdentity({
    nodeName: config.nodeName,
    ...(config.manifests === undefined ? {} : { manifests: config.manifests }),
    ...(config.kubeconfig === undefined ? {} : { kubeconfig: config.kubeconfig }),
    kubernetes: config.kubernetes,
    mode: config.identityMode,
    groups: config.addressGroups,
    now: () => wallUs() / 1000,
    log: { info: (message) => log.info(message), warn: (message) => log.warn(message) },
  })
  ends.push(() => identity.close())

  // stream
  const server = await StreamServer.open({
    listen: formatListen(config.listen),
    nodeName: config.nodeName,
    agentId,
    version: version(),
    historyBytes: config.historyBytes,
    insecure: config.insecure,
    security: await openSecurity(config, config.kubeconfig, (message) => log.warn(message)),
    status: () =>
      agentStatus({
        nodeName: config.nodeName,
        agentId,
        version: version(),
        startedMs,
        maxConnections: config.maxConnections,
        datapath: datapath.status(),
        capture: capture.state(),
        identity,
        lost: losses.list(),
        recordsPerSecond: losses.rate(capture.state().records),
      }),
    ready: () =>
      datapath.pending === 0 &&
      datapath.status().interfaces.some((device) => device.attach !== undefined) &&
      (identity.synced || Date.now() - startedMs > READY_WITHOUT_NAMES_MS),
    hookInterface: (hook) => {
      const entry = hooks.get(hook)
      return entry === undefined ? undefined : { interface: entry.name, direction: entry.egress ? 2 : 1 }
    },
    log,
  })
  ends.push(() => server.close())
  registerAgentMetrics(server.registry, datapath, () => capture.state())
  const own = new OwnConnections(Number(server.address.slice(server.address.lastIndexOf(':') + 1)))

  // capture
  const { socketNetns } = datapath
  const sockets =
    socketNetns === undefined ? undefined : new Sockets(socketNetns, (key) => datapath.forgetCgroup(key))
  const capture = new Capture({
    source: datapath,
    sockets,
    maxViews4: config.maxConnections,
    maxViews6: Math.ceil(config.maxConnections / 2),
    updateIntervalMs: config.updateIntervalMs,
    clock: { bootUs, wallUs },
    hookAttachedAt: (hook) => hooks.attachedAt(hook),
    isPodHook: (hook) => hooks.isPodHook(hook),
    onFlows: (batch) => {
      own.mark(batch)
      server.publish(identity.name(batch))
    },
    onLost: ({ stage, unit, count, sinceUs, untilUs }) => {
      const lost = { stage: Stage[`STAGE_${stage}`], unit: Unit[`UNIT_${unit}`], count, sinceUs, untilUs }
      losses.add(lost)
      server.publishLost([{ nodeName: config.nodeName, ...lost }])
    },
  })

  const interfacesChanged = (): void => {
    hooks.update(datapath.status().interfaces)
    const addresses = datapath
      .interfaces()
      .flatMap((device) => device.addresses.map(({ address }) => addressText(address)))
    identity.setLocalAddresses(addresses)
    own.setLocalAddresses(addresses)
    sockets?.setLocalAddresses(addresses.map(parseAddress).filter((words) => words !== undefined))
  }
  datapath.follow({ include: config.interfaces, exclude: config.excludeInterfaces })
  interfacesChanged()
  log.info({ interfaces: datapath.status().interfaces.length, listen: server.address }, 'capturing')

  let drained = performance.now()
  let records = 0
  const tick = (): number => {
    if (datapath.poll().length > 0) interfacesChanged()
    const more = capture.poll()
    const every = capture.drainEveryMs
    if (performance.now() - drained >= every) {
      drained += every * Math.max(1, Math.floor((performance.now() - drained) / every))
      datapath.checkHeads()
      capture.drain()
    }
    const busy = capture.state().ringRecords !== records
    records = capture.state().ringRecords
    // interfaces that came all at once are hooked a few at a time
    if (more || datapath.pending > 0) return 0
    return busy ? BUSY_MS : QUIET_MS
  }
  await run(tick, signal, (error) => log.error(describeError(error)))

  capture.stop()
  log.info('stopped')
  return 0
}

/**
 * Calls `tick` again after as many milliseconds as it says, until `signal` aborts. A failure that passes (no memory for
 * a moment, an interface that goes while it is looked at) is logged; one that stays ends the agent.
 */
function run(tick: () => number, signal: AbortSignal, failed: (error: unknown) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    let failures = 0
    const next = (): void => {
      let wait = RETRY_MS
      try {
        wait = tick()
        failures = 0
      } catch (error) {
        failed(error)
        if (++failures >= MAX_FAILURES) {
          reject(error)
          return
        }
      }
      timer = setTimeout(next, wait)
    }
    const stop = (): void => {
      clearTimeout(timer)
      resolve()
    }
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', stop, { once: true })
    next()
  })
}
