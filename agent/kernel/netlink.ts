// Netlink (linux/netlink.h): a socket, requests and dumps, messages and attributes as bytes. It knows no family of
// messages; rtnetlink's live in link-message.ts, route-message.ts and traffic-control.ts.

import { closeSync } from 'node:fs'
import { VethflowError } from '../errors.js'
import { Errno, errno, errnoName, kernelError } from './ffi.js'
import { libc } from './libc.js'
import { permissionError } from './permission.js'

const AF_NETLINK = 16
const SOCK_RAW = 3
const SOCK_CLOEXEC = 0o2000000
const SOCK_NONBLOCK = 0o4000
const SOL_SOCKET = 1
const SO_RCVTIMEO = 20
const SO_RCVBUFFORCE = 33
const SOL_NETLINK = 270
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12
const MSG_TRUNC = 0x20

const NLMSG_ERROR = 2
/** netlink(7) protocol of rtnetlink. */
const NETLINK_ROUTE = 0
const NLMSG_DONE = 3
const HEADER_SIZE = 16
export const NLM_F_REQUEST = 1
export const NLM_F_ACK = 4
const NLM_F_DUMP_INTR = 0x10
const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200
const NLM_F_DUMP = 0x300
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
const NLMSGERR_ATTR_MSG = 1
const NLA_TYPE_MASK = 0x3fff

const RECEIVE_SIZE = 128 * 1024
const SUBSCRIPTION_BUFFER = 4 * 1024 * 1024
const MAX_DUMP_TRIES = 5
const MAX_REPLIES = 100_000

/** One message: its type and what follows the netlink header. The body is valid during the call only. */
export type MessageSink = (type: number, body: Buffer) => void

/** A refused request: `errno` positive, `text` what the kernel said of it (extended acknowledgement), or ''. */
export class NetlinkError extends VethflowError {
  readonly errno: number

  constructor(action: string, number: number, text: string) {
    super('NETLINK', `cannot ${action}${text === '' ? '' : `: ${text}`}`, {
      cause: new Error(errnoName(number)),
    })
    this.name = 'NetlinkError'
    this.errno = number
  }
}

/** A NETLINK_ROUTE socket of the network namespace this thread is in when it is opened. Closed by whoever opened it. */
export class NetlinkSocket {
  private fd: number
  private sequence = 0
  private readonly buffer = Buffer.alloc(RECEIVE_SIZE)

  private constructor(fd: number) {
    this.fd = fd
  }

  /** For requests and dumps: calls wait for the kernel's answer, which is there at once. */
  static open(protocol = NETLINK_ROUTE): NetlinkSocket {
    return NetlinkSocket.create(protocol, 0, 0, 0)
  }

  /** For notifications of the multicast `groups` (RTNLGRP_*): receive() never waits. */
  static subscribe(
    groups: readonly number[],
    bufferBytes = SUBSCRIPTION_BUFFER,
    protocol = NETLINK_ROUTE,
  ): NetlinkSocket {
    return NetlinkSocket.create(
      protocol,
      SOCK_NONBLOCK,
      groups.reduce((mask, group) => (mask | (1 << (group - 1))) >>> 0, 0),
      bufferBytes,
    )
  }

