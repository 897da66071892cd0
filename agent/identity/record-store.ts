// What all stores of namespaced objects have in common: records by name, full lists that take away what they leave out,
// and objects that nobody has checked.

import { type Listed, NamedMap } from './named-map.js'
import { type Fields, fields, sharedText, text } from './object.js'

/** What the sink needs of a store; see ObjectSink. */
export interface Store {
  begin(): void
  upsert(object: unknown): boolean
  remove(object: unknown): void
  commit(): void
  count(): number
}

export abstract class RecordStore<R extends Listed> implements Store {
  /** A full list has ended: what is learnt from now on is news, not what was so before anybody looked. */
  protected committed = false
  protected readonly records = new NamedMap<R>()

  begin(): void {
    this.records.begin()
  }

  upsert(object: unknown): boolean {
    const whole = fields(object)
    const metadata = fields(whole.metadata)
    const namespace = sharedText(metadata.namespace)
    const name = text(metadata.name)
    if (namespace === undefined || name === undefined) return false
    this.put(namespace, name, whole, metadata)
    return true
  }

  remove(object: unknown): void {
    const metadata = fields(fields(object).metadata)
    const namespace = text(metadata.namespace)
    const name = text(metadata.name)
    if (namespace === undefined || name === undefined) return
    const record = this.records.delete(namespace, name)
    if (record !== undefined) this.gone(record)
  }

  commit(): void {
    for (const record of this.records.sweep()) this.gone(record)
    this.committed = true
  }

  count(): number {
    return this.records.size
  }

  /** Makes or changes the record of an object, and sets it in `records`. */
  protected abstract put(namespace: string, name: string, object: Fields, metadata: Fields): void

  /** The record is no longer among `records`. */
  protected abstract gone(record: R): void
}
