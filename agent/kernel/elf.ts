// Reads sections and symbols of a 64-bit little-endian ELF object: as much of ELF as a compiled BPF object uses. It
// trusts no offset in the file; it relocates nothing and loads nothing.
// Source: Tool Interface Standard ELF 1.2 and the 64-bit object file format.

import { VethflowError } from '../errors.js'

/** One section: its name and a view (no copy) of its bytes; empty for sections that occupy no space in the file. */
export interface ElfSection {
  readonly name: string
  readonly bytes: Uint8Array
}

/** One symbol: `section` is the index into the sections, `value` its offset there, `size` in bytes. */
export interface ElfSymbol {
  readonly name: string
  readonly section: number
  readonly value: number
  readonly size: number
}

export interface Elf {
  readonly sections: readonly ElfSection[]
  readonly symbols: readonly ElfSymbol[]
}

const HEADER_SIZE = 64
const SECTION_HEADER_SIZE = 64
const SYMBOL_SIZE = 24
const EM_BPF = 247
const SHT_SYMTAB = 2
const SHT_NOBITS = 8

/** Reads `bytes` as a BPF object file. Throws OBJECT_INVALID when it is none, or is cut short. */
export function readElf(bytes: Uint8Array): Elf {
  try {
    return parse(bytes)
  } catch (error) {
    if (error instanceof RangeError) throw invalid('it is cut short')
    throw error
  }
}

/** The bytes of the section called `name`, or undefined. */
export function elfSection(elf: Elf, name: string): Uint8Array | undefined {
  return elf.sections.find((section) => section.name === name)?.bytes
}

function parse(bytes: Uint8Array): Elf {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (data.getUint32(0) !== 0x7f454c46) throw invalid('it is no ELF file')
  if (data.getUint8(4) !== 2 || data.getUint8(5) !== 1) throw invalid('it is not 64-bit little-endian')
  if (data.getUint16(18, true) !== EM_BPF) throw invalid('it is not for the BPF machine')
  const tableOffset = word64(data, 40)
  const entrySize = data.getUint16(58, true)
  const count = data.getUint16(60, true)
  const namesIndex = data.getUint16(62, true)
  if (entrySize !== SECTION_HEADER_SIZE || tableOffset < HEADER_SIZE)
    throw invalid('its section table is odd')

  const headers = []
  for (let i = 0; i < count; i++) {
    const at = tableOffset + i * SECTION_HEADER_SIZE
    const type = data.getUint32(at + 4, true)
    const offset = word64(data, at + 24)
    const size = type === SHT_NOBITS ? 0 : word64(data, at + 32)
    if (offset + size > bytes.byteLength) throw new RangeError('section beyond the end')
    headers.push({
      type,
      nameOffset: data.getUint32(at, true),
      link: data.getUint32(at + 40, true),
      bytes: bytes.subarray(offset, offset + size),
    })
  }
  const names = headers[namesIndex]?.bytes ?? new Uint8Array()
  const sections = headers.map((header) => ({
    name: elfString(names, header.nameOffset),
    bytes: header.bytes,
  }))

  const symbols: ElfSymbol[] = []
  for (const header of headers) {
    if (header.type !== SHT_SYMTAB) continue
    const strings = headers[header.link]?.bytes ?? new Uint8Array()
    const table = new DataView(header.bytes.buffer, header.bytes.byteOffset, header.bytes.byteLength)
    for (let at = 0; at + SYMBOL_SIZE <= table.byteLength; at += SYMBOL_SIZE) {
      symbols.push({
        name: elfString(strings, table.getUint32(at, true)),
        section: table.getUint16(at + 6, true),
        value: word64(table, at + 8),
        size: word64(table, at + 16),
      })
    }
  }
  return { sections, symbols }
}

/** The zero-terminated string at `offset` of a string table; '' beyond its end. */
export function elfString(table: Uint8Array, offset: number): string {
  if (offset >= table.byteLength) return ''
  const end = table.indexOf(0, offset)
  return Buffer.from(
    table.buffer,
    table.byteOffset + offset,
    (end < 0 ? table.byteLength : end) - offset,
  ).toString('utf8')
}

function word64(data: DataView, offset: number): number {
  return data.getUint32(offset, true) + data.getUint32(offset + 4, true) * 2 ** 32
}

function invalid(why: string): VethflowError {
  return new VethflowError('OBJECT_INVALID', `the BPF object file cannot be read: ${why}`, {
    hint: 'Install vethflow again, or rebuild it with make bpf',
  })
}
