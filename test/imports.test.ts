// Data flows down the line, imports point up it: a file may import its own stage and earlier ones, never a later one.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { repository } from './testbed/tools.js'

/** The line, top to bottom. Stages in one row know nothing of each other. */
const LINE: readonly (readonly string[])[] = [
  // Vocabulary: values and definitions that every stage may use.
  [
    'proto/',
    'agent/errors.ts',
    'agent/version.ts',
    'agent/flag-values.ts',
    'agent/flags.ts',
    'agent/capture/flow-batch.ts',
    'agent/identity/names.ts',
  ],
  ['agent/kernel/'],
  ['agent/capture/'],
  ['agent/identity/'],
  ['ui-stream/protocol/'],
  ['ui-stream/server/'],
  ['ui-stream/client/'],
  ['ui-stream/tail/', 'ui-stream/gateway/', 'ui-stream/dashboard/'],
  // The other views in a terminal use tail's colours and widths.
  ['ui-stream/status/', 'ui-stream/top/'],
  // Wiring: puts the line together.
  [
    'agent/config-file.ts',
    'agent/config.ts',
    'agent/main.ts',
    'agent/',
    'ui-stream/cli.ts',
    'ui-stream/cli/',
  ],
]
const VOCABULARY = 0
/** Imports nothing by a bare name, so that a browser can load it. */
const BROWSER_SAFE: readonly string[] = ['ui-stream/protocol/', 'agent/errors.ts']
const WIRING = LINE.length - 1

interface Stage {
  /** The entry of LINE that covers the file. */
  readonly place: string
  readonly rank: number
}

/** The stage of a file (path from the top of the repository); the longest entry that covers it. */
function stageOf(file: string): Stage | undefined {
  let found: Stage | undefined
  LINE.forEach((row, rank) => {
    for (const place of row) {
      const covers = place.endsWith('/') ? file.startsWith(place) : file === place
      if (covers && place.length > (found?.place.length ?? 0)) found = { place, rank }
    }
  })
  return found
}

/** What a module names in `import`, `export … from`, `import()`; comments do not count. */
function importsOf(source: string): string[] {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  const pattern =
    /(?:^|[;\n}])\s*(?:import|export)\s+(?:type\s+)?(?:[\w$*{][^'"`;]*?\sfrom\s*|)['"]([^'"]+)['"]|\bimport\s*\(\s*['"`]([^'"`]+)['"`]\s*[,)]|\brequire\s*\(\s*['"]([^'"]+)['"]\s*\)/g
  return [...code.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '')
}

/** Why `file` may not import `specifier`; undefined when it may. */
function offence(file: string, specifier: string): string | undefined {
  const own = stageOf(file)
  if (own === undefined) return `${file} has no place in the line`
  const say = (why: string) => `${file} imports ${specifier}: ${why}`
  if (!specifier.startsWith('.')) {
    if (specifier === 'koffi' && own.place !== 'agent/kernel/') return say('only agent/kernel speaks FFI')
    if (BROWSER_SAFE.includes(own.place)) return say('the protocol runs in browsers')
    return undefined
  }
  const target = normalize(join(dirname(file), specifier)).replace(/\.js$/, '.ts')
  const other = stageOf(target)
  if (target.startsWith('test/') || target.startsWith('bench/')) return say('what ships knows no tests')
  if (other === undefined) return target === 'package.json' ? undefined : say('no place in the line')
  if (
    own.place === 'ui-stream/protocol/' &&
    other.place !== 'proto/' &&
    !BROWSER_SAFE.includes(other.place)
  ) {
    return say('the protocol may import proto and errors only')
  }
  if (own.rank === WIRING || own.place === other.place) return undefined
  if (other.rank > own.rank) return say('that is further down the line')
  if (other.rank === own.rank && own.rank !== VOCABULARY) return say('stages beside each other')
  return undefined
}

function sources(directory: string): string[] {
  return readdirSync(join(repository, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|tsx|mts)$/.test(entry.name) && !entry.name.endsWith('.d.ts'))
    .map((entry) => relative(repository, join(entry.parentPath, entry.name)))
}

describe('imports', () => {
  it('point up the line only', () => {
    const files = ['agent', 'ui-stream', 'proto'].flatMap(sources)
    expect(files.length).toBeGreaterThan(20)
    const offences: string[] = []
    let looked = 0
    for (const file of files) {
      for (const specifier of importsOf(readFileSync(join(repository, file), 'utf8'))) {
        looked++
        const why = offence(file, specifier)
        if (why !== undefined) offences.push(why)
      }
    }
    expect(looked).toBeGreaterThan(50)
    expect(offences).toEqual([])
  })

  it('that point down the line are found, however they are written', () => {
    const doctored = `
      import { a } from '../capture/connections.js'
      import type { b } from '../identity/pods.js'
      export * from '../../ui-stream/server/encode.js'
      import './btf.js'
      import {
        c,
        d,
      } from '../main.js'
      // import { no } from '../capture/comment.js'
      const e = await import('../../ui-stream/tail/main.js')
      import { VethflowError } from '../errors.js'
      import { readFileSync } from 'node:fs'`
    const found = importsOf(doctored)
    expect(found).toHaveLength(8)
    const offences = found.filter((specifier) => offence('agent/kernel/attach.ts', specifier) !== undefined)
    expect(offences).toEqual([
      '../capture/connections.js',
      '../identity/pods.js',
      '../../ui-stream/server/encode.js',
      '../main.js',
      '../../ui-stream/tail/main.js',
    ])
  })

  it.each([
    ['agent/capture/join.ts', 'koffi'],
    ['agent/errors.ts', './kernel/ffi.js'],
    ['agent/capture/flow-batch.ts', './connections.js'],
    ['agent/identity/names.ts', './pods.js'],
    ['agent/capture/join.ts', '../identity/pods.js'],
    ['agent/identity/pods.ts', '../../ui-stream/protocol/messages.js'],
    ['ui-stream/protocol/names.ts', 'node:fs'],
    ['ui-stream/protocol/names.ts', 'ws'],
    ['ui-stream/protocol/names.ts', '../../agent/flags.js'],
    ['agent/errors.ts', 'node:util'],
    ['ui-stream/server/encode.ts', '../client/feed.js'],
    ['ui-stream/client/feed.ts', '../tail/main.js'],
    ['ui-stream/tail/main.ts', '../gateway/main.js'],
    ['ui-stream/tail/main.ts', '../cli.js'],
    ['ui-stream/tail/main.ts', '../../test/testbed/index.js'],
    ['ui-stream/elsewhere.ts', './cli.js'],
  ])('%s may not import %s', (file, specifier) => {
    expect(offence(file, specifier)).toBeDefined()
  })

  it.each([
    ['agent/kernel/ffi.ts', 'koffi'],
    ['agent/capture/join.ts', '../kernel/drain.js'],
    ['agent/identity/pods.ts', '../capture/flow-batch.js'],
    ['ui-stream/protocol/names.ts', '../../proto/gen/vethflow.js'],
    ['ui-stream/protocol/names.ts', '../../agent/errors.js'],
    ['ui-stream/server/encode.ts', '../../agent/identity/names.js'],
    ['agent/main.ts', '../ui-stream/server/server.js'],
  ])('%s may import %s', (file, specifier) => {
    expect(offence(file, specifier)).toBeUndefined()
  })
})
