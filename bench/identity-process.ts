// Identity alone, in a process that has imported all that the agent imports: what it takes, measured from outside
// (memory, CPU) and inside (time to be synced, the longest block of the event loop). Speaks lines of JSON on stdout.
//
//   node identity-process.js none
//   node identity-process.js MODE KUBECONFIG NODE
//
// SIGUSR2 prints the longest block since the last one.

import '../agent/main.js'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { openIdentity } from '../agent/identity/open.js'

const [mode = 'none', kubeconfig, nodeName = 'node-0'] = process.argv.slice(2)
const say = (what: object) => process.stdout.write(`${JSON.stringify(what)}\n`)
const RESOLUTION_MS = 2

const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()
const blockMs = () => {
  const most = delay.max / 1e6 - RESOLUTION_MS
  delay.reset()
  return Math.max(0, most)
}

const began = performance.now()
const identity = await openIdentity({
  nodeName,
  kubernetes: mode !== 'none',
  ...(mode === 'full' || mode === 'local' ? { mode } : {}),
  ...(mode === 'none' || kubeconfig === undefined ? {} : { kubeconfig }),
  log: { info: (message) => say({ info: message }), warn: (message) => say({ warn: message }) },
})
const look = setInterval(() => {
  if (!identity.synced) return
  clearInterval(look)
  say({ synced: performance.now() - began, blockMs: blockMs(), resources: identity.resources() })
}, 5)
process.on('SIGUSR2', () => say({ blockMs: blockMs(), resources: identity.resources() }))
// Without a cluster there is nothing else to wait for.
setInterval(() => undefined, 60_000)
process.on('SIGTERM', () => {
  void identity.close().then(() => process.exit(0))
})
