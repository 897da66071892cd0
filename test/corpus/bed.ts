// What the corpus asks of a testbed: places that can speak, nodes that agents run on, names for interfaces.

import type { Namespace, Node, Pod, TcpProxy, Testbed } from '../testbed/index.js'
import type { Row, Rules } from './row.js'

/** A testbed and the rows that are run on it. */
export interface CorpusBed {
  readonly name: string
  readonly rows: readonly Row[]
  /** Pods (namespace/name) by node that its agent must list as not covered. */
  readonly uncovered?: Readonly<Record<string, readonly string[]>>
  /** In this order; one pass over the rows for each. Absent: the bed has rules of its own and one pass. */
  readonly rules?: readonly Rules[]
  build(): Promise<Built>
}

export interface Built {
  readonly bed: Testbed
  /** Nodes with an agent each, by name. */
  readonly nodes: Readonly<Record<string, Node>>
  /** Whoever speaks or is spoken to. */
  readonly places: Readonly<Record<string, Namespace>>
  /** Addresses that a talk starts from where no other is given, by place and family. */
  address(place: string, family: 4 | 6): string
  /** The directory that the agents read their names from. */
  readonly manifests: string
  /** Puts the rules in force and forgets what conntrack knew. */
  load?(rules: Rules): Promise<void>
  /** Proxies by the place that they run in. */
  readonly proxies?: Readonly<Record<string, TcpProxy>>
  /** Ends what is not the testbed's own. */
  close?(): void
}

/** The interface that a word in `observations` stands for. */
export function interfaceOf(built: Built, word: string): string {
  const place = built.places[word] as Partial<Pod> | undefined
  return place?.hostVeth ?? word
}
