// The two ends of a flow in words: who, and the service in between. Shortens so that what tells pods apart stays.

import { formatAddress } from '../protocol/address.js'
import {
  EndpointKind,
  type EndpointMessage,
  type FlowMessage,
  type ServiceMessage,
} from '../protocol/messages.js'
import { safe, shorten, width } from './text.js'

/** Least columns that a namespace or a pod name is cut to. */
const LEAST = 5

/** Who an end is, without port: `shop/web-5d8-x2k`, `node/n1`, `example.com`, or the address. */
export function endName(end: EndpointMessage | null | undefined): string {
  if (end == null) return '?'
  if (end.kind === EndpointKind.ENDPOINT_KIND_POD && end.pod) return qualified(end.namespace, end.pod)
  if (end.kind === EndpointKind.ENDPOINT_KIND_NODE && end.nodeName) return `node/${safe(end.nodeName)}`
  return addressOrName(end)
}

function addressOrName(end: EndpointMessage): string {
  const name = end.names?.[0]
  if (name) return safe(name)
  const address = end.ip == null ? undefined : formatAddress(end.ip)
  if (address === undefined) return '?'
  return end.ip?.length === 16 ? `[${address}]` : address
}

function qualified(namespace: string | null | undefined, name: string): string {
  return namespace ? `${safe(namespace)}/${safe(name)}` : safe(name)
}

/** `:port`, or nothing where a protocol has none. */
function portText(port: number | null | undefined): string {
  return port ? `:${port}` : ''
}

/** An end with its port in at most `columns`; the port is never cut. */
export function fitEnd(end: EndpointMessage | null | undefined, columns: number): string {
  const port = portText(end?.port)
  return fitName(end, columns - port.length) + port
}

function fitName(end: EndpointMessage | null | undefined, columns: number, bare = false): string {
  if (end?.kind !== EndpointKind.ENDPOINT_KIND_POD || !end.pod) return shorten(endName(end), columns)
  const namespace = bare || !end.namespace ? '' : `${safe(end.namespace)}/`
  const pod = safe(end.pod)
  if (width(namespace) + width(pod) <= columns) return namespace + pod
  const brief = withoutHash(pod, end.workload?.name == null ? undefined : safe(end.workload.name))
  if (width(namespace) + width(brief) <= columns) return namespace + brief
  // The pod's name says more than the namespace: both give way, the namespace first.
  const spared = Math.max(Math.min(LEAST + 1, width(namespace)), columns - width(brief))
  const left =
    namespace === '' ? '' : `${shorten(namespace.slice(0, -1), Math.min(spared, width(namespace)) - 1)}/`
  // A name that has been shortened once would be cut at the wrong place.
  return left + (width(brief) <= columns - width(left) ? brief : shorten(pod, columns - width(left)))
}

/**
 * `web-859d8b7c4f-fgph8` of the workload `web` is `web-…-fgph8`: every pod of a ReplicaSet shares the part in the
 * middle, and the last one is the pod's own.
 */
function withoutHash(pod: string, workload: string | undefined): string {
  const last = pod.lastIndexOf('-')
  if (workload !== undefined && pod.startsWith(`${workload}-`)) {
    return last > workload.length + 2 ? `${workload}-…${pod.slice(last)}` : pod
  }
  const hash = /^(.*)-[a-z0-9]{8,10}(-[a-z0-9]{5})$/.exec(pod)
  return hash === null ? pod : `${hash[1]}-…${hash[2]}`
}

/** What the client addressed, without port. */
export function serviceName(service: ServiceMessage): string {
  return qualified(service.namespace, service.name ?? '')
}

/**
 * The answering side in at most `columns`: the service that was addressed with whoever answered in brackets,
 * `shop/web:80 (web-…-fgph8:8080)`, or the end alone where no service stood between.
 */
export function fitDestination(flow: FlowMessage, columns: number): string {
  const service = flow.service
  const end = flow.destination
  if (service == null || !service.name) return fitEnd(end, columns)
  const port = portText(service.port)
  const name = serviceName(service)
  const full = name + port
  const answering =
    end == null || (end.kind !== EndpointKind.ENDPOINT_KIND_POD && end.ip == null) ? undefined : end
  if (answering === undefined) return shorten(name, columns - port.length) + port
  const ownPort = answering.port === service.port ? '' : portText(answering.port)
  const bare = answering.namespace === service.namespace
  const fixed = 3 + ownPort.length
  const wanted = width(fitName(answering, 253, bare))
  const brief =
    answering.kind === EndpointKind.ENDPOINT_KIND_POD && answering.pod
      ? width(withoutHash(safe(answering.pod), answering.workload?.name ?? undefined))
      : wanted
  // Columns for the name of whoever answered: all it wants if there is room, at least half of the rest otherwise.
  const room = columns - fixed - width(full)
  const half = Math.floor((columns - fixed - port.length) / 2)
  const inner = Math.min(wanted, Math.max(room, Math.min(brief, half)))
  const outer = columns - fixed - inner - port.length
  return `${shorten(name, outer)}${port} (${fitName(answering, inner, bare)}${ownPort})`
}

/** An end in full for the wide form: name, address where the name is not one, port, workload. */
export function fullEnd(end: EndpointMessage | null | undefined): string {
  if (end == null) return '?'
  const name = endName(end)
  const address = end.ip == null ? undefined : formatAddress(end.ip)
  const bracketed = address === undefined ? '' : end.ip?.length === 16 ? `[${address}]` : address
  const beside = bracketed === '' || bracketed === name ? '' : `(${bracketed})`
  return `${name}${beside}${portText(end.port)}`
}

/** A service in full for the wide form. */
export function fullService(service: ServiceMessage): string {
  const kind = service.type && service.type !== 'ClusterIP' ? ` ${safe(service.type)}` : ''
  return `${serviceName(service)}${portText(service.port)}${kind}`
}
