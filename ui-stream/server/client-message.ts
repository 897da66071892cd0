// What a client may say: one Subscribe message, in the form of its subprotocol. Everything else is an error.

import type { RawData } from 'ws'
import { VethflowError } from '../../agent/errors.js'
import { ClientMessage } from '../protocol/messages.js'
import { ErrorCode } from '../protocol/names.js'
import { fromSubscribeJson, fromSubscribeMessage, type Subscription } from '../protocol/subscription.js'

function bad(message: string, cause?: unknown): VethflowError {
  return new VethflowError(ErrorCode.BAD_MESSAGE, message, cause === undefined ? {} : { cause })
}

/** Throws a VethflowError: BAD_MESSAGE when it cannot be read, another code when what it asks for cannot be had. */
export function readClientMessage(
  data: RawData,
  binary: boolean,
  json: boolean,
  nowMs: number,
): Subscription {
  const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer)
  if (json) {
    if (binary) throw bad('Frames of vethflow.v1.json are text')
    return fromSubscribeJson(subscribeOf(bytes.toString('utf8')), nowMs)
  }
  if (!binary) throw bad('Frames of vethflow.v1.protobuf are binary')
  let subscribe: ReturnType<typeof ClientMessage.decode>['subscribe']
  try {
    subscribe = ClientMessage.decode(bytes).subscribe
  } catch (error) {
    throw bad('The frame is no vethflow.v1.ClientMessage', error)
  }
  if (!subscribe) throw bad('The message holds nothing that this server knows; it takes subscribe')
  return fromSubscribeMessage(subscribe)
}

function subscribeOf(text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw bad('The frame is no JSON', error)
  }
  if (typeof value !== 'object' || value === null || !('subscribe' in value)) {
    throw bad('The message holds nothing that this server knows; it takes {"subscribe": {…}}')
  }
  return value.subscribe
}
