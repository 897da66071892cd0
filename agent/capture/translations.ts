// Translated connections as conntrack has told of them (ctnetlink), kept until their tuples are seen on the wire: each of
// the two tuples leads to the other. Bounded; the oldest are forgotten first.

import { mark } from '../kernel/layout.gen.js'
import { TupleIndex } from './tuple-index.js'

/** One address family's share. Columns by slot of `index`. */
class Family {
  readonly index: TupleIndex
  readonly peers: Uint32Array
  readonly marks: Uint32Array
  /** Slots in the order of their coming. */
  readonly order: Int32Array
  next = 0

  constructor(words: number, capacity: number) {
    this.index = new TupleIndex(words, capacity)
    this.peers = new Uint32Array(words * capacity)
    this.marks = new Uint32Array(capacity)
    this.order = new Int32Array(capacity).fill(-1)
  }

  put(key: Uint32Array, peer: Uint32Array, marks: number): void {
    const { words } = this.index
    let slot = this.index.find(key, 0)
    if (slot < 0) {
      const oldest = this.order[this.next]!
      if (oldest >= 0) this.index.remove(oldest)
      slot = this.index.insert(key, 0)
      this.order[this.next] = slot
      this.next = (this.next + 1) % this.order.length
    }
    this.peers.set(peer.subarray(0, words), slot * words)
    this.marks[slot] = marks
  }
}

export class Translations {
  readonly #families: Readonly<Record<4 | 6, Family>>

  constructor(capacity4: number, capacity6: number) {
    this.#families = { 4: new Family(4, capacity4), 6: new Family(10, capacity6) }
  }

  /** Keys and forward dirs as ConntrackEvents gives them: the same key twice where only the opener is told. */
  add(family: 4 | 6, root: Uint32Array, rootForward: number, alias: Uint32Array, aliasForward: number): void {
    const common = mark.MARK_OPENER_KNOWN
    const rows = this.#families[family]
    if (root === alias) {
      rows.put(root, root, common | (rootForward === 1 ? mark.MARK_OPENER_DIR : 0))
      return
    }
    rows.put(
      root,
      alias,
      common |
        mark.MARK_PEER_IS_ALIAS |
        (rootForward === 1 ? mark.MARK_OPENER_DIR : 0) |
        (aliasForward === 1 ? mark.MARK_PEER_FORWARD_DIR : 0),
    )
    rows.put(
      alias,
      root,
      common |
        mark.MARK_PEER_IS_ROOT |
        (aliasForward === 1 ? mark.MARK_OPENER_DIR : 0) |
        (rootForward === 1 ? mark.MARK_PEER_FORWARD_DIR : 0),
    )
  }

  /** The translation that a tuple is part of, as `use` gets it: marks as a view would have them, and the peer's key. */
  find(
    family: 4 | 6,
    key: Uint32Array,
    at: number,
    use: (marks: number, peer: Uint32Array, at: number) => void,
  ): void {
    const rows = this.#families[family]
    const slot = rows.index.find(key, at)
    if (slot >= 0) use(rows.marks[slot]!, rows.peers, slot * rows.index.words)
  }
}
