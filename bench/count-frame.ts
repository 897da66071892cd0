// Counts what a frame of the stream says by walking over its bytes: records are not decoded, so that counting costs a
// fraction of what making them does. Field numbers are those of proto/vethflow/v1.

/** What a frame's records say; numbers are added to. */
export interface FrameCounts {
  opened: { tcp: number; udp: number }
  closed: { tcp: number; udp: number }
  records: number
  /** Packets of all records' deltas. */
  packets: number
}

const FLOWS = 0x0a
const OPENED = 1
const CLOSED = 3
const TCP = 6
const UDP = 17

let at = 0

function varint(bytes: Uint8Array): number {
  let value = 0
  let scale = 1
  for (;;) {
    const byte = bytes[at++]!
    value += (byte & 127) * scale
    if (byte < 128) return value
    scale *= 128
  }
}

/** Adds a StreamMessage's flows, which stand first in it, to `counts`. Gives where the rest begins. */
export function countFrame(bytes: Uint8Array, counts: FrameCounts): number {
  at = 0
  while (at < bytes.length && bytes[at] === FLOWS) {
    at++
    const length = varint(bytes)
    countFlow(bytes, at + length, counts)
  }
  return at
}

function countFlow(bytes: Uint8Array, end: number, counts: FrameCounts): void {
  let event = 0
  let protocol = 0
  while (at < end) {
    const tag = varint(bytes)
    const field = tag >>> 3
    if ((tag & 7) === 0) {
      if (field === 3) event = varint(bytes)
      else if (field === 9) protocol = varint(bytes)
      else while (bytes[at++]! > 127);
      continue
    }
    // every other field of Flow is of this kind
    if ((tag & 7) !== 2) throw new Error(`field ${field} is neither a number nor bytes`)
    const next = varint(bytes) + at
    // forward and reverse: `packets` is their first field, left out when it is 0
    if ((field === 15 || field === 16) && at < next && bytes[at] === 0x08) {
      at++
      counts.packets += varint(bytes)
    }
    at = next
  }
  counts.records++
  const name = protocol === TCP ? 'tcp' : protocol === UDP ? 'udp' : undefined
  if (name === undefined) return
  if (event === OPENED) counts.opened[name]++
  else if (event === CLOSED) counts.closed[name]++
}
