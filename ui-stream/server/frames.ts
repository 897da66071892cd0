// Frames of both subprotocols from records that are already encoded.

import { deflateSync } from 'node:zlib'
import { formatCursor } from '../protocol/cursor.js'
import { flowToJson, historyToJson, lostToJson } from '../protocol/json.js'
import {
  type FlowMessage,
  type HistoryMessage,
  type LostMessage,
  type StatusMessage,
  StreamMessage,
  type StreamMessageMessage,
} from '../protocol/messages.js'
import { Subprotocol } from '../protocol/names.js'
import { statusToJson } from '../protocol/status-json.js'
import type { QueuedRecords } from './client-queue.js'
import type { EncodedBatch } from './encoded-batch.js'

/** Faster than the default by half, and a tenth larger. */
const DEFLATE_LEVEL = 1

/** What one client is sent, ready for the socket. */
export type Frame = Uint8Array | string

/** Writes frames of one subprotocol. */
export interface FrameWriter {
  /** Frames that say the losses, then the records. */
  flows(records: QueuedRecords | undefined, losses: readonly LostMessage[]): Frame[]
  /** `sequence`: everything up to it that the client wants has been sent; undefined when that cannot be said. */
  status(status: readonly StatusMessage[], sequence?: number): Frame[]
  history(history: HistoryMessage): Frame[]
  error(code: string, message: string): Frame
}

/** Sequence of a record, known without decoding for the last of a batch. */
export function sequenceOf(batch: EncodedBatch, row: number): number {
  if (row === batch.count - 1) return batch.lastSequence
  return decodeRecord(batch, row).sequence ?? 0
}

function decodeRecord(batch: EncodedBatch, row: number): FlowMessage {
  const record = batch.bytes.subarray(batch.offsets[row]!, batch.offsets[row + 1]!)
  return StreamMessage.decode(record).flows[0] ?? {}
}

/** The frames of a subprotocol; cursors are of this run of the server. */
export function framesOf(subprotocol: Subprotocol, agentId: string): FrameWriter {
  if (subprotocol === Subprotocol.JSON) return jsonFrames(agentId)
  if (subprotocol === Subprotocol.DEFLATE) return deflatedFrames(agentId)
  return protobufFrames(agentId)
}

/** vethflow.v1.protobuf. A whole batch without losses becomes one frame that all clients share. */
export function protobufFrames(agentId: string): FrameWriter {
  const frame = (records: QueuedRecords | undefined, losses: readonly LostMessage[]): Uint8Array => {
    const rest: StreamMessageMessage = { ...(losses.length > 0 && { lost: [...losses] }) }
    if (records === undefined) return StreamMessage.encode(rest).finish()
    const { batch, start, end } = records
    const tail = StreamMessage.encode({
      ...rest,
      cursor: formatCursor(agentId, sequenceOf(batch, end - 1)),
    }).finish()
    const flows = batch.bytes.subarray(batch.offsets[start]!, batch.offsets[end]!)
    const bytes = new Uint8Array(flows.length + tail.length)
    bytes.set(flows)
    bytes.set(tail, flows.length)
    return bytes
  }
  return {
    flows(records, losses) {
      if (records === undefined && losses.length === 0) return []
      const whole = records !== undefined && records.start === 0 && records.end === records.batch.count
      if (!whole || losses.length > 0) return [frame(records, losses)]
      records.batch.shared.frame ??= frame(records, losses)
      return [records.batch.shared.frame]
    },
    status: (status, sequence) => [
      StreamMessage.encode({
        status: [...status],
        ...(sequence !== undefined && { cursor: formatCursor(agentId, sequence) }),
      }).finish(),
    ],
    history: (history) => [StreamMessage.encode({ history }).finish()],
    error: (code, message) => StreamMessage.encode({ errors: [{ code, message }] }).finish(),
  }
}

/** vethflow.v1.protobuf+deflate: the same frames, each compressed as a whole (zlib, RFC 1950). */
export function deflatedFrames(agentId: string): FrameWriter {
  const plain = protobufFrames(agentId)
  const deflate = (frame: Frame): Uint8Array => deflateSync(frame, { level: DEFLATE_LEVEL })
  return {
    flows(records, losses) {
      const [frame] = plain.flows(records, losses)
      if (frame === undefined) return []
      const shared = records?.batch.shared
      if (shared?.frame !== frame) return [deflate(frame)]
      shared.deflated ??= deflate(frame)
      return [shared.deflated]
    },
    status: (status, sequence) => plain.status(status, sequence).map(deflate),
    history: (history) => plain.history(history).map(deflate),
    error: (code, message) => deflate(plain.error(code, message)),
  }
}

/** vethflow.v1.json: one object a frame. A record's text is made once for all clients that take the whole batch. */
export function jsonFrames(agentId: string): FrameWriter {
  return {
    flows(records, losses) {
      const frames: string[] = losses.map((lost) => JSON.stringify({ lost: lostToJson(lost) }))
      if (records === undefined) return frames
      const { batch, start, end } = records
      batch.shared.json ??= []
      for (let row = start; row < end; row++) {
        batch.shared.json[row] ??= recordText(decodeRecord(batch, row), agentId)
        frames.push(batch.shared.json[row]!)
      }
      return frames
    },
    status: (status) => status.map((one) => JSON.stringify({ status: statusToJson(one) })),
    history: (history) => [JSON.stringify({ history: historyToJson(history) })],
    error: (code, message) => JSON.stringify({ error: { code, message } }),
  }
}

function recordText(flow: FlowMessage, agentId: string): string {
  return JSON.stringify({ flow: flowToJson(flow), cursor: formatCursor(agentId, flow.sequence ?? 0) })
}
