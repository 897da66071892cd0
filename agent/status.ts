// The agent's state as the stream tells it: what kernel, capture and identity say of themselves, in one message.

import type { StatusMessage } from '../ui-stream/protocol/messages.js'
import type { CaptureState } from './capture/capture.js'
import type { Identity } from './identity/names.js'
import type { DatapathStatus } from './kernel/datapath.js'
import type { UncoveredPod } from './uncovered-pods.js'

export interface StatusInput {
  readonly nodeName: string
  readonly agentId: string
  readonly version: string
  readonly startedMs: number
  readonly maxConnections: number
  readonly datapath: DatapathStatus
  readonly capture: CaptureState
  readonly identity: Identity
  readonly lost: NonNullable<StatusMessage['lost']>
  readonly recordsPerSecond: number
  readonly uncovered: readonly UncoveredPod[]
}

/** The message for /v1/status and the stream's status frames. */
export function agentStatus(input: StatusInput): StatusMessage {
  const { datapath, capture, identity } = input
  const attached = datapath.interfaces.some((device) => device.attach !== undefined)
  return {
    nodeName: input.nodeName,
    agentId: input.agentId,
    version: input.version,
    capturing: attached,
    connected: true,
    ...(attached ? {} : { problem: 'no interface is captured; see the reasons beside each of them' }),
    interfaces: datapath.interfaces.map(({ name, ifindex, attach, role, reason, problem }) => ({
      name,
      index: ifindex,
      attach: attach ?? '',
      role: role ?? '',
      problem: problem ?? (role === undefined ? (reason ?? '') : ''),
    })),
    features: datapath.features.map(({ name, enabled, reason }) => ({ name, enabled, reason: reason ?? '' })),
    lost: input.lost,
    flowsPerSecond: input.recordsPerSecond,
    connections: capture.connections,
    maxConnections: input.maxConnections,
    identitySource: identity.source,
    uncoveredPods: input.uncovered.map((pod) => ({ ...pod })),
    resources: identity.resources().map(({ name, synced, objects, ageMs, restarts, lastError }) => ({
      name,
      synced,
      objects,
      ageMs,
      restarts,
      lastError: lastError ?? '',
    })),
    uptimeMs: Date.now() - input.startedMs,
    timeUs: Date.now() * 1000,
  }
}
