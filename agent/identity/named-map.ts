// Records by namespace and name, without a joined key for each: at 50,000 pods those keys alone are megabytes.
// Also knows which records a full list has left out: each carries the number of the list that last mentioned it.

/** What a record needs so that a full list can sweep it. */
export interface Listed {
  readonly namespace: string
  readonly name: string
  /** The list during which it was last heard of. */
  round: number
}

export class NamedMap<T extends Listed> {
  size = 0
  /** Number of the list that is under way, or of the last one. */
  round = 0
  readonly #namespaces = new Map<string, Map<string, T>>()

  get(namespace: string, name: string): T | undefined {
    return this.#namespaces.get(namespace)?.get(name)
  }

  set(record: T): void {
    let names = this.#namespaces.get(record.namespace)
    if (names === undefined) {
      names = new Map()
      this.#namespaces.set(record.namespace, names)
    }
    if (!names.has(record.name)) this.size++
    names.set(record.name, record)
    record.round = this.round
  }

  delete(namespace: string, name: string): T | undefined {
    const names = this.#namespaces.get(namespace)
    const record = names?.get(name)
    if (names === undefined || record === undefined) return undefined
    names.delete(name)
    if (names.size === 0) this.#namespaces.delete(namespace)
    this.size--
    return record
  }

  *values(): Generator<T> {
    for (const names of this.#namespaces.values()) yield* names.values()
  }

  /** A full list begins: what is not `set` until `sweep` is gone. An earlier list that never ended is forgotten. */
  begin(): void {
    this.round++
  }

  /** The full list ended: takes out what it did not mention, and returns it. */
  sweep(): T[] {
    const gone: T[] = []
    for (const record of this.values()) if (record.round !== this.round) gone.push(record)
    for (const record of gone) this.delete(record.namespace, record.name)
    return gone
  }
}
