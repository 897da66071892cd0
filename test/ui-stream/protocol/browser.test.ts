import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** What a module imports at run time; types are gone by then. */
function imports(path: string): string[] {
  const source = readFileSync(path, 'utf8')
  return [...source.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^'"]*?\sfrom\s+)?['"]([^'"]+)['"]/gm)].map(
    (match) => match[1]!,
  )
}

it('runs in browsers: nothing of Node in the protocol, nor in anything that it imports', () => {
  const folder = join(root, 'ui-stream/protocol')
  const waiting = readdirSync(folder).map((name) => join(folder, name))
  const seen = new Set<string>()
  const bare = new Set<string>()
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue
    seen.add(path)
    for (const name of imports(path)) {
      if (!name.startsWith('.')) {
        bare.add(name)
        continue
      }
      const target = join(dirname(path), name)
      const typescript = target.replace(/\.js$/, '.ts')
      waiting.push(existsSync(typescript) ? typescript : target)
    }
    const source = readFileSync(path, 'utf8')
    expect(source, relative(root, path)).not.toMatch(
      /(?<![.\w])(?:Buffer\.|require\(|process\.(?:env|argv|std|exit|hrtime))/,
    )
  }
  expect([...bare]).toEqual(['protobufjs/minimal.js'])
  expect(seen.size).toBeGreaterThan(15)
  expect(
    [...seen].map((path) => relative(root, path)).filter((path) => !path.startsWith('ui-stream/protocol/')),
  ).toEqual(expect.arrayContaining(['proto/gen/vethflow.js', 'agent/errors.ts']))
})
