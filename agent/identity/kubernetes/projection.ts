// Takes out of JSON bytes the few fields that somebody wants, and steps over the rest without making anything of it.
//
// Nine tenths of a Kubernetes object are of no use here (managed fields, containers, conditions). JSON.parse makes
// objects and strings of all of it, and the collector then takes them away again: that was most of the time and of the
// memory that a large cluster took. What is stepped over is checked as far as its quotes and brackets go, so that text
// which breaks off is always noticed; what is taken is checked like JSON.

import { VethflowError } from '../../errors.js'
import type { Fields } from '../object.js'

/**
 * What to take: `true` for a value as a whole, an object for some members of an object, an array with one shape for each
 * element of a list. A value of another form than the shape says (a list where members were wanted) is left out.
 */
export type Shape = true | readonly [Shape] | { readonly [key: string]: Shape }

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_LIST = 0x5b
const CLOSE_LIST = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
/** Sets the bit in which [ and {, and ] and }, differ. */
const EITHER = 0x20

interface Member {
  readonly name: string
  readonly key: Uint8Array
  readonly node: Node
}

interface Node {
  /** Take the value as it is. */
  readonly whole: boolean
  readonly element: Node | undefined
  /** By the length of their keys; undefined where this is no object. */
  readonly members: readonly (readonly Member[] | undefined)[] | undefined
}

/** Objects taken as a whole that are remembered, and the longest of them. */
const MOST_REMEMBERED = 512
const LONGEST_REMEMBERED = 1024

/** A shape made ready; make it once and use it for every object of a kind. */
export class Projection {
  readonly #root: Node
  #bytes: Buffer = Buffer.alloc(0)
  #at = 0
  #end = 0
  /** Objects taken as a whole by their text: labels above all, which the pods of one workload have in common. */
  #remembered = new Map<string, unknown>()

  constructor(shape: Shape) {
    this.#root = compile(shape)
  }

  /**
   * What the shape wants of the one JSON value that `bytes` hold; undefined when that is of another form. Nothing of the
   * result refers to `bytes`. Results may share objects: they are for reading only.
   *
   * @throws VethflowError KUBERNETES_ANSWER when it is not JSON, as far as it was looked at.
   */
  read(bytes: Buffer): unknown {
    this.#bytes = bytes
    this.#at = 0
    this.#end = bytes.length
    const value = this.#value(this.#root)
    if (this.#space() !== -1) throw malformed('more than one value')
    this.#bytes = EMPTY
    return value
  }

  #value(node: Node): unknown {
    const first = this.#space()
    if (node.members !== undefined && first === OPEN_OBJECT) return this.#object(node.members)
    if (node.element !== undefined && first === OPEN_LIST) return this.#list(node.element)
    if (!node.whole) {
      this.#skip(first)
      return undefined
    }
    const start = this.#at
    this.#skip(first)
    return this.#text(start, this.#at, first)
  }

  #object(members: NonNullable<Node['members']>): Fields {
    const result: Record<string, unknown> = {}
    this.#at++
    if (this.#space() === CLOSE_OBJECT) {
      this.#at++
      return result
    }
    for (;;) {
      if (this.#space() !== QUOTE) throw malformed('a member without a name')
      const start = this.#at + 1
      this.#at = this.#afterString(start)
      const end = this.#at - 1
      if (this.#space() !== COLON) throw malformed('a name without a value')
      this.#at++
      const member = this.#find(members[end - start], start)
      if (member === undefined) this.#skip(this.#space())
      else result[member.name] = this.#value(member.node)
      const next = this.#space()
      this.#at++
      if (next === CLOSE_OBJECT) return result
      if (next !== COMMA) throw malformed('no comma between members')
    }
  }

  #list(element: Node): unknown[] {
    const result: unknown[] = []
    this.#at++
    if (this.#space() === CLOSE_LIST) {
      this.#at++
      return result
    }
    for (;;) {
      result.push(this.#value(element))
      const next = this.#space()
      this.#at++
      if (next === CLOSE_LIST) return result
      if (next !== COMMA) throw malformed('no comma between elements')
    }
  }

  #find(candidates: readonly Member[] | undefined, start: number): Member | undefined {
    if (candidates === undefined) return undefined
    const bytes = this.#bytes
    search: for (const member of candidates) {
      const { key } = member
      for (let i = 0; i < key.length; i++) if (bytes[start + i] !== key[i]) continue search
      return member
    }
    return undefined
  }

