// The layout of everything that crosses the kernel boundary, as plain values: which structures and enumerations
// bpf/flow.h names, and how a compiled object lays them out. Used by the generator and by the check at load.

import { type Btf, BtfKind } from '../btf.js'

export interface MemberLayout {
  /** Bytes from the structure's beginning. */
  readonly offset: number
  /** Bytes. */
  readonly size: number
}

export interface StructLayout {
  /** Bytes. */
  readonly size: number
  readonly members: Readonly<Record<string, MemberLayout>>
}

export interface LayoutDescription {
  readonly structs: Readonly<Record<string, StructLayout>>
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>
}

/** The layout of struct `name`, or undefined when the object does not know it. */
export function describeStruct(btf: Btf, name: string): StructLayout | undefined {
  const type = btf.struct(name)
  if (type === undefined) return undefined
  const members: Record<string, MemberLayout> = {}
  for (const member of type.members) {
    members[member.name] = { offset: member.offset, size: btf.size(member.type) }
  }
  return { size: type.size, members }
}

/** The values of enum `name`, or undefined when the object does not know it. */
export function describeEnum(btf: Btf, name: string): Record<string, number> | undefined {
  const type = btf.enumeration(name)
  if (type === undefined || type.kind !== BtfKind.ENUM) return undefined
  return Object.fromEntries(type.values.map((value) => [value.name, value.value]))
}
