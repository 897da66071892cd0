// What an expression of `filter=` may do, so that evaluating it takes bounded time and memory whoever wrote it: functions
// that are named here, tests of lists that do not lie in one another, regular expressions that are linear and small.

import type { ASTNode } from '@marcbachmann/cel-js'
import { RE2JS } from 're2js'
import { badFilter } from '../../protocol/filters.js'

export const MAX_EXPRESSION_LENGTH = 2048

/** Of the parser; a literal list is the longest that a test goes through, beside what a flow holds. */
export const LIMITS = {
  maxAstNodes: 400,
  maxDepth: 32,
  maxListElements: 64,
  maxMapEntries: 16,
  maxCallArguments: 4,
} as const

const FUNCTIONS: ReadonlySet<string> = new Set(
  'has size int double string bool dyn timestamp duration'.split(' '),
)
const LIST_TESTS: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one'])
const METHODS: ReadonlySet<string> = new Set(
  'size startsWith endsWith contains lowerAscii upperAscii getFullYear getMonth getDate getDayOfWeek getHours getMinutes getSeconds'.split(
    ' ',
  ),
)

const MAX_PATTERNS = 4
const MAX_PATTERN_LENGTH = 128
const MAX_REPEATS = 20
const MAX_PROGRAM = 200
const MAX_MATCHED_LENGTH = 512

/** Stands in for CEL's `matches`, which the library would hand to the host's backtracking RegExp. */
export const MATCHES = '_matches'

/** Compiled patterns of expressions that are or were in use; the oldest go first. */
const patterns = new Map<string, RE2JS>()
const MAX_KNOWN_PATTERNS = 512

/** What `matches` does: true when the pattern is found in the text. */
export function matchesPattern(text: string, pattern: string): boolean {
  return compilePattern(pattern).test(text.length > MAX_MATCHED_LENGTH ? '' : text)
}

function compilePattern(pattern: string): RE2JS {
  let compiled = patterns.get(pattern)
  if (compiled === undefined) {
    compiled = checkPattern(pattern)
    if (patterns.size >= MAX_KNOWN_PATTERNS) {
      for (const oldest of patterns.keys()) {
        patterns.delete(oldest)
        break
      }
    }
    patterns.set(pattern, compiled)
  }
  return compiled
}

function checkPattern(pattern: string): RE2JS {
  const repeats = [...pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g)].flatMap((match) => [
    Number(match[1]),
    Number(match[2] ?? 0),
  ])
  if (pattern.length > MAX_PATTERN_LENGTH || repeats.some((count) => count > MAX_REPEATS)) {
    throw badFilter(
      `filter: a pattern of matches may have ${MAX_PATTERN_LENGTH} characters and repeat ${MAX_REPEATS} times`,
    )
  }
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(pattern)
  } catch {
    throw badFilter(`filter: ${JSON.stringify(pattern)} is no regular expression (RE2 syntax)`)
  }
  if (compiled.programSize() > MAX_PROGRAM) throw badFilter('filter: a pattern of matches is too large')
  return compiled
}

interface Walk {
  patterns: number
}

/**
 * Throws BAD_FILTER when the expression does what it may not. Turns `matches` into MATCHES on the way, so it has to come
 * before the expression is checked and run.
 */
export function restrict(node: ASTNode): void {
  visit(node, false, { patterns: 0 })
}

function visit(node: ASTNode, withinTest: boolean, walk: Walk): void {
  let inner = withinTest
  if (node.op === 'call') {
    const name = node.args[0] as string
    if (!FUNCTIONS.has(name)) throw unknown(name)
  } else if (node.op === 'rcall') {
    const args = node.args as unknown as [string, ASTNode, ASTNode[]]
    const name = args[0]
    if (LIST_TESTS.has(name)) {
      if (withinTest) throw badFilter('filter: all, exists and exists_one may not lie in one another')
      inner = true
    } else if (name === 'matches') {
      const pattern = args[2][0]
      if (pattern?.op !== 'value' || typeof pattern.args !== 'string' || args[2].length !== 1) {
        throw badFilter('filter: matches takes one literal text')
      }
      if (withinTest || ++walk.patterns > MAX_PATTERNS) {
        throw badFilter(`filter: at most ${MAX_PATTERNS} matches, and none within a test of a list`)
      }
      compilePattern(pattern.args)
      args[0] = MATCHES
    } else if (!METHODS.has(name)) throw unknown(name)
    else if (name.startsWith('get') && args[2].length > 0) {
      throw badFilter(`filter: ${name} takes no time zone; times are UTC`)
    }
  }
  visitAll(node.args, inner, walk)
}

/** Operands stand in lists, deeper for calls and maps. */
function visitAll(value: unknown, withinTest: boolean, walk: Walk): void {
  if (Array.isArray(value)) for (const each of value) visitAll(each, withinTest, walk)
  else if (typeof value === 'object' && value !== null && 'op' in value) {
    visit(value as ASTNode, withinTest, walk)
  }
}

function unknown(name: string): Error {
  const known = [...FUNCTIONS, ...LIST_TESTS, 'matches', ...METHODS].join(', ')
  return badFilter(`filter: there is no function ${JSON.stringify(name.slice(0, 80))}; there are ${known}`)
}
