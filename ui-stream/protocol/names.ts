// Names, numbers and limits of the stream that server and clients share (docs/protocol.md). Values only; runs in
// browsers, so it imports nothing of Node.

/** Port of the agent's and the gateway's listener unless told otherwise. */
export const DEFAULT_PORT = 4280

/** Paths of the one HTTP listener. */
export const Path = {
  FLOWS: '/v1/flows',
  STATUS: '/v1/status',
  /** POST: a ticket for a browser's WebSocket. */
  TICKET: '/v1/ticket',
  METRICS: '/metrics',
  HEALTH: '/healthz',
  READY: '/readyz',
  ROOT: '/',
} as const

/** WebSocket subprotocols (RFC 6455, 1.9), by how frames are written. */
export const Subprotocol = {
  PROTOBUF: 'vethflow.v1.protobuf',
  /** The server's frames are compressed, each as a whole (zlib, RFC 1950); the client's are not. */
  DEFLATE: 'vethflow.v1.protobuf+deflate',
  JSON: 'vethflow.v1.json',
} as const
export type Subprotocol = (typeof Subprotocol)[keyof typeof Subprotocol]

/** The subprotocol of a client that offers none. */
export const DEFAULT_SUBPROTOCOL: Subprotocol = Subprotocol.JSON

/** WebSocket close codes that the server uses (RFC 6455, 7.4.1; 1013 from the IANA registry). */
export const CloseCode = {
  /** What was asked for has been sent: history without `follow`, or `until` has passed. */
  DONE: 1000,
  /** The server stops. Connect again later, with the cursor. */
  GOING_AWAY: 1001,
  /** A frame could not be understood. An error frame went before. */
  PROTOCOL_ERROR: 1002,
  /** The query was refused; the same query will be refused again. An error frame went before. */
  POLICY: 1008,
  /** A client's frame is larger than MAX_CLIENT_FRAME_BYTES. */
  TOO_BIG: 1009,
  /** Too many clients. Connect again later. */
  TRY_LATER: 1013,
} as const

/** Codes of error frames. A client shows `message`; it may act on these. */
export const ErrorCode = {
  BAD_FILTER: 'BAD_FILTER',
  BAD_QUERY: 'BAD_QUERY',
  BAD_CURSOR: 'BAD_CURSOR',
  BAD_MESSAGE: 'BAD_MESSAGE',
  TOO_MANY_CLIENTS: 'TOO_MANY_CLIENTS',
  /** What the client may see has become less, or nothing. Followed by close 1008; connecting again shows what is left. */
  ACCESS_REVOKED: 'ACCESS_REVOKED',
} as const

/** Largest frame that a client may send. */
export const MAX_CLIENT_FRAME_BYTES = 64 * 1024
/** Largest frame that a server sends, inflated where it is compressed, so that clients can bound what they accept. */
export const MAX_SERVER_FRAME_BYTES = 4 * 1024 * 1024
/** The server pings this often; a client that hears nothing for twice as long may take the connection for dead. */
export const PING_INTERVAL_MS = 30_000
/** Largest 64-bit number that travels (docs/contract.md: all below 2^53). */
export const MAX_NUMBER = Number.MAX_SAFE_INTEGER
