// Flows as they travel: encoded once, shared by history and all clients. A value; nobody changes it after it was made.

/** Records of one publish, each a complete `flows` field (tag, length, bytes) of StreamMessage, back to back. */
export interface EncodedBatch {
  readonly count: number
  readonly bytes: Uint8Array
  /** Record r is bytes[offsets[r] .. offsets[r + 1]]. count + 1 entries. */
  readonly offsets: Uint32Array
  /** `sequence` of record 0; record r has firstSequence + r. */
  readonly firstSequence: number
}
