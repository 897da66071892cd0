// How much waits for all clients together.

/** Shared by all queues of a server, which keep it true. */
export class QueueBudget {
  /** Bytes beyond which somebody has to give way. */
  readonly limit: number
  used = 0

  constructor(limit: number) {
    this.limit = limit
  }

  get exceeded(): boolean {
    return this.used > this.limit
  }
}
