// The JSON form of Status: for `status` frames and for /v1/status. Counters, lists and booleans are always there; texts
// that are empty are absent. Runs in browsers.

import { lostToJson } from './json.js'
import type { StatusJson } from './json-types.js'
import { known } from './known.js'
import type { StatusMessage } from './messages.js'
import { formatTime } from './time.js'

/** The JSON form of one agent's state. */
export function statusToJson(message: StatusMessage): StatusJson {
  return known<StatusJson>({
    nodeName: message.nodeName || undefined,
    agentId: message.agentId || undefined,
    version: message.version || undefined,
    capturing: message.capturing ?? false,
    connected: message.connected ?? false,
    problem: message.problem || undefined,
    interfaces: (message.interfaces ?? []).map((entry) =>
      known({
        name: entry.name || undefined,
        index: entry.index || undefined,
        attach: entry.attach || undefined,
        role: entry.role || undefined,
        problem: entry.problem || undefined,
      }),
    ),
    features: (message.features ?? []).map((feature) =>
      known({
        name: feature.name || undefined,
        enabled: feature.enabled ?? false,
        reason: feature.reason || undefined,
      }),
    ),
    lost: (message.lost ?? []).map(lostToJson),
    flowsPerSecond: message.flowsPerSecond ?? 0,
    connections: message.connections ?? 0,
    maxConnections: message.maxConnections ?? 0,
    identitySource: message.identitySource || undefined,
    resources: (message.resources ?? []).map((resource) =>
      known({
        name: resource.name || undefined,
        synced: resource.synced ?? false,
        objects: resource.objects ?? 0,
        ageMs: resource.ageMs ?? 0,
        restarts: resource.restarts ?? 0,
        lastError: resource.lastError || undefined,
      }),
    ),
    uncoveredPods: (message.uncoveredPods ?? []).map((pod) =>
      known({
        namespace: pod.namespace || undefined,
        pod: pod.pod || undefined,
        reason: pod.reason || undefined,
      }),
    ),
    clients: message.clients ?? 0,
    uptimeMs: message.uptimeMs ?? 0,
    historyBytes: message.historyBytes ?? 0,
    time: message.timeUs ? formatTime(message.timeUs) : undefined,
  })
}
