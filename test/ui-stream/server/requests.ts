// Plain HTTP requests to a StreamServer, for tests.

import { request } from 'node:http'
import { WebSocket } from 'ws'
import type { StreamServer } from '../../../ui-stream/server/server.js'

export interface Answer {
  status: number
  body: string
  type: string | undefined
}

/** One plain request, with any Host header. */
export function get(
  server: StreamServer,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<Answer> {
  const [host, port] = server.address.split(':')
  return new Promise((resolve, reject) => {
    const req = request({ host, port: Number(port), path, headers, method }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        body += part
      })
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body, type: response.headers['content-type'] })
      })
    })
    req.on('error', reject)
    req.end()
  })
}

/** The HTTP answer to an upgrade that is refused. */
export function refused(server: StreamServer, path: string, offer: string[], headers = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${server.address}${path}`, offer, { headers })
    socket.on('open', () => reject(new Error('was accepted')))
    socket.on('error', () => {})
    socket.on('unexpected-response', (_request, response) => {
      let body = ''
      response.on('data', (part: Buffer) => {
        body += part.toString()
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, type: undefined }))
    })
  })
}
