// One protobuf frame as the JSON frames that say the same. Runs in browsers.

import { cursorOfFlow } from './cursor.js'
import { flowToJson, historyToJson, lostToJson } from './json.js'
import type { FrameJson } from './json-types.js'
import type { StreamMessageMessage } from './messages.js'
import { statusToJson } from './status-json.js'

/**
 * The JSON frames that say what one protobuf frame says, in the order in which they are to be read: losses first, since
 * they lie before the flows that are still there.
 */
export function frameToJson(message: StreamMessageMessage): FrameJson[] {
  const frames: FrameJson[] = []
  for (const error of message.errors ?? []) {
    frames.push({ error: { code: error.code ?? '', message: error.message ?? '' } })
  }
  if (message.history) frames.push({ history: historyToJson(message.history) })
  for (const status of message.status ?? []) frames.push({ status: statusToJson(status) })
  for (const lost of message.lost ?? []) frames.push({ lost: lostToJson(lost) })
  for (const flow of message.flows ?? []) {
    const cursor = cursorOfFlow(message.cursor ?? '', flow.sequence ?? 0)
    frames.push(cursor === undefined ? { flow: flowToJson(flow) } : { flow: flowToJson(flow), cursor })
  }
  return frames
}
