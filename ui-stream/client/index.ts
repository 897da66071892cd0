// The feed client for Node. `import { connect } from 'vethflow/client'`.

import { type ConnectOptions, feed } from './feed.js'
import type { FeedMessage } from './messages.js'
import { dialNode } from './node-transport.js'

/**
 * Reads flows: `for await (const message of connect({ server: 'ws://127.0.0.1:4280' })) …`. Reconnects by itself, with
 * jitter, behind the last flow. A slow reader holds the server back, which then tells what is lost. Leaving the loop, or
 * aborting `signal`, closes the connection. Errors: see `feed`.
 */
export function connect(options: ConnectOptions): AsyncGenerator<FeedMessage, void, void> {
  return feed(dialNode, options)
}

export type { FilterSpec } from '../protocol/filters.js'
export type { FlowMessage, LostMessage, StatusMessage } from '../protocol/messages.js'
export type { ConnectOptions } from './feed.js'
export { type FeedChange, FeedControl } from './feed-control.js'
export type * from './messages.js'