  private static create(protocol: number, flags: number, groups: number, bufferBytes: number): NetlinkSocket {
    const fd = libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, protocol)
    if (fd < 0) throw kernelError('NETLINK', 'open a netlink socket', errno())
    const socket = new NetlinkSocket(fd)
    const option = (level: number, name: number, value: Buffer): number =>
      libc().setsockopt(fd, level, name, value, value.length)
    const word = (value: number): Buffer => {
      const bytes = Buffer.alloc(4)
      bytes.writeUInt32LE(value)
      return bytes
    }
    option(SOL_NETLINK, NETLINK_EXT_ACK, word(1))
    if (protocol === NETLINK_ROUTE) option(SOL_NETLINK, NETLINK_GET_STRICT_CHK, word(1))
    if (groups === 0) {
      // A bug must not hang the agent: give up after two seconds.
      const timeval = Buffer.alloc(16)
      timeval.writeUInt32LE(2)
      option(SOL_SOCKET, SO_RCVTIMEO, timeval)
    } else option(SOL_SOCKET, SO_RCVBUFFORCE, word(bufferBytes))
    const own = Buffer.alloc(12)
    own.writeUInt16LE(AF_NETLINK)
    own.writeUInt32LE(groups, 8)
    if (libc().bind(fd, own, own.length) !== 0) {
      const number = errno()
      socket.close()
      throw kernelError('NETLINK', 'bind a netlink socket', number)
    }
    return socket
  }

  /**
   * Asks the kernel to `action` and waits for its acknowledgement; replies before that go to `sink`. Throws
   * NetlinkError, or NO_PERMISSION.
   */
  request(action: string, type: number, flags: number, body: Buffer, sink?: MessageSink): void {
    const sequence = this.send(action, type, NLM_F_REQUEST | NLM_F_ACK | flags, body)
    this.replies(action, sequence, sink)
  }

  /**
   * Asks for all objects of a kind. `sink` gets each; `restart` is called first, and again when the kernel says that
   * they changed meanwhile and the dump begins anew.
   */
  dump(action: string, type: number, body: Buffer, restart: () => void, sink: MessageSink): void {
    for (let tries = 0; tries < MAX_DUMP_TRIES; tries++) {
      restart()
      const sequence = this.send(action, type, NLM_F_REQUEST | NLM_F_DUMP, body)
      if (!this.replies(action, sequence, sink)) return
    }
    // It still changes: what the last try gave is good enough, notifications will tell the rest.
  }

  /**
   * Takes what has been notified, at most `limit` datagrams. 'idle' when nothing is waiting, 'lost' when the kernel had
   * to drop notifications, 'more' when the limit was reached.
   */
  receive(limit: number, sink: MessageSink): 'idle' | 'more' | 'lost' {
    for (let taken = 0; taken < limit; taken++) {
      const length = libc().recv(this.fd, this.buffer, this.buffer.length, MSG_TRUNC)
      if (length < 0) {
        const number = errno()
        if (number === Errno.EINTR) continue
        if (number === Errno.EAGAIN) return 'idle'
        if (number === Errno.ENOBUFS) return 'lost'
        throw kernelError('NETLINK', 'receive notifications', number)
      }
      if (length > this.buffer.length) return 'lost'
      eachMessage(this.buffer.subarray(0, length), (header, message) => sink(header.type, message))
    }
    return 'more'
  }

  /** Idempotent. */
  close(): void {
    if (this.fd < 0) return
    closeSync(this.fd)
    this.fd = -1
  }

  private send(action: string, type: number, flags: number, body: Buffer): number {
    const message = Buffer.alloc(HEADER_SIZE + body.length)
    this.sequence = (this.sequence + 1) >>> 0
    message.writeUInt32LE(message.length, 0)
    message.writeUInt16LE(type, 4)
    message.writeUInt16LE(flags, 6)
    message.writeUInt32LE(this.sequence, 8)
    body.copy(message, HEADER_SIZE)
    if (libc().send(this.fd, message, message.length, 0) !== message.length)
      throw kernelError('NETLINK', action, errno())
    return this.sequence
  }

  /** Reads replies up to the end or the acknowledgement. True when the dump was interrupted by a change. */
  private replies(action: string, sequence: number, sink?: MessageSink): boolean {
    let interrupted = false
    let done = false
    for (let count = 0; !done && count < MAX_REPLIES; count++) {
      const length = libc().recv(this.fd, this.buffer, this.buffer.length, MSG_TRUNC)
      if (length < 0) {
        const number = errno()
        if (number === Errno.EINTR) continue
        throw kernelError('NETLINK', action, number)
      }
      if (length > this.buffer.length) throw new NetlinkError(action, Errno.ENOBUFS, 'the answer is too long')
      eachMessage(this.buffer.subarray(0, length), (header, body) => {
        if (header.sequence !== sequence || done) return
        if ((header.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true
        if (header.type === NLMSG_DONE || header.type === NLMSG_ERROR) {
          done = true
          const number = body.length >= 4 ? -body.readInt32LE(0) : 0
          if (number > 0) throw refusal(action, number, header, body)
        } else sink?.(header.type, body)
      })
    }
    return interrupted
  }
}

interface Header {
  readonly type: number
  readonly flags: number
  readonly sequence: number
}

function eachMessage(bytes: Buffer, sink: (header: Header, body: Buffer) => void): void {
  for (let at = 0; at + HEADER_SIZE <= bytes.length; ) {
    const length = bytes.readUInt32LE(at)
    if (length < HEADER_SIZE || at + length > bytes.length) return
    sink(
      {
        type: bytes.readUInt16LE(at + 4),
        flags: bytes.readUInt16LE(at + 6),
        sequence: bytes.readUInt32LE(at + 8),
      },
      bytes.subarray(at + HEADER_SIZE, at + length),
    )
    at += align(length)
  }
}

function refusal(action: string, number: number, header: Header, body: Buffer): VethflowError {
  let text = ''
  if (header.type === NLMSG_ERROR && (header.flags & NLM_F_ACK_TLVS) !== 0 && body.length >= 20) {
    // struct nlmsgerr: the error, then the request's header, and its body too unless capped.
    const echoed = (header.flags & NLM_F_CAPPED) !== 0 ? HEADER_SIZE : align(body.readUInt32LE(4))
    text = stringOf(attributes(body, 4 + echoed).get(NLMSGERR_ATTR_MSG))
  }
  if (number === Errno.EPERM) return permissionError(action, ['CAP_NET_ADMIN'], new Error(text || 'EPERM'))
  return new NetlinkError(action, number, text)
}

function align(length: number): number {
  return (length + 3) & ~3
}

/** The attributes of `bytes` from `offset` on, by type. Of attributes that come twice the last one is taken. */
export function attributes(bytes: Buffer | undefined, offset = 0): Map<number, Buffer> {
  const found = new Map<number, Buffer>()
  if (bytes === undefined) return found
  for (let at = offset; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at)
    if (length < 4 || at + length > bytes.length) break
    found.set(bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length))
    at += align(length)
  }
  return found
}

/** One attribute with its padding. */
export function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(align(4 + value.length))
  bytes.writeUInt16LE(4 + value.length, 0)
  bytes.writeUInt16LE(type, 2)
  bytes.set(value, 4)
  return bytes
}

/** An attribute holding a zero-terminated string. */
export function stringAttribute(type: number, text: string): Buffer {
  return attribute(type, Buffer.from(`${text}\0`))
}

/** An attribute holding a word in host order. */
export function wordAttribute(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return attribute(type, bytes)
}

/** The text of a zero-terminated string attribute; '' for undefined. */
export function stringOf(value: Buffer | undefined): string {
  if (value === undefined) return ''
  const end = value.indexOf(0)
  return value.toString('utf8', 0, end < 0 ? value.length : end)
}

/** The word in host order; undefined when the attribute is absent or too short. */
export function wordOf(value: Buffer | undefined): number | undefined {
  return value !== undefined && value.length >= 4 ? value.readUInt32LE(0) : undefined
}
