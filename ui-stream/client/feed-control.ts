// Changes what a feed asks for while it runs: on the connection that stands, and on all that follow. Runs in browsers.

import type { Subscription } from '../protocol/subscription.js'

/** What can be changed. */
export type FeedChange = Partial<Pick<Subscription, 'filters' | 'expression' | 'labels' | 'own' | 'sinceUs'>>

/** Given to one feed at a time. */
export class FeedControl {
  #apply: ((change: FeedChange) => void) | undefined

  /**
   * Goes on with another subscription behind the last flow that was given out: what both let through comes without gap
   * or double.
   */
  change(change: FeedChange): void {
    this.#apply?.(change)
  }

  /** For the feed. */
  listen(apply: (change: FeedChange) => void): void {
    this.#apply = apply
  }
}
