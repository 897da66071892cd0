// Wires the line, top to bottom: kernel -> capture -> identity -> stream. What each stage does stands in its own folder;
// here is only who hands what to whom, the clock that drives them, and the order in which they end.

import './young-generation.js'
import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { type LostMessage, Stage, Unit } from '../ui-stream/protocol/messages.js'
import { openSecurity } from '../ui-stream/server/auth/open-security.js'
import { StreamServer } from '../ui-stream/server/server.js'
import { addressText } from './address-text.js'
import { Capture } from './capture/capture.js'
import { Sockets } from './capture/sockets.js'
import type { AgentConfig } from './config.js'
import { describeError, ExitCode, VethflowError } from './errors.js'
import { formatListen } from './flag-values.js'
import { parseAddress } from './identity/address.js'
import { openIdentity } from './identity/open.js'
import { OwnConnections } from './identity/own.js'
import { keepHeapSmall } from './kernel/c-heap.js'
import { bootUs, wallUs } from './kernel/clock.js'
import { Datapath } from './kernel/datapath.js'
import { HookDirectory } from './kernel/hook-directory.js'
import type { InterfaceChange } from './kernel/interfaces.js'
import { RouteLookup } from './kernel/routes.js'
import { LossTotals } from './loss-totals.js'
import { registerAgentMetrics } from './metrics.js'
import { agentStatus } from './status.js'
import { Told } from './told.js'
import { describeUncovered } from './uncovered.js'
import { UncoveredPods } from './uncovered-pods.js'
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
    loopback: config.loopback,
    // who asks for an interface by name may mean the loopback's
    loopbackSockets: config.loopback || config.interfaces.length > 0,
    aside: true,
  })
  ends.push(() => datapath.close())
  const hooks = new HookDirectory()
  const losses = new LossTotals(config.nodeName)
  const routes = RouteLookup.open()
  ends.push(() => routes.close())
  const uncoveredPods = new UncoveredPods((address) => routes.interfaceTo(address))

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
        uncovered: uncoveredPods.list(
          () => identity.podsHere(),
          () => datapath.status().interfaces,
        ),
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
  const told = new Told()
  registerAgentMetrics(server.registry, datapath, () => capture.state(), told)
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
      told.add(batch)
      own.mark(batch)
      server.publish(identity.name(batch))
    },
    onLost: ({ stage, unit, count, sinceUs, untilUs }) =>
      tellLost({ stage: Stage[`STAGE_${stage}`], unit: Unit[`UNIT_${unit}`], count, sinceUs, untilUs }),
  })
  const tellLost = (lost: LostMessage): void => {
    losses.add(lost)
    server.publishLost([{ nodeName: config.nodeName, ...lost }])
  }
  let missed = { packets: 0, untilUs: wallUs() }
  const tellMissed = (): void => {
    const packets = datapath.missedPackets()
    const untilUs = wallUs()
    if (packets > missed.packets)
      tellLost({
        stage: Stage.STAGE_UNATTACHED,
        unit: Unit.UNIT_PACKETS,
        count: packets - missed.packets,
        sinceUs: missed.untilUs,
        untilUs,
      })
    missed = { packets, untilUs }
  }

  const addressesChanged = (): void => {
    const addresses = datapath
      .interfaces()
      .flatMap((device) => device.addresses.map(({ address }) => addressText(address)))
    identity.setLocalAddresses(addresses)
    own.setLocalAddresses(addresses)
    sockets?.setLocalAddresses(addresses.map(parseAddress).filter((words) => words !== undefined))
  }
  const interfacesChanged = (changes: readonly InterfaceChange[]): void => {
    hooks.update(datapath.changed(changes))
    if (changes.some(({ kind }) => kind !== 'attached' && kind !== 'renamed')) addressesChanged()
  }
  const loopbacksChanged = (changes: ReturnType<Datapath['pollLoopbacks']>): void => {
    hooks.update(datapath.status().interfaces)
    for (const { number, inode, addresses } of changes) {
      sockets?.setNamespace(number, addresses === undefined ? undefined : inode)
      // the last records of one that has gone are still to be named
      if (addresses !== undefined)
        identity.setNamespace(
          number,
          addresses.map(({ address }) => addressText(address)),
        )
    }
  }
  datapath.follow({ include: config.interfaces, exclude: config.excludeInterfaces })
  hooks.update(datapath.status().interfaces)
  addressesChanged()

  let capturing = false
  let drained = performance.now()
  let records = 0
  const tick = (): number => {
    const changes = datapath.poll()
    if (changes.length > 0) interfacesChanged(changes)
    const loopbacks = datapath.pollLoopbacks()
    if (loopbacks.length > 0) loopbacksChanged(loopbacks)
    if (!capturing && datapath.pending === 0) {
      capturing = true
      const { interfaces } = datapath.status()
      log.info({ interfaces: interfaces.length, listen: server.address }, 'capturing')
      const none = describeUncovered(interfaces, config.interfaces)
      if (none !== undefined) log.warn(none)
    }
    const more = capture.poll()
    const every = capture.drainEveryMs
    if (performance.now() - drained >= every) {
      drained += every * Math.max(1, Math.floor((performance.now() - drained) / every))
      datapath.checkHeads()
      capture.drain()
      tellMissed()
    }
    const busy = capture.state().ringRecords !== records
    records = capture.state().ringRecords
    if (more) return 0
    return busy || datapath.pending > 0 ? BUSY_MS : QUIET_MS
  }
  await run(tick, signal, (error) => log.error(describeError(error)))

  capture.stop()
  log.info('stopped')
  return 0
}

/**
 * Calls `tick` again after as many milliseconds as it says, until `signal` aborts. A failure that passes (no memory for
 * a moment, an interface that goes while it is looked at) is logged; one that stays, or a permission that lacks, ends the
 * agent.
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
        const forbidden = error instanceof VethflowError && error.exitCode === ExitCode.NO_PERMISSION
        if (++failures >= MAX_FAILURES || forbidden) {
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
