// Text for a terminal: names made harmless, measured in columns, shortened and padded.
// Whatever comes from the stream passes `safe` before it is printed: it was written by strangers.

/** Everything that is not plain printable ASCII. */
const UNUSUAL = /[^\x20-\x7e]/
/**
 * What a terminal would act on or not show: controls, format characters (bidi and zero-width among them), separators,
 * marks that would pile up, lone surrogates, private and unassigned characters, and what Unicode says to ignore.
 */
const HARMFUL = /[\p{C}\p{Z}\p{M}\p{Default_Ignorable_Code_Point}\u2800]/u

/** `text` with everything that could steer or fool a terminal written as an escape, e.g. `\x1b` or `\u{202e}`. */
export function safe(text: string): string {
  if (!UNUSUAL.test(text)) return text
  let out = ''
  for (const char of text.normalize('NFC')) {
    if (char === ' ' || !HARMFUL.test(char)) out += char
    else out += escapeOf(char)
  }
  return out
}

function escapeOf(char: string): string {
  const code = char.codePointAt(0) ?? 0
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
}

/** A line of JSON with the characters escaped that JSON allows but a terminal acts on. The value stays the same. */
export function safeJson(json: string): string {
  return UNUSUAL.test(json)
    ? json.replaceAll(
        /[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
        (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
      )
    : json
}

/** East Asian Wide and Fullwidth (Unicode Standard Annex 11), and emoji, take two columns. */
const WIDE =
  /[\u1100-\u115f\u231a\u231b\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u

/** Columns that safe text takes on a terminal. */
export function width(text: string): number {
  if (!UNUSUAL.test(text)) return text.length
  let columns = 0
  for (const char of text) columns += WIDE.test(char) ? 2 : 1
  return columns
}

/** Pads safe text on the right to `columns`; longer text stays as it is. */
export function padEnd(text: string, columns: number): string {
  const missing = columns - width(text)
  return missing > 0 ? text + ' '.repeat(missing) : text
}

/** Pads safe text on the left. */
export function padStart(text: string, columns: number): string {
  const missing = columns - width(text)
  return missing > 0 ? ' '.repeat(missing) + text : text
}

/** Shortens safe text to at most `columns` by cutting out its middle; what tells names apart is mostly at the ends. */
export function shorten(text: string, columns: number): string {
  if (width(text) <= columns) return text
  if (columns <= 1) return columns === 1 ? '…' : ''
  const chars = [...text]
  const tailColumns = Math.floor((columns - 1) / 2)
  const headColumns = columns - 1 - tailColumns
  return `${take(chars, headColumns)}…${take(chars.reverse(), tailColumns, true)}`
}

function take(chars: readonly string[], columns: number, turned = false): string {
  const taken: string[] = []
  let used = 0
  for (const char of chars) {
    used += width(char)
    if (used > columns) break
    taken.push(char)
  }
  return (turned ? taken.reverse() : taken).join('')
}
