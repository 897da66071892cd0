// One manifest file to Kubernetes objects: JSON or YAML as `kubectl get -o json|yaml` prints them. Reads, keeps nothing.

import { LineCounter, parseAllDocuments } from 'yaml'

import { VethflowError } from '../errors.js'
import { type Fields, fields, list, text } from './object.js'

/** An object with the kind that it, or the list that it stood in, says it is. */
export interface ManifestObject {
  readonly kind: string
  readonly object: Fields
}

/** Refuses documents that grow beyond this by YAML aliases. */
const MAX_ALIASES = 10_000

function invalid(file: string, line: number, what: string): VethflowError {
  return new VethflowError('MANIFEST_INVALID', `${file}:${line}: ${what}`, {
    hint: 'Write manifests with `kubectl get ... -o yaml` or `-o json`',
  })
}

function lineAt(source: string, position: number): number {
  let line = 1
  for (let at = source.indexOf('\n'); at >= 0 && at < position; at = source.indexOf('\n', at + 1)) line++
  return line
}

/**
 * All objects of a file, lists opened. Kinds that nobody knows are among them.
 *
 * @throws VethflowError MANIFEST_INVALID with file and line where it is not JSON or YAML, or not of Kubernetes.
 */
export function parseManifest(file: string, source: string): ManifestObject[] {
  const objects: ManifestObject[] = []
  for (const { value, line } of file.endsWith('.json') ? parseJson(file, source) : parseYaml(file, source)) {
    if (value === null || value === undefined) continue
    open(value, file, line, objects)
  }
  return objects
}

function open(value: unknown, file: string, line: number, into: ManifestObject[]): void {
  const object = fields(value)
  const kind = text(object.kind)
  if (kind === undefined) throw invalid(file, line, 'not a Kubernetes object: it has no `kind`')
  if (!kind.endsWith('List') || object.items === undefined) {
    into.push({ kind, object })
    return
  }
  if (!Array.isArray(object.items) && object.items !== null) {
    throw invalid(file, line, `\`items\` of a ${kind} must be a list`)
  }
  const itemKind = kind.slice(0, -'List'.length)
  for (const [index, item] of list(object.items).entries()) {
    const entry = fields(item)
    // Lists of one kind leave `kind` out of their items; those of mixed kinds (`List`) must have it.
    const found = text(entry.kind) ?? itemKind
    if (found === '' || entry.metadata === undefined) {
      throw invalid(file, line, `item ${index} of a ${kind} is not a Kubernetes object`)
    }
    into.push({ kind: found, object: entry })
  }
}

function parseJson(file: string, source: string): { value: unknown; line: number }[] {
  if (source.trim() === '') return []
  try {
    return [{ value: JSON.parse(source) as unknown, line: 1 }]
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const position = /at position (\d+)/.exec(message)?.[1]
    const line = position === undefined ? lineAt(source, source.length) : lineAt(source, Number(position))
    throw invalid(file, line, 'not JSON')
  }
}

function parseYaml(file: string, source: string): { value: unknown; line: number }[] {
  const lineCounter = new LineCounter()
  const documents = parseAllDocuments(source, { lineCounter, uniqueKeys: false, logLevel: 'error' })
  if (!Array.isArray(documents)) return []
  const result: { value: unknown; line: number }[] = []
  for (const document of documents) {
    const error = document.errors[0]
    if (error !== undefined) {
      const what = error.message.split('\n', 1)[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? 'not YAML'
      throw invalid(file, lineCounter.linePos(error.pos[0]).line, `not YAML: ${what}`)
    }
    const line = lineCounter.linePos(document.contents?.range?.[0] ?? document.range[0]).line
    try {
      result.push({ value: document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown, line })
    } catch (cause) {
      throw invalid(file, line, `not YAML: ${cause instanceof Error ? cause.message : String(cause)}`)
    }
  }
  return result
}
