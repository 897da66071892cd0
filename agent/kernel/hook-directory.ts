// Remembers what each hook number stands for: name, role and since when, also for a while after the interface has gone,
// since records about it are still made then. Bounded; the oldest are forgotten first.

import { bootUs } from './clock.js'
import { hookNumber } from './hook.js'
import type { InterfaceStatus } from './namespace.js'
import type { Role } from './roles.js'

export interface HookEntry {
  readonly name: string
  readonly kind: string
  readonly role: Role
  readonly egress: boolean
  /** Boot clock, microseconds. */
  readonly attachedAt: number
}

const MAX_HOOKS = 16_384

export class HookDirectory {
  readonly #entries = new Map<number, HookEntry>()

  /** Takes over what is attached now. Call it whenever interfaces changed. */
  update(interfaces: readonly InterfaceStatus[]): void {
    const now = bootUs()
    for (const { netns, ifindex, name, kind, role, attach } of interfaces) {
      if (role === undefined || attach === undefined) continue
      for (const egress of [false, true]) {
        const hook = hookNumber(ifindex, egress, netns)
        const known = this.#entries.get(hook)
        if (known !== undefined && known.name === name && known.role === role) continue
        this.#entries.delete(hook)
        this.#entries.set(hook, {
          name,
          kind,
          role,
          egress,
          attachedAt: known?.name === name ? known.attachedAt : now,
        })
      }
    }
    for (const hook of this.#entries.keys()) {
      if (this.#entries.size <= MAX_HOOKS) break
      this.#entries.delete(hook)
    }
  }

  get(hook: number): HookEntry | undefined {
    return this.#entries.get(hook)
  }

  /** Boot time in microseconds, 0 when nothing is known of the hook. */
  attachedAt(hook: number): number {
    return this.#entries.get(hook)?.attachedAt ?? 0
  }

  /** True for the host's end of a pod's veth or netkit. */
  isPodHook(hook: number): boolean {
    const entry = this.#entries.get(hook)
    return entry !== undefined && entry.role === 'veth' && (entry.kind === 'veth' || entry.kind === 'netkit')
  }
}
