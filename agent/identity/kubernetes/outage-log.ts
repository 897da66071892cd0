// A server that is away is one trouble, however many resources meet it: said once.

import type { IdentityLog } from '../source.js'

/** How long the same trouble of another resource is part of one outage, in ms. */
const OUTAGE_MS = 30_000

/** A log that says once what all resources have to say about a server that is away. */
export function oncePerOutage(log: IdentityLog): IdentityLog {
  const said = new Map<string, number>()
  let well = true
  const say = (message: string, isWell: boolean, print: (message: string) => void) => {
    if (isWell !== well) said.clear()
    well = isWell
    const text = message.slice(message.indexOf(': ') + 2)
    const now = performance.now()
    for (const [old, at] of said) if (now - at > OUTAGE_MS) said.delete(old)
    if (!said.has(text)) print(message)
    said.set(text, now)
  }
  return {
    info: (message) => say(message, true, (text) => log.info(text)),
    warn: (message) => say(message, false, (text) => log.warn(text)),
  }
}
