// Hook numbers as Observation fields of a flow, with the interface's name as of when the record is encoded.

import { type FlowBatch, MAX_OBSERVATIONS } from '../../agent/capture/flow-batch.js'
import { HookDirection } from '../protocol/messages.js'
import { ByteWriter } from './byte-writer.js'

/** The interface and direction (proto HookDirection) of a hook; undefined when nobody knows it any more. */
export type HookInterface = (
  hook: number,
) => { readonly interface: string; readonly direction: number } | undefined

interface Entry {
  readonly name: string
  readonly direction: number
  readonly bytes: Uint8Array
}

/** What the rows with the same hooks have in common, reached hook by hook in their order. */
interface HookList {
  /** Fields of all its hooks, back to back. */
  bytes: Uint8Array
  names: readonly string[]
  /** The round in which `bytes` and `names` were last found to be true. */
  round: number
  readonly next: Map<number, HookList>
}

const MAX_ENTRIES = 8192
const MAX_LISTS = 65_536
const HOOK_EGRESS = 1

/**
 * Field 24 of Flow for hooks. Kept per hook and per list of hooks, and made anew when an interface has another name,
 * which is looked at once a round.
 */
export class HookBytes {
  readonly #hookInterface: HookInterface
  readonly #entries = new Map<number, Entry>()
  #root: HookList = { bytes: new Uint8Array(0), names: [], round: 0, next: new Map() }
  #listCount = 0
  #row = this.#root
  #round = 0

  constructor(hookInterface: HookInterface) {
    this.#hookInterface = hookInterface
  }

  /** Begins a round: interfaces keep their names until the next. */
  begin(): void {
    this.#round++
    if (this.#listCount < MAX_LISTS) return
    this.#root = { bytes: new Uint8Array(0), names: [], round: 0, next: new Map() }
    this.#listCount = 0
  }

  /** Looks up the hooks of a row and returns how many bytes they take; `write` writes those of the last row asked. */
  row(flows: FlowBatch, row: number): number {
    const count = Math.min(flows.observationCount[row]!, MAX_OBSERVATIONS)
    const { observations } = flows
    let list = this.#root
    for (let i = row * MAX_OBSERVATIONS; i < row * MAX_OBSERVATIONS + count; i++) {
      const hook = observations[i]!
      const next = list.next.get(hook)
      list = next !== undefined && next.round === this.#round ? next : this.#extend(list, hook, next)
    }
    this.#row = list
    return list.bytes.length
  }

  write(writer: ByteWriter): void {
    writer.copy(this.#row.bytes)
  }

  /** Names of the interfaces of the last row asked; the same array for rows with the same hooks and names. */
  get names(): readonly string[] {
    return this.#row.names
  }

  /** Fields of the last row asked; the same object for rows with the same hooks and names. */
  get bytes(): Uint8Array {
    return this.#row.bytes
  }

  /** `list` and one hook more; `known` is what that was in an earlier round. */
  #extend(list: HookList, hook: number, known: HookList | undefined): HookList {
    const { name, bytes: own } = this.#entry(hook)
    const bytes = new Uint8Array(list.bytes.length + own.length)
    bytes.set(list.bytes)
    bytes.set(own, list.bytes.length)
    const names = name === '' || list.names.includes(name) ? list.names : [...list.names, name]
    if (known !== undefined) {
      if (!sameNames(known.names, names)) known.names = names
      if (!sameBytes(known.bytes, bytes)) known.bytes = bytes
      known.round = this.#round
      return known
    }
    const made = { bytes, names, round: this.#round, next: new Map<number, HookList>() }
    // Beyond the bound a list is this row's alone.
    if (this.#listCount < MAX_LISTS) {
      list.next.set(hook, made)
      this.#listCount++
    }
    return made
  }

  #entry(hook: number): Entry {
    const found = this.#hookInterface(hook)
    const name = found?.interface ?? ''
    const direction = found?.direction ?? hookDirection(hook)
    const entry = this.#entries.get(hook)
    if (entry !== undefined && entry.name === name && entry.direction === direction) return entry
    const body = new ByteWriter(64)
    body.text(0x0a, name)
    body.reserve(2)
    body.field(0x10, direction)
    const writer = new ByteWriter(body.position + 8)
    writer.byte(0xc2)
    writer.byte(1)
    writer.varint(body.position)
    writer.copy(body.bytes.subarray(0, body.position))
    if (this.#entries.size >= MAX_ENTRIES) this.#entries.clear()
    const fresh = { name, direction, bytes: writer.take() }
    this.#entries.set(hook, fresh)
    return fresh
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i])
}

/** The direction that the hook number itself says (bpf/flow.h). */
export function hookDirection(hook: number): number {
  return (hook & HOOK_EGRESS) !== 0
    ? HookDirection.HOOK_DIRECTION_EGRESS
    : HookDirection.HOOK_DIRECTION_INGRESS
}
