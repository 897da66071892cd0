// Colour for a terminal. Off, it gives every text back as it came.

/** Select Graphic Rendition codes (ECMA-48, 8.3.117), start and end. */
const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  blue: [34, 39],
  magenta: [35, 39],
  cyan: [36, 39],
} as const

export type Colour = keyof typeof CODES
/** Paints one piece of text. Pad first, paint after: escapes take no columns. */
export type Paint = (colour: Colour | undefined, text: string) => string

export const plain: Paint = (_colour, text) => text
export const coloured: Paint = (colour, text) => {
  if (colour === undefined || text === '') return text
  const [on, off] = CODES[colour]
  return `\u001b[${on}m${text}\u001b[${off}m`
}

/**
 * Chooses for `--color`: `auto` colours a terminal unless NO_COLOR (no-color.org) is set or TERM is dumb.
 */
export function paintFor(
  choice: 'auto' | 'always' | 'never',
  isTerminal: boolean,
  env: Readonly<Record<string, string | undefined>>,
): Paint {
  if (choice === 'always') return coloured
  if (choice === 'never' || !isTerminal) return plain
  const refused = (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb'
  return refused ? plain : coloured
}
