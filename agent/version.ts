// The version of this package, from the package.json that it was installed with.

import { readFileSync } from 'node:fs'

let known: string | undefined

/** The version, e.g. `0.1.0`. Reads package.json once; from the sources and from dist/ alike. */
export function version(): string {
  known ??= read('../package.json') ?? read('../../package.json') ?? 'unknown'
  return known
}

function read(path: string): string | undefined {
  try {
    const parsed = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
      name?: unknown
      version?: unknown
    }
    return parsed.name === 'vethflow' && typeof parsed.version === 'string' ? parsed.version : undefined
  } catch {
    return undefined
  }
}
