// Kubernetes label selectors: `a=b, c!=d, e in (f,g), h notin (i), j, !k`. Parsing and matching; runs in browsers.
// Syntax and meaning as in k8s.io/apimachinery/pkg/labels: requirements are and'ed, != and notin also hold without the key.

/** One requirement of a selector. */
export interface LabelRequirement {
  readonly key: string
  readonly operator: 'in' | 'notin' | 'exists' | 'absent'
  readonly values: readonly string[]
}

export type LabelSelector = readonly LabelRequirement[]

const KEY = /^(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/
const VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/

/** Undefined when the text is no selector, or an empty one. */
export function parseLabelSelector(text: string): LabelSelector | undefined {
  const requirements: LabelRequirement[] = []
  for (const part of splitOutsideParentheses(text)) {
    const requirement = parseRequirement(part.trim())
    if (requirement === undefined) return undefined
    requirements.push(requirement)
  }
  return requirements.length === 0 ? undefined : requirements
}

function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    else if (text[i] === ')') depth--
    else if (text[i] === ',' && depth === 0) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function parseRequirement(text: string): LabelRequirement | undefined {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text)
  if (set !== null) {
    const values = set[3]!.split(',').map((value) => value.trim())
    return checked(set[1]!, set[2] as 'in' | 'notin', values)
  }
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$/.exec(text)
  if (equality !== null) return checked(equality[1]!, equality[2] === '!=' ? 'notin' : 'in', [equality[3]!])
  if (text.startsWith('!')) return checked(text.slice(1).trim(), 'absent', [])
  return checked(text, 'exists', [])
}

function checked(
  key: string,
  operator: LabelRequirement['operator'],
  values: readonly string[],
): LabelRequirement | undefined {
  const name = key.slice(key.indexOf('/') + 1)
  if (!KEY.test(key) || name.length > 63 || key.length > 317) return undefined
  return values.every((value) => value.length <= 63 && VALUE.test(value))
    ? { key, operator, values }
    : undefined
}

/** True when `labels` meet every requirement. */
export function labelsMatch(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every(({ key, operator, values }) => {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined
    if (operator === 'exists') return value !== undefined
    if (operator === 'absent') return value === undefined
    return (value !== undefined && values.includes(value)) === (operator === 'in')
  })
}
