// The plain HTTP side of the listener: status, metrics, health and the page at /. Reads state; changes none.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { describeError } from '../../agent/errors.js'
import type { StatusMessage } from '../protocol/messages.js'
import { Path } from '../protocol/names.js'
import { statusToJson } from '../protocol/status-json.js'
import type { StreamMetrics } from './metrics.js'
import { checkHost, type Refusal } from './request-guard.js'

/** Decides who may read; undefined lets the request pass. */
export type Authorize = (request: IncomingMessage) => Promise<Refusal | undefined> | Refusal | undefined

export interface PageContext {
  readonly status: () => readonly StatusMessage[]
  /** One agent's state stands alone; a gateway's are a list. */
  readonly single: () => boolean
  readonly ready: () => boolean
  readonly metrics: StreamMetrics
  readonly authorize: Authorize
}

const ROOT_PAGE = `vethflow: who talks to whom

${Path.FLOWS}    flows, by WebSocket (vethflow.v1.json, vethflow.v1.protobuf)
${Path.STATUS}   state, as JSON
${Path.METRICS}     for Prometheus
${Path.HEALTH}     the process works
${Path.READY}      attached, and names known

vethflow tail shows the flows in a terminal.
`

/** Answers one request. Never throws. */
export async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  context: PageContext,
): Promise<void> {
  try {
    await route(request, response, context)
  } catch (error) {
    if (!response.headersSent)
      sendText(response, 500, `The answer could not be made: ${describeError(error)}\n`)
    else response.destroy()
  }
}

async function route(
  request: IncomingMessage,
  response: ServerResponse,
  context: PageContext,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD')
    return sendText(response, 405, 'Only GET is allowed\n')
  }
  const path = (request.url ?? '/').split('?', 1)[0]
  // Probes come from the kubelet by pod address and carry no token.
  if (path === Path.HEALTH) return sendText(response, 200, 'ok\n')
  if (path === Path.READY) {
    const ready = context.ready()
    return sendText(response, ready ? 200 : 503, ready ? 'ready\n' : 'not ready\n')
  }
  const refusal = checkHost(request) ?? (await context.authorize(request))
  if (refusal !== undefined) return sendText(response, refusal.status, `${refusal.message}\n`)
  if (path === Path.ROOT) return sendText(response, 200, ROOT_PAGE)
  if (path === Path.STATUS) {
    const states = context.status().map(statusToJson)
    const body = context.single() ? (states[0] ?? {}) : { agents: states }
    return send(response, 200, 'application/json; charset=utf-8', `${JSON.stringify(body, null, 2)}\n`)
  }
  if (path === Path.METRICS) {
    const { registry } = context.metrics
    return send(response, 200, registry.contentType, await registry.metrics())
  }
  if (path === Path.FLOWS) {
    response.setHeader('Upgrade', 'websocket')
    return sendText(response, 426, `${Path.FLOWS} is a WebSocket\n`)
  }
  sendText(response, 404, `There is nothing at ${JSON.stringify((path ?? '').slice(0, 80))}; see /\n`)
}

export function sendText(response: ServerResponse, status: number, text: string): void {
  send(response, status, 'text/plain; charset=utf-8', text)
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  })
  response.end(body)
}
