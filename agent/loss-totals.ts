// Adds up what was lost since the start, by stage and unit, for status; and how many records are made a second.

import type { LostMessage } from '../ui-stream/protocol/messages.js'

export class LossTotals {
  readonly #nodeName: string
  readonly #totals = new Map<string, LostMessage>()
  #records = 0
  #at = performance.now()
  #rate = 0

  constructor(nodeName: string) {
    this.#nodeName = nodeName
  }

  add(lost: LostMessage): void {
    const key = `${lost.stage}/${lost.unit}`
    const total = this.#totals.get(key)
    this.#totals.set(key, {
      ...lost,
      nodeName: this.#nodeName,
      count: (total?.count ?? 0) + (lost.count ?? 0),
      sinceUs: total?.sinceUs ?? lost.sinceUs ?? 0,
    })
  }

  list(): LostMessage[] {
    return [...this.#totals.values()]
  }

  /** Records a second, over at least the last second before the call before this one. */
  rate(records: number): number {
    const seconds = (performance.now() - this.#at) / 1000
    if (seconds >= 1) {
      this.#rate = (records - this.#records) / seconds
      this.#records = records
      this.#at = performance.now()
    }
    return Math.round(this.#rate * 10) / 10
  }
}
