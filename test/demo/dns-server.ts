// A small DNS server (RFC 1035) for the demo's cluster: answers A questions from a table of names, NXDOMAIN otherwise.
// Usage: node dns-server.js TABLE.json ADDRESS:PORT, where the table is { "name": "a.b.c.d" }; prints "READY PORT".
// UDP only, one question a message, no recursion.

import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'

const HEADER = 12
const TYPE_A = 1
const CLASS_IN = 1
const TTL_SECONDS = 30
const RCODE = { none: 0, formatError: 1, nameError: 3, notImplemented: 4 }

/** The question of a query, or undefined when it is malformed or has more than one. */
function questionOf(query: Buffer): { name: string; type: number; end: number } | undefined {
  if (query.length < HEADER || query.readUInt16BE(4) !== 1) return undefined
  const labels: string[] = []
  let at = HEADER
  for (;;) {
    const length = query[at]
    if (length === undefined || length > 63) return undefined // a compressed name has no place in a question
    at++
    if (length === 0) break
    if (at + length > query.length || at - HEADER > 255) return undefined
    labels.push(query.toString('latin1', at, at + length))
    at += length
  }
  if (at + 4 > query.length || query.readUInt16BE(at + 2) !== CLASS_IN) return undefined
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at), end: at + 4 }
}

/** The answer to one query; undefined for what is no query at all. */
export function answer(query: Buffer, table: ReadonlyMap<string, string>): Buffer | undefined {
  if (query.length < HEADER || ((query[2] ?? 0) & 0x80) !== 0) return undefined
  const opcode = ((query[2] ?? 0) >> 3) & 0xf
  const question = questionOf(query)
  const address = question === undefined ? undefined : table.get(question.name)
  const answers = question?.type === TYPE_A && address !== undefined ? 1 : 0
  let code = RCODE.none
  if (opcode !== 0) code = RCODE.notImplemented
  else if (question === undefined) code = RCODE.formatError
  else if (address === undefined) code = RCODE.nameError
  const header = Buffer.alloc(HEADER)
  query.copy(header, 0, 0, 2)
  header[2] = 0x84 | ((query[2] ?? 0) & 0x79) // response, authoritative; opcode and RD as asked
  header[3] = code
  header.writeUInt16BE(question === undefined ? 0 : 1, 4)
  header.writeUInt16BE(answers, 6)
  const parts: Buffer[] = [header]
  if (question !== undefined) parts.push(query.subarray(HEADER, question.end))
  if (answers === 1 && address !== undefined) {
    const record = Buffer.alloc(16)
    record.writeUInt16BE(0xc000 | HEADER, 0) // the name of the question
    record.writeUInt16BE(TYPE_A, 2)
    record.writeUInt16BE(CLASS_IN, 4)
    record.writeUInt32BE(TTL_SECONDS, 6)
    record.writeUInt16BE(4, 10)
    record.set(address.split('.').map(Number), 12)
    parts.push(record)
  }
  return Buffer.concat(parts)
}

function main(file: string, listen: string): void {
  const table = new Map(Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>))
  const [address = '0.0.0.0', port = '53'] = listen.split(':')
  const socket = createSocket('udp4')
  socket.on('message', (query, { address, port }) => {
    const response = answer(query, table)
    if (response !== undefined) socket.send(response, port, address, () => undefined)
  })
  socket.bind(Number(port), address, () => console.log(`READY ${socket.address().port}`))
}

const [, script = '', file, listen] = process.argv
if (script.endsWith('dns-server.js') && file !== undefined && listen !== undefined) main(file, listen)
