// The plain HTTP side of the listener: status, metrics, health and the page at /. Reads state; changes none.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { describeError } from '../../agent/errors.js'
import type { StatusMessage } from '../protocol/messages.js'
import { Path } from '../protocol/names.js'
import { statusToJson } from '../protocol/status-json.js'
import type { Admission, Grant } from './auth/grant.js'
import { scopedStatus } from './auth/scoped-status.js'
import type { StreamMetrics } from './metrics.js'
import { PAGE_HEADERS } from './page-headers.js'
import { checkHost, checkOrigin, type Refusal } from './request-guard.js'

export interface PageContext {
  readonly status: () => readonly StatusMessage[]
  /** One agent's state stands alone; a gateway's are a list. */
  readonly single: () => boolean
  readonly ready: () => boolean
  readonly metrics: StreamMetrics
  /** Decides who may read. */
  readonly admit: (request: IncomingMessage) => Promise<Admission>
  /** The answer to POST /v1/ticket. */
  readonly ticket: (request: IncomingMessage, grant: Grant) => object
}

const ROOT_PAGE = `vethflow: who talks to whom

${Path.FLOWS}    flows, by WebSocket (vethflow.v1.json, vethflow.v1.protobuf)
${Path.STATUS}   state, as JSON
${Path.METRICS}     for Prometheus
${Path.HEALTH}     the process works
${Path.READY}      attached, and names known

vethflow tail shows the flows in a terminal.
`

const WHOLE_ONLY: Refusal = {
  status: 403,
  message: 'This needs the right to get pods in all namespaces',
}

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
  const path = (request.url ?? '/').split('?', 1)[0]
  const methods = path === Path.TICKET ? ['POST'] : ['GET', 'HEAD']
  if (!methods.includes(request.method ?? '')) {
    response.setHeader('Allow', methods.join(', '))
    return sendText(response, 405, `Only ${methods[0]} is allowed\n`)
  }
  // Probes come from the kubelet by pod address and carry no token.
  if (path === Path.HEALTH) return sendText(response, 200, 'ok\n')
  if (path === Path.READY) {
    const ready = context.ready()
    return sendText(response, ready ? 200 : 503, ready ? 'ready\n' : 'not ready\n')
  }
  const strayed = checkHost(request) ?? checkOrigin(request)
  if (strayed !== undefined) return refuse(response, strayed)
  // A page asks for the token itself: browsers send none when they load it. It tells nothing.
  if (path === Path.ROOT) return sendText(response, 200, ROOT_PAGE)
  const admission = await context.admit(request)
  if ('refusal' in admission) return refuse(response, admission.refusal)
  const { grant } = admission
  if (path === Path.TICKET) {
    if (hasBody(request))
      return refuse(response, { status: 413, message: 'A ticket is asked for without a body' })
    return sendJson(response, context.ticket(request, grant))
  }
  if (path === Path.STATUS) {
    const all = context.status()
    const states = (grant.scope === undefined ? all : [scopedStatus(all)]).map(statusToJson)
    return sendJson(response, context.single() ? (states[0] ?? {}) : { agents: states })
  }
  if (path === Path.FLOWS) {
    response.setHeader('Upgrade', 'websocket')
    return sendText(response, 426, `${Path.FLOWS} is a WebSocket\n`)
  }
  // What follows tells of the whole node or cluster.
  if (grant.scope !== undefined) return refuse(response, WHOLE_ONLY)
  if (path === Path.METRICS) {
    const { registry } = context.metrics
    return send(response, 200, registry.contentType, await registry.metrics())
  }
  sendText(response, 404, `There is nothing at ${JSON.stringify((path ?? '').slice(0, 80))}; see /\n`)
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

function refuse(response: ServerResponse, { status, message, headers }: Refusal): void {
  for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, value)
  // Whoever is refused may still be sending.
  response.setHeader('Connection', 'close')
  sendText(response, status, `${message}\n`)
}

export function sendText(response: ServerResponse, status: number, text: string): void {
  send(response, status, 'text/plain; charset=utf-8', text)
}

function sendJson(response: ServerResponse, value: unknown): void {
  send(response, 200, 'application/json; charset=utf-8', `${JSON.stringify(value, null, 2)}\n`)
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    ...PAGE_HEADERS,
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
  })
  response.end(body)
}
