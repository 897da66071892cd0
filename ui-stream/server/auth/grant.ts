// What somebody may see, and how long: the vocabulary of access. Types only, and the grant of a server that asks nobody.

import type { Refusal } from '../request-guard.js'

/** The namespaces that somebody may see; for flows that touch one of them. */
export interface Scope {
  /** Whether this namespace is among them; undefined while that is not known yet, and has been asked. */
  sees(namespace: string): boolean | undefined
  /** Moves on when a namespace that was seen no longer is. */
  readonly shrunk: number
  /** Asks again about the namespaces that are seen: false when one no longer is. Rejects when nobody can be asked. */
  holds(): Promise<boolean>
  /** Resolves when what was asked so far has been answered, or cannot be. Never rejects. */
  settled(): Promise<void>
}

/** That somebody has been let in. One object for each proof that was shown; sessions may share it. */
export interface Grant {
  /** Who it is, for logs. Never the secret itself. */
  readonly subject: string
  /** Undefined: everything may be seen. */
  readonly scope: Scope | undefined
  /**
   * Whether it holds as it was given; false also when less may be seen now. Asked at an interval while somebody is
   * connected, and at once when a file has changed. Never rejects.
   */
  holds(): Promise<boolean>
}

/** Somebody is let in, or is told why not. */
export type Admission = { readonly grant: Grant } | { readonly refusal: Refusal }

/** What everybody may do where nobody is asked. */
export const OPEN_GRANT: Grant = {
  subject: 'anybody',
  scope: undefined,
  holds: () => Promise.resolve(true),
}
