// docs/roads.md shows the corpus's own records, and every road of it.

import { readFileSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { repository } from '../testbed/index.js'
import { allRows, renderPage } from './page.js'

const PAGE = `${repository}/docs/roads.md`

it('the page is as the corpus renders it (VETHFLOW_WRITE_PAGE=1 writes it anew)', () => {
  const page = readFileSync(PAGE, 'utf8')
  const rendered = renderPage(page)
  if (process.env.VETHFLOW_WRITE_PAGE === '1') writeFileSync(PAGE, rendered)
  else expect(page).toBe(rendered)
  expect(page.match(/<!-- record /g)?.length).toBeGreaterThan(20)
})

it('rows have names of their own, and more than fifty are counted', () => {
  const keys = allRows.map((row) => `${row.name} ${row.family} ${row.rules?.join() ?? ''}`)
  expect(new Set(keys).size).toBe(keys.length)
  const counted = allRows.filter((row) => row.waits === undefined)
  const cases = counted.reduce((sum, row) => sum + (row.rules?.length ?? 1), 0)
  expect(counted.length).toBeGreaterThan(50)
  expect(cases).toBeGreaterThan(100)
})
