// Reads BTF, the type information of a compiled BPF object, far enough to say how big a type is and where the members of
// a structure lie. It knows nothing of vethflow's own types, and does not read the kernel's BTF (megabytes: libbpf does).
// Source: Documentation/bpf/btf.rst of the kernel.

import { VethflowError } from '../errors.js'
import { elfString } from './elf.js'

export interface BtfMember {
  readonly name: string
  readonly type: number
  /** Bytes from the structure's beginning; members that are bit fields are refused. */
  readonly offset: number
}

export interface BtfValue {
  readonly name: string
  readonly value: number
}

export interface BtfType {
  readonly id: number
  /** BTF_KIND_* */
  readonly kind: number
  readonly name: string
  /** `size` in bytes for INT, STRUCT, UNION, ENUM; else 0. */
  readonly size: number
  /** The type referred to by PTR, TYPEDEF, CONST, VOLATILE, RESTRICT, ARRAY (its element), VAR; else 0. */
  readonly type: number
  /** Elements of an ARRAY; else 0. */
  readonly count: number
  readonly members: readonly BtfMember[]
  readonly values: readonly BtfValue[]
}

export const BtfKind = {
  INT: 1,
  PTR: 2,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FWD: 7,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
  FUNC: 12,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  FLOAT: 16,
  DECL_TAG: 17,
  TYPE_TAG: 18,
  ENUM64: 19,
} as const

const MAGIC = 0xeb9f
/** Chains of typedefs and arrays longer than this are taken for a loop. */
const MAX_DEPTH = 32

/** The types of one BTF section. Type ids are indexes; 0 is void. */
export class Btf {
  readonly types: readonly BtfType[]

  constructor(types: readonly BtfType[]) {
    this.types = types
  }

  /** The STRUCT called `name`, or undefined. */
  struct(name: string): BtfType | undefined {
    return this.types.find((type) => type.kind === BtfKind.STRUCT && type.name === name)
  }

  /** The ENUM called `name`, or undefined. */
  enumeration(name: string): BtfType | undefined {
    return this.types.find((type) => type.kind === BtfKind.ENUM && type.name === name)
  }

  /** The type behind typedefs and qualifiers. */
  resolve(id: number): BtfType {
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const type = this.types[id]
      if (type === undefined) throw invalid(`type ${id} is missing`)
      switch (type.kind) {
        case BtfKind.TYPEDEF:
        case BtfKind.VOLATILE:
        case BtfKind.CONST:
        case BtfKind.RESTRICT:
        case BtfKind.TYPE_TAG:
        case BtfKind.VAR:
          id = type.type
          break
        default:
          return type
      }
    }
    throw invalid('its types refer to each other in a circle')
  }

  /** Size of a type in bytes. */
  size(id: number): number {
    let factor = 1
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const type = this.resolve(id)
      switch (type.kind) {
        case BtfKind.ARRAY:
          factor *= type.count
          id = type.type
          break
        case BtfKind.PTR:
          return 8 * factor
        default:
          return type.size * factor
      }
    }
    throw invalid('its types refer to each other in a circle')
  }
}

/** Reads a `.BTF` section. Throws BTF_INVALID when it is none. */
export function readBtf(section: Uint8Array): Btf {
  try {
    return parse(section)
  } catch (error) {
    if (error instanceof RangeError) throw invalid('it is cut short')
    throw error
  }
}

function parse(section: Uint8Array): Btf {
  const data = new DataView(section.buffer, section.byteOffset, section.byteLength)
  if (data.getUint16(0, true) !== MAGIC) throw invalid('its magic number is wrong')
  const header = data.getUint32(4, true)
  const typesAt = header + data.getUint32(8, true)
  const typesEnd = typesAt + data.getUint32(12, true)
  const stringsAt = header + data.getUint32(16, true)
  const stringsEnd = stringsAt + data.getUint32(20, true)
  if (typesEnd > section.byteLength || stringsEnd > section.byteLength) throw new RangeError()
  const strings = section.subarray(stringsAt, stringsEnd)

  const types: BtfType[] = [empty(0, 0, 'void')]
  let at = typesAt
  while (at < typesEnd) {
    const name = elfString(strings, data.getUint32(at, true))
    const info = data.getUint32(at + 4, true)
    const word = data.getUint32(at + 8, true)
    const vlen = info & 0xffff
    const kind = (info >>> 24) & 0x1f
    const flag = info >>> 31 === 1
    const base = empty(types.length, kind, name)
    at += 12
    switch (kind) {
      case BtfKind.INT:
        types.push({ ...base, size: word })
        at += 4
        break
      case BtfKind.PTR:
      case BtfKind.TYPEDEF:
      case BtfKind.VOLATILE:
      case BtfKind.CONST:
      case BtfKind.RESTRICT:
      case BtfKind.FUNC:
      case BtfKind.FWD:
      case BtfKind.TYPE_TAG:
        types.push({ ...base, type: kind === BtfKind.FWD ? 0 : word })
        break
      case BtfKind.ARRAY:
        types.push({ ...base, type: data.getUint32(at, true), count: data.getUint32(at + 8, true) })
        at += 12
        break
      case BtfKind.STRUCT:
      case BtfKind.UNION: {
        const members: BtfMember[] = []
        for (let i = 0; i < vlen; i++, at += 12) {
          const bits = data.getUint32(at + 8, true)
          members.push({
            name: elfString(strings, data.getUint32(at, true)),
            type: data.getUint32(at + 4, true),
            // With the flag set the upper eight bits are the width of a bit field.
            offset: flag ? (bits & 0xffffff) / 8 : bits / 8,
          })
        }
        types.push({ ...base, size: word, members })
        break
      }
      case BtfKind.ENUM: {
        const values: BtfValue[] = []
        for (let i = 0; i < vlen; i++, at += 8) {
          values.push({
            name: elfString(strings, data.getUint32(at, true)),
            value: flag ? data.getInt32(at + 4, true) : data.getUint32(at + 4, true),
          })
        }
        types.push({ ...base, size: word, values })
        break
      }
      case BtfKind.ENUM64:
        types.push({ ...base, size: word })
        at += 12 * vlen
        break
      case BtfKind.FUNC_PROTO:
        types.push(base)
        at += 8 * vlen
        break
      case BtfKind.VAR:
        types.push({ ...base, type: word })
        at += 4
        break
      case BtfKind.DATASEC:
        types.push({ ...base, size: word })
        at += 12 * vlen
        break
      case BtfKind.FLOAT:
        types.push({ ...base, size: word })
        break
      case BtfKind.DECL_TAG:
        types.push({ ...base, type: word })
        at += 4
        break
      default:
        throw invalid(`it holds types of the unknown kind ${kind}`)
    }
  }
  if (at !== typesEnd) throw new RangeError()
  return new Btf(types)
}

function empty(id: number, kind: number, name: string): BtfType {
  return { id, kind, name, size: 0, type: 0, count: 0, members: [], values: [] }
}

function invalid(why: string): VethflowError {
  return new VethflowError('BTF_INVALID', `the BPF object's type information cannot be read: ${why}`, {
    hint: 'Install vethflow again, or rebuild it with make bpf',
  })
}
