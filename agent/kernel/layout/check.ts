// Compares a BPF object with agent/kernel/layout.gen.ts before it is loaded: a header changed without regeneration, or
// an object of another version, is a clear error and never wrong numbers.

import { VethflowError } from '../../errors.js'
import { readBtf } from '../btf.js'
import { type Elf, elfSection } from '../elf.js'
import { layout } from '../layout.gen.js'
import { describeEnum, describeStruct, type LayoutDescription } from './description.js'

/** Throws LAYOUT_MISMATCH, naming structure and member, unless the object lays everything out as `expected`. */
export function checkLayout(elf: Elf, expected: LayoutDescription = layout): void {
  const section = elfSection(elf, '.BTF')
  if (section === undefined) throw mismatch('it has no type information')
  const btf = readBtf(section)
  for (const [name, struct] of Object.entries(expected.structs)) {
    const actual = describeStruct(btf, name)
    if (actual === undefined) throw mismatch(`struct ${name} is missing`)
    for (const [member, { offset, size }] of Object.entries(struct.members)) {
      const there = actual.members[member]
      if (there === undefined) throw mismatch(`struct ${name} has no member ${member}`)
      if (there.offset !== offset)
        throw mismatch(`struct ${name} has ${member} at byte ${there.offset} instead of ${offset}`)
      if (there.size !== size)
        throw mismatch(`struct ${name} has ${member} with ${there.size} bytes instead of ${size}`)
    }
    for (const member of Object.keys(actual.members))
      if (struct.members[member] === undefined)
        throw mismatch(`struct ${name} has a member ${member} that is not known`)
    if (actual.size !== struct.size)
      throw mismatch(`struct ${name} has ${actual.size} bytes instead of ${struct.size}`)
  }
  for (const [name, values] of Object.entries(expected.enums)) {
    const actual = describeEnum(btf, name)
    if (actual === undefined) throw mismatch(`enum ${name} is missing`)
    for (const [value, number] of Object.entries(values))
      if (actual[value] !== number)
        throw mismatch(`enum ${name} has ${value} = ${actual[value] ?? 'nothing'} instead of ${number}`)
    for (const value of Object.keys(actual))
      if (values[value] === undefined) throw mismatch(`enum ${name} has a value ${value} that is not known`)
  }
}

/** LAYOUT_MISMATCH with what differs. */
export function mismatch(what: string): VethflowError {
  return new VethflowError(
    'LAYOUT_MISMATCH',
    `the BPF object does not have the layout this agent was built for: ${what}`,
    {
      hint: 'Use the object that came with this version, or run make bpf and build again',
    },
  )
}
