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

/** Namespace and name in at most `columns`: the name says more, so the namespace gives way first. */
function fitQualified(namespace: string | null | undefined, name: string, columns: number): string {
  const full = qualified(namespace, name)
  if (width(full) <= columns || !namespace) return shorten(full, columns)
  const left = Math.max(LEAST, columns - width(safe(name)) - 1)
  const cut = shorten(safe(namespace), Math.min(left, columns - LEAST))
  return `${cut}/${shorten(safe(name), columns - width(cut) - 1)}`
}

/** The first of `forms` that fits into `columns`, or undefined. */
function firstThatFits(forms: readonly string[], columns: number): string | undefined {
  return forms.find((form) => width(form) <= columns)
}

/** A pod's name, and shorter ones that still tell it from others. The last is the part that is its own. */
function podForms(end: EndpointMessage): readonly string[] {
  const pod = safe(end.pod ?? '')
  const workload = end.workload?.name == null ? undefined : safe(end.workload.name)
  const brief = withoutHash(pod, workload)
  return brief === pod ? [pod] : [pod, brief, `…${pod.slice(pod.lastIndexOf('-'))}`]
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

function isPod(end: EndpointMessage): boolean {
  return end.kind === EndpointKind.ENDPOINT_KIND_POD && Boolean(end.pod)
}

/** An end in at most `columns` with its port, which is never cut. */
export function fitEnd(end: EndpointMessage | null | undefined, columns: number): string {
  if (end == null) return '?'
  const port = portText(end.port)
  if (!isPod(end)) return shorten(endName(end), columns - port.length) + port
  const [pod = '', brief = pod] = podForms(end)
  const forms = [pod, brief].map((name) => qualified(end.namespace, name) + port)
  const fits = firstThatFits(forms, columns)
  if (fits !== undefined) return fits
  // A name that has been shortened once would be cut at the wrong place.
  const left = columns - port.length
  return fitQualified(end.namespace, width(brief) + LEAST + 1 <= left ? brief : pod, left) + port
}

/** The opening side in at most `columns`. Its port is of a moment and goes before its name is cut. */
export function fitSource(end: EndpointMessage | null | undefined, columns: number): string {
  const bare = end == null ? end : { ...end, port: 0 }
  const withPort = fitEnd(end, columns)
  const without = fitEnd(bare, columns)
  // The same name with the port behind it, or else the better name.
  return withPort.startsWith(without) ? withPort : bestName(end, withPort, without)
}

function bestName(end: EndpointMessage | null | undefined, withPort: string, without: string): string {
  if (end == null || !isPod(end)) return without
  const [, brief] = podForms(end)
  return brief !== undefined && withPort.startsWith(`${qualified(end.namespace, brief)}:`)
    ? withPort
    : without
}

/** What the client addressed, without port. */
export function serviceName(service: ServiceMessage): string {
  return qualified(service.namespace, service.name ?? '')
}

/**
 * The answering side in at most `columns`: the service that was addressed with whoever answered in brackets,
 * `shop/web:80 (web-…-fgph8:8080)`, or the end alone where no service stood between. Where there is little room, the
 * answering port goes first, then all of the pod's name but its own part, then the middle of the service's name.
 */
export function fitDestination(flow: FlowMessage, columns: number): string {
  const service = flow.service
  const end = flow.destination
  if (service == null || !service.name) return fitEnd(end, columns)
  const port = portText(service.port)
  const outer = serviceName(service) + port
  const names = answering(service, end)
  const last = names.at(-1)
  if (end == null || last === undefined) {
    return fitQualified(service.namespace, service.name, columns - port.length) + port
  }
  const ownPort = end.port === service.port ? '' : portText(end.port)
  const forms = [...names.map((name) => name + ownPort), last].map((inner) => `${outer} (${inner})`)
  const fits = firstThatFits(forms, columns)
  if (fits !== undefined) return fits
  const inner = shorten(last, Math.max(LEAST, Math.floor((columns - 3 - port.length) / 2)))
  const left = columns - 3 - port.length - width(inner)
  return `${fitQualified(service.namespace, service.name, left)}${port} (${inner})`
}

/** Names of whoever answered for a service, longest first; none where that is the service's own address. */
function answering(service: ServiceMessage, end: EndpointMessage | null | undefined): readonly string[] {
  if (end == null) return []
  if (isPod(end)) {
    const forms = podForms(end)
    const elsewhere = end.namespace !== service.namespace
    return elsewhere ? [qualified(end.namespace, forms[0] ?? ''), ...forms] : forms
  }
  const own = end.ip == null || end.ip.length === 0
  const same = !own && service.ip != null && formatAddress(end.ip!) === formatAddress(service.ip)
  return own || same ? [] : [endName(end)]
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
