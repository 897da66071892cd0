// What to say when no interface is captured: a pattern that nothing matches, or a node on which there is nothing to see.

import type { InterfaceStatus } from './kernel/namespace.js'

const MAX_NAMES = 12

/**
 * One sentence for the log when none of `interfaces` is hooked, with what is there and why not; undefined when one is.
 * `globs` are those of --interface.
 */
export function describeUncovered(
  interfaces: readonly InterfaceStatus[],
  globs: readonly string[],
): string | undefined {
  if (interfaces.some(({ attach }) => attach !== undefined)) return undefined
  const told = interfaces
    .slice(0, MAX_NAMES)
    .map(({ name, reason, problem }) => `${name} (${problem ?? reason ?? 'not hooked yet'})`)
  if (interfaces.length > MAX_NAMES) told.push(`${interfaces.length - MAX_NAMES} more`)
  const asked = globs.length === 0 ? '' : ` that --interface ${globs.join(' --interface ')} asks for`
  return `no interface is captured yet: none is here${asked}; there are ${told.join(', ')}`
}
