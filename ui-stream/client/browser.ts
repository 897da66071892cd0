// The feed client for browsers: the same feed over the web's own WebSocket.

import { dialBrowser } from './browser-transport.js'
import { type ConnectOptions, feed } from './feed.js'
import type { FeedMessage } from './messages.js'

/** As `connect` of index.ts. `ca` and `identity` have no meaning here; a token is exchanged for a ticket. */
export function connect(options: ConnectOptions): AsyncGenerator<FeedMessage, void, void> {
  return feed(dialBrowser, options)
}

export type { FilterSpec } from '../protocol/filters.js'
export type { FlowMessage, LostMessage, StatusMessage } from '../protocol/messages.js'
export type { ConnectOptions } from './feed.js'
export { type FeedChange, FeedControl } from './feed-control.js'
export type * from './messages.js'
