// Reads fields of Kubernetes objects that nobody has checked: whatever is missing or of another type is undefined.
// Strings that are kept go through `share`, so that equal ones are one string in memory.

/** An object whose fields are not known to be anything. */
export type Fields = Readonly<Record<string, unknown>>

/** Longest text that is kept of any field; Kubernetes' own names and label values end at 253. */
const LONGEST = 512
const MOST_LABELS = 128
const MOST_SHARED = 65_536
const MOST_SHARED_SETS = 65_536

const nothing: Fields = Object.freeze({})

export function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : nothing
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** A non-empty text of at most 512 characters, else undefined. */
export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= LONGEST ? value : undefined
}

/** A port number from 1 to 65535, else 0. */
export function port(value: unknown): number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65536 ? value : 0
}

let shared = new Map<string, string>()

/** The one copy of `value`. When there are too many it begins afresh: sharing only saves memory. */
export function share(value: string): string {
  const known = shared.get(value)
  if (known !== undefined) return known
  if (shared.size >= MOST_SHARED) shared = new Map()
  shared.set(value, value)
  return value
}

export function sharedText(value: unknown): string | undefined {
  const found = text(value)
  return found === undefined ? undefined : share(found)
}

export type Labels = Readonly<Record<string, string>>

/**
 * Sets by a digest of what is in them. Weak, since many are one pod's own (a Job's, a StatefulSet's) and go with it; large
 * enough for the sets of a large cluster, since one that begins afresh again and again lets every pod have its own.
 */
let sharedLabels = new Map<number, WeakRef<Labels>>()
/** Sets by the object that they were read from, which may come again. */
const labelsOf = new WeakMap<object, Labels>()

/** Labels with shared strings; equal sets are one object. Undefined when there are none. */
export function labels(value: unknown): Labels | undefined {
  const object = fields(value)
  const before = labelsOf.get(object)
  if (before !== undefined) return before
  const made = readLabels(object)
  if (made !== undefined) labelsOf.set(object, made)
  return made
}

function readLabels(object: Fields): Labels | undefined {
  const pairs: [string, string][] = []
  for (const [key, label] of Object.entries(object)) {
    if (typeof label !== 'string' || label.length > LONGEST || key.length > LONGEST) continue
    if (pairs.length === MOST_LABELS) break
    pairs.push([key, label])
  }
  if (pairs.length === 0) return undefined
  pairs.sort(([a], [b]) => (a < b ? -1 : 1))
  const key = digestOf(pairs)
  const known = sharedLabels.get(key)?.deref()
  if (known !== undefined && holdsExactly(known, pairs)) return known
  const result: Record<string, string> = Object.create(null) as Record<string, string>
  for (const [name, label] of pairs) result[share(name)] = share(label)
  Object.freeze(result)
  if (sharedLabels.size >= MOST_SHARED_SETS) sharedLabels = new Map()
  sharedLabels.set(key, new WeakRef(result))
  return result
}

/** 31 bits of FNV-1a over all keys and values; a separator after each. */
function digestOf(pairs: readonly (readonly [string, string])[]): number {
  let hash = 0x811c9dc5
  for (const pair of pairs) {
    for (const part of pair) {
      for (let i = 0; i < part.length; i++) hash = Math.imul(hash ^ part.charCodeAt(i), 0x01000193)
      hash = Math.imul(hash ^ 0x1ffff, 0x01000193)
    }
  }
  return hash >>> 1
}

function holdsExactly(known: Labels, pairs: readonly (readonly [string, string])[]): boolean {
  return Object.keys(known).length === pairs.length && pairs.every(([name, label]) => known[name] === label)
}

/** The owner that controls the object: its kind and name. */
export function controller(metadata: Fields): { kind: string; name: string } | undefined {
  for (const entry of list(metadata.ownerReferences)) {
    const owner = fields(entry)
    if (owner.controller !== true) continue
    const kind = sharedText(owner.kind)
    const name = sharedText(owner.name)
    if (kind !== undefined && name !== undefined) return { kind, name }
  }
  return undefined
}
