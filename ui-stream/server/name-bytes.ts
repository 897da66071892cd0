// Protobuf bytes of names, made once per Name or ServiceName object and kept as long as the object lives: such objects
// are immutable and shared by all records that speak of the same thing.

import type { Name, ServiceName } from '../../agent/identity/names.js'
import { ByteWriter } from './byte-writer.js'

const endpoints = new WeakMap<Name, Uint8Array>()
const labels = new WeakMap<Name, Uint8Array>()
const services = new WeakMap<ServiceName, { readonly head: Uint8Array; readonly tail: Uint8Array }>()
const NOTHING = new Uint8Array(0)

/** Fields 4 to 12 of Endpoint without 10 (labels): all that follows kind, ip and port. */
export function endpointTail(name: Name): Uint8Array {
  let bytes = endpoints.get(name)
  if (bytes === undefined) {
    bytes = encodeEndpointTail(name)
    endpoints.set(name, bytes)
  }
  return bytes
}

/** Field 10 of Endpoint, labels: what clients get that ask for them. */
export function labelFields(name: Name): Uint8Array {
  if (name.labels === undefined) return NOTHING
  let bytes = labels.get(name)
  if (bytes === undefined) {
    const writer = new ByteWriter(256)
    for (const [key, value] of Object.entries(name.labels)) message(writer, 0x52, labelEntry(key, value))
    bytes = writer.take()
    labels.set(name, bytes)
  }
  return bytes
}

function encodeEndpointTail(name: Name): Uint8Array {
  const writer = new ByteWriter(256)
  writer.text(0x22, name.namespace)
  writer.text(0x2a, name.pod)
  if (name.workload !== undefined) {
    const workload = new ByteWriter(64)
    workload.text(0x0a, name.workload.kind)
    workload.text(0x12, name.workload.name)
    message(writer, 0x32, workload)
  }
  writer.text(0x3a, name.nodeName)
  writer.text(0x42, name.zone)
  writer.text(0x4a, name.group)
  for (const text of name.names ?? []) writer.text(0x5a, text)
  if (name.process !== undefined) {
    const process = new ByteWriter(96)
    process.reserve(16)
    process.field(0x08, name.process.pid ?? 0)
    process.text(0x12, name.process.command)
    process.text(0x1a, name.process.container)
    message(writer, 0x62, process)
  }
  return writer.position === 0 ? NOTHING : writer.take()
}

/** Map entries carry key and value also when they are empty, as protobufjs writes them. */
function labelEntry(key: string, value: string): ByteWriter {
  const entry = new ByteWriter(64)
  for (const [tag, text] of [
    [0x0a, key],
    [0x12, value],
  ] as const) {
    if (text !== '') entry.text(tag, text)
    else {
      entry.reserve(2)
      entry.byte(tag)
      entry.byte(0)
    }
  }
  return entry
}

function message(writer: ByteWriter, tag: number, body: ByteWriter): void {
  writer.reserve(body.position + 12)
  writer.byte(tag)
  writer.varint(body.position)
  writer.copy(body.bytes.subarray(0, body.position))
}

/** Service fields 1 to 4, and 7: what stands before and behind ip and port. */
export function serviceParts(name: ServiceName): { readonly head: Uint8Array; readonly tail: Uint8Array } {
  let parts = services.get(name)
  if (parts === undefined) {
    const head = new ByteWriter(128)
    head.text(0x0a, name.namespace)
    head.text(0x12, name.name)
    head.text(0x1a, name.type)
    head.text(0x22, name.portName)
    const tail = new ByteWriter(64)
    for (const ingress of name.ingresses ?? []) tail.text(0x3a, ingress)
    parts = { head: head.take(), tail: tail.take() }
    services.set(name, parts)
  }
  return parts
}
