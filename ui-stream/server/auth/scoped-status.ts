// The state of things for those who may see some namespaces only: whether it works, and nothing of nodes, interfaces,
// rates, losses or other clients, which would tell of what others do.

import type { StatusMessage } from '../../protocol/messages.js'

/** One state for all agents. */
export function scopedStatus(states: readonly StatusMessage[]): StatusMessage {
  const connected = states.every((state) => state.connected)
  const capturing = states.every((state) => state.capturing)
  const version = states.find((state) => state.version)?.version
  return {
    ...(version && { version }),
    connected,
    capturing,
    ...(!connected
      ? { problem: 'some nodes are missing' }
      : !capturing && { problem: 'some nodes capture nothing' }),
    timeUs: Date.now() * 1000,
  }
}
