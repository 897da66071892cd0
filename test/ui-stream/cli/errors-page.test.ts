// docs/errors.md lists every code that there is, once, and none that there is not.

import { readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { ErrorCode } from '../../../ui-stream/protocol/names.js'
import { repository } from '../../testbed/tools.js'

/** Where a code is written down: in what makes an error of it. */
const MADE = /\b(?:new VethflowError|kernelError|super)\(\s*'([A-Z][A-Z\d_]+)'/g

function codesOf(folder: string): Set<string> {
  const found = new Set<string>()
  for (const path of readdirSync(`${repository}/${folder}`, { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts')) continue
    for (const [, code] of readFileSync(`${repository}/${folder}/${path}`, 'utf8').matchAll(MADE))
      found.add(code ?? '')
  }
  return found
}

it('every code of agent and ui-stream is explained, and no other', () => {
  const rows = [
    ...readFileSync(`${repository}/docs/errors.md`, 'utf8').matchAll(
      /^\| ([A-Z][A-Z\d_]+) \| (\d+) \| (.+) \| (.+) \|$/gm,
    ),
  ]
  const explained = rows.map(([, code]) => code ?? '')
  expect(new Set(explained).size).toBe(explained.length)
  const made = new Set([...codesOf('agent'), ...codesOf('ui-stream'), ...Object.values(ErrorCode)])
  expect(made.size).toBeGreaterThan(30)
  expect([...explained].sort()).toEqual([...made].sort())
  for (const [, , exit] of rows) expect(['1', '2', '69', '77']).toContain(exit)
})
