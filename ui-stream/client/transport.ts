// The seam between the feed and the platform: how one WebSocket is opened, read and held back. Types only.

/** Who a client is in TLS: PEM texts. */
export interface ClientIdentity {
  readonly cert: string
  readonly key: string
}

/** What a platform is asked to open. */
export interface DialRequest {
  readonly url: URL
  readonly subprotocol: string
  /** Sent as bearer token; where the platform cannot set headers, exchanged for a ticket first. Never in a URL. */
  readonly token: string | undefined
  /** PEM of the authorities to trust beside nothing else; Node only. */
  readonly ca: string | undefined
  /** PEM of a certificate and its key to show; Node only. */
  readonly identity?: ClientIdentity | undefined
  /** The name to find in the server's certificate, where the URL has an address; Node only. */
  readonly serverName?: string | undefined
}

/** What the platform tells. After `closed` nothing more comes. */
export interface DialEvents {
  opened(): void
  /** One binary frame, inflated where the subprotocol says that it is compressed. The bytes belong to the receiver. */
  frame(bytes: Uint8Array): void
  closed(end: ConnectionEnd): void
}

/** How a connection ended. */
export interface ConnectionEnd {
  /** RFC 6455 close code; 1006 when there was none. */
  readonly code: number
  readonly reason: string
  /** HTTP status where the server refused to open a WebSocket. */
  readonly httpStatus?: number
  /** What lies beneath, e.g. ECONNREFUSED. */
  readonly cause?: unknown
}

/** An open or opening connection. */
export interface Connection {
  /** True when `pause` keeps the peer from sending more. A browser cannot. */
  readonly canPause: boolean
  /** Sends one binary frame; nothing while the connection is not open. */
  send(frame: Uint8Array): void
  pause(): void
  resume(): void
  /** Ends it at once; `closed` may or may not follow. */
  close(): void
}

/** Opens a WebSocket. Never throws: what fails comes as `closed`. */
export type Dial = (request: DialRequest, events: DialEvents) => Connection