  /** Steps over white space; the byte that follows, or -1 at the end. */
  #space(): number {
    const bytes = this.#bytes
    const end = this.#end
    let at = this.#at
    while (at < end) {
      const byte = bytes[at]!
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) {
        this.#at = at
        return byte
      }
      at++
    }
    this.#at = at
    return -1
  }

  /** Where the string whose first byte is at `at` has ended: behind its closing quote. */
  #afterString(at: number): number {
    const bytes = this.#bytes
    const end = this.#end
    while (at < end) {
      const byte = bytes[at]!
      if (byte === QUOTE) return at + 1
      at += byte === BACKSLASH ? 2 : 1
    }
    throw malformed('it breaks off in a string')
  }

  /** Steps over the value that begins with the byte `first`, here. */
  #skip(first: number): void {
    if (first === QUOTE) {
      this.#at = this.#afterString(this.#at + 1)
      return
    }
    const bytes = this.#bytes
    const end = this.#end
    let at = this.#at
    if (first !== OPEN_OBJECT && first !== OPEN_LIST) {
      // A number, true, false or null.
      while (at < end && isLiteral(bytes[at]!)) at++
      if (at === this.#at) throw malformed(first === -1 ? 'it breaks off' : 'a value is missing')
      this.#at = at
      return
    }
    let depth = 0
    while (at < end) {
      const byte = bytes[at++]!
      if (byte === QUOTE) {
        for (;;) {
          if (at >= end) throw malformed('it breaks off in a string')
          const inside = bytes[at++]!
          if (inside === QUOTE) break
          if (inside === BACKSLASH) at++
        }
      } else if ((byte | EITHER) === OPEN_OBJECT) depth++
      else if ((byte | EITHER) === CLOSE_OBJECT && --depth === 0) {
        this.#at = at
        return
      }
    }
    throw malformed('it breaks off')
  }

  /** The value between two places, as JSON has it. */
  #text(start: number, end: number, first: number): unknown {
    const bytes = this.#bytes
    if (first === QUOTE && isPlain(bytes, start + 1, end - 1))
      return bytes.toString('latin1', start + 1, end - 1)
    if (first !== OPEN_OBJECT || end - start > LONGEST_REMEMBERED) return parse(bytes, start, end)
    const key = bytes.toString('latin1', start, end)
    const known = this.#remembered.get(key)
    if (known !== undefined) return known
    const made = parse(bytes, start, end)
    if (this.#remembered.size === MOST_REMEMBERED) this.#remembered = new Map()
    this.#remembered.set(key, made)
    return made
  }
}

const EMPTY = Buffer.alloc(0)

function parse(bytes: Buffer, start: number, end: number): unknown {
  try {
    return JSON.parse(bytes.toString('utf8', start, end)) as unknown
  } catch (cause) {
    throw new VethflowError('KUBERNETES_ANSWER', 'not JSON', { cause })
  }
}

function malformed(what: string): VethflowError {
  return new VethflowError('KUBERNETES_ANSWER', `not JSON: ${what}`)
}

/** Letters, digits and signs, of which numbers and the three words consist. */
function isLiteral(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x7a) || byte === 0x2d || byte === 0x2b
    ? true
    : byte === 0x2e || byte === 0x45
}

/** True for text without escapes, control characters, and anything but ASCII. */
function isPlain(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!
    if (byte === BACKSLASH || byte >= 0x80 || byte < 0x20) return false
  }
  return true
}

function compile(shape: Shape): Node {
  if (shape === true) return { whole: true, element: undefined, members: undefined }
  if (Array.isArray(shape)) {
    return { whole: false, element: compile((shape as readonly [Shape])[0]), members: undefined }
  }
  const members: Member[][] = []
  for (const [name, inner] of Object.entries(shape as Readonly<Record<string, Shape>>)) {
    const key = Buffer.from(name)
    members[key.length] ??= []
    members[key.length]?.push({ name, key, node: compile(inner) })
  }
  return { whole: false, element: undefined, members: Array.from(members) }
}
