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

/** A list of interface names, reached by the entries of a row in their order; equal rows get the same list. */
interface NameList {
  readonly names: readonly string[]
  readonly next: Map<Entry, NameList>
}

const MAX_ENTRIES = 8192
const MAX_LISTS = 65_536
const HOOK_EGRESS = 1

/** Field 24 of Flow for hooks. Kept per hook and made anew when the hook's interface has another name. */
export class HookBytes {
  readonly #hookInterface: HookInterface
  readonly #entries = new Map<number, Entry>()
  readonly #row: Entry[] = []
  #lists: NameList = { names: [], next: new Map() }
  #listCount = 0

  constructor(hookInterface: HookInterface) {
    this.#hookInterface = hookInterface
  }

  /** Looks up the hooks of a row and returns how many bytes they take; `write` writes those of the last row asked. */
  row(flows: FlowBatch, row: number): number {
    const count = Math.min(flows.observationCount[row]!, MAX_OBSERVATIONS)
    this.#row.length = count
    let length = 0
    for (let i = 0; i < count; i++) {
      const entry = this.#entry(flows.observations[row * MAX_OBSERVATIONS + i]!)
      this.#row[i] = entry
      length += entry.bytes.length
    }
    return length
  }

  write(writer: ByteWriter): void {
    for (const entry of this.#row) writer.copy(entry.bytes)
  }

  /** Names of the interfaces of the last row asked; the same array for equal rows. */
  get names(): readonly string[] {
    let list = this.#lists
    for (const entry of this.#row) {
      let next = list.next.get(entry)
      if (next === undefined) {
        if (++this.#listCount > MAX_LISTS) return [...new Set(this.#row.map(({ name }) => name))]
        const names =
          entry.name === '' || list.names.includes(entry.name) ? list.names : [...list.names, entry.name]
        next = { names, next: new Map() }
        list.next.set(entry, next)
      }
      list = next
    }
    return list.names
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
    if (this.#listCount > MAX_LISTS) {
      this.#lists = { names: [], next: new Map() }
      this.#listCount = 0
    }
    const fresh = { name, direction, bytes: writer.take() }
    this.#entries.set(hook, fresh)
    return fresh
  }
}

/** The direction that the hook number itself says (bpf/flow.h). */
export function hookDirection(hook: number): number {
  return (hook & HOOK_EGRESS) !== 0
    ? HookDirection.HOOK_DIRECTION_EGRESS
    : HookDirection.HOOK_DIRECTION_INGRESS
}
