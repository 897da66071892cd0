// Namespaces: which there are, and their labels, for whatever selects by them.

import { fields, type Labels, labels, sharedText, text } from './object.js'

export class NamespaceStore {
  #namespaces = new Map<string, Labels | undefined>()
  #listing: Set<string> | undefined

  labelsOf(namespace: string): Labels | undefined {
    return this.#namespaces.get(namespace)
  }

  begin(): void {
    this.#listing = new Set()
  }

  upsert(object: unknown): boolean {
    const metadata = fields(fields(object).metadata)
    const name = sharedText(metadata.name)
    if (name === undefined) return false
    this.#namespaces.set(name, labels(metadata.labels))
    this.#listing?.add(name)
    return true
  }

  remove(object: unknown): void {
    const name = text(fields(fields(object).metadata).name)
    if (name !== undefined) this.#namespaces.delete(name)
  }

  commit(): void {
    for (const name of [...this.#namespaces.keys()]) {
      if (this.#listing?.has(name) !== true) this.#namespaces.delete(name)
    }
    this.#listing = undefined
  }

  count(): number {
    return this.#namespaces.size
  }
}
