// Processes and their control groups as the kernel named them: one object for each, shared by all sockets and flows that
// speak of it. Bounded; the oldest go first, and live on where a flow still holds them.

import { socket_owner as O } from '../kernel/socket-layout.gen.js'
import { cgroupKey } from '../kernel/socket-watch.js'
import type { ControlGroup, SocketOwner } from './flow-batch.js'
import { u64 } from './views.js'

const MAX_OWNERS = 8_192
const MAX_GROUPS = 4_096
const COMMAND_WORDS = 4

interface Group extends ControlGroup {
  paths: readonly string[]
}

interface Known {
  readonly owner: SocketOwner
  readonly start: number
  /** The command's bytes as words. */
  readonly command: Uint32Array
}

export class SocketOwners {
  readonly #known = new Map<number, Known>()
  readonly #groups = new Map<string, Group>()
  /** Of which nothing but the control group is known. */
  readonly #nameless = new Map<string, SocketOwner>()
  readonly #forgotten: (key: string) => void

  /** `forgotten` is called with the key of a control group that had to make room. */
  constructor(forgotten: (key: string) => void) {
    this.#forgotten = forgotten
  }

  /** Processes that are known now. */
  get size(): number {
    return this.#known.size
  }

  /** What a control group is called; it may have been spoken of before. */
  named(key: string, paths: readonly string[]): void {
    this.#group(key).paths = paths
  }

  /** The one object of the struct socket_owner at `words[at]`; undefined when it says nothing. */
  of(words: Uint32Array, at: number): SocketOwner | undefined {
    const pid = words[at + O.pid / 4]!
    if (pid === 0) return this.#groupOnly(words, at)
    const start = u64(words, at)
    const known = this.#known.get(pid)
    if (known !== undefined && known.start === start && sameWords(known.command, words, at + O.command / 4))
      return known.owner
    const command = words.slice(at + O.command / 4, at + O.command / 4 + COMMAND_WORDS)
    const bytes = Buffer.from(command.buffer)
    const end = bytes.indexOf(0)
    const group = hasGroup(words, at) ? this.#group(cgroupKey(words, at + O.cgroup / 4)) : undefined
    const owner = Object.freeze({ pid, command: bytes.toString('utf8', 0, end < 0 ? undefined : end), group })
    this.#known.delete(pid)
    keep(this.#known, pid, { owner, start, command }, MAX_OWNERS)
    return owner
  }

  #groupOnly(words: Uint32Array, at: number): SocketOwner | undefined {
    if (!hasGroup(words, at)) return undefined
    const key = cgroupKey(words, at + O.cgroup / 4)
    const group = this.#group(key)
    let owner = this.#nameless.get(key)
    if (owner === undefined || owner.group !== group) {
      owner = Object.freeze({ pid: 0, command: '', group })
      keep(this.#nameless, key, owner, MAX_GROUPS)
    }
    return owner
  }

  #group(key: string): Group {
    let group = this.#groups.get(key)
    if (group === undefined) {
      group = { paths: [] }
      const gone = keep(this.#groups, key, group, MAX_GROUPS)
      if (gone !== undefined) this.#forgotten(gone)
    }
    return group
  }
}

function hasGroup(words: Uint32Array, at: number): boolean {
  return (words[at + O.cgroup / 4]! | words[at + O.cgroup / 4 + 1]!) !== 0
}

function sameWords(command: Uint32Array, words: Uint32Array, at: number): boolean {
  for (let i = 0; i < COMMAND_WORDS; i++) if (command[i] !== words[at + i]) return false
  return true
}

/** Adds to a map of at most `limit` entries; gives the key of the oldest when that had to go. */
function keep<K, V>(map: Map<K, V>, key: K, value: V, limit: number): K | undefined {
  let gone: K | undefined
  if (map.size >= limit && !map.has(key)) {
    gone = map.keys().next().value
    if (gone !== undefined) map.delete(gone)
  }
  map.set(key, value)
  return gone
}
