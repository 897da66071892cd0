// Positions in a server's stream. Clients hand a cursor back as they got it; only its last number has a meaning for
// them (the `sequence` of the flow it stands behind). Runs in browsers.

/** A place in the stream of one run of one server (an agent, or a gateway). */
export interface Cursor {
  /** Of the server, not of the flow: on a gateway the two differ. */
  readonly agentId: string
  /** Of the last flow that was received; the next one is wanted. */
  readonly sequence: number
}

export function formatCursor(agentId: string, sequence: number): string {
  return `${agentId}:${sequence}`
}

/** Undefined when the text is no cursor. */
export function parseCursor(text: string): Cursor | undefined {
  const match = /^([^\s:]{1,128}):(\d{1,16})$/.exec(text)
  if (match === null) return undefined
  const sequence = Number(match[2])
  return Number.isSafeInteger(sequence) ? { agentId: match[1]!, sequence } : undefined
}

/** The cursor of one flow of a protobuf frame, made from the frame's. Undefined when either says nothing. */
export function cursorOfFlow(frameCursor: string, sequence: number): string | undefined {
  const colon = frameCursor.lastIndexOf(':')
  return colon < 1 || sequence === 0 ? undefined : `${frameCursor.slice(0, colon)}:${sequence}`
}
