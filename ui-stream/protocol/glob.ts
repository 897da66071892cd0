// Globs for names: `*` is any run of characters, `?` any one. Linear in the text for hostile patterns. Runs in browsers.

/** A test for whole names, case ignored. The pattern is compared by backtracking to the last star only. */
export function globTest(pattern: string): (text: string) => boolean {
  const wanted = pattern.toLowerCase()
  if (!/[*?]/.test(wanted)) return (text) => text.toLowerCase() === wanted
  return (text) => matches(wanted, text.toLowerCase())
}

function matches(pattern: string, text: string): boolean {
  let p = 0
  let t = 0
  let star = -1
  let resume = 0
  while (t < text.length) {
    if (p < pattern.length && pattern[p] === '*') {
      star = p++
      resume = t
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++resume
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}
