// A flow as somebody sees it who may see some namespaces only: everything of his own end, and of the other end its
// namespace, workload and address. What is not named here is left out, so that a new field hides until somebody decides.

import type { EndpointMessage, FlowMessage, ServiceMessage } from '../../protocol/messages.js'

export interface MaskContext {
  readonly sees: (namespace: string) => boolean
  /** Stands for an id: numbers of connections say how many there are. */
  readonly alias: (agentId: string, id: number) => number
}

/** The flow as it may be shown; undefined when neither end may be seen. */
export function maskFlow(flow: FlowMessage, { sees, alias }: MaskContext): FlowMessage | undefined {
  const visible = (end: EndpointMessage | null | undefined): boolean =>
    !!end?.namespace && sees(end.namespace)
  const { source, destination } = flow
  const seesSource = visible(source)
  const seesDestination = visible(destination)
  if (!seesSource && !seesDestination) return undefined
  const both = seesSource && seesDestination
  // Where a flow was captured says on which node its other end is, unless that is his own end's node.
  const nodes = new Set(
    [seesSource && source?.nodeName, seesDestination && destination?.nodeName].filter(Boolean),
  )
  const here = nodes.has(flow.nodeName ?? '')
  const { event, timeUs, startTimeUs, endTimeUs, ipVersion, protocol, forward, reverse, verdict } = flow
  const { tcp, dns, icmp, initiatorInferred, own, endReason } = flow
  return {
    id: alias(flow.agentId ?? '', flow.id ?? 0),
    ...defined({ event, timeUs, startTimeUs, endTimeUs, ipVersion, protocol, forward, reverse, verdict }),
    ...defined({ tcp, dns, icmp, initiatorInferred, own, endReason }),
    ...(here && defined({ agentId: flow.agentId, nodeName: flow.nodeName, direction: flow.direction })),
    ...(source && { source: seesSource ? source : maskEndpoint(source) }),
    ...(destination && { destination: seesDestination ? destination : maskEndpoint(destination) }),
    ...(flow.service && { service: maskService(flow.service, sees) }),
    ...translationOf(flow, seesSource),
    ...(flow.drop && { drop: maskDrop(flow.drop, both && here, sees) }),
    ...(flow.policies?.length && {
      policies: flow.policies.filter(({ namespace }) => namespace && sees(namespace)),
    }),
    ...(both && here && defined({ tunnel: flow.tunnel, observations: flow.observations })),
    ...(flow.views?.length && { views: flow.views.filter(({ nodeName }) => nodes.has(nodeName ?? '')) }),
  }
}

function maskEndpoint({ kind, ip, port, namespace, workload }: EndpointMessage): EndpointMessage {
  return defined({ kind, ip, port, namespace, workload })
}

function maskService(service: ServiceMessage, sees: (namespace: string) => boolean): ServiceMessage {
  const { namespace, ip, port } = service
  return namespace && sees(namespace) ? service : defined({ namespace, ip, port })
}

/** What the other end was translated to is its node's address, as a rule. */
function translationOf(flow: FlowMessage, seesSource: boolean): Partial<FlowMessage> {
  if (!flow.translation) return {}
  const { sourceIp, sourcePort, destinationIp, destinationPort } = flow.translation
  const translation = {
    ...(seesSource && defined({ sourceIp, sourcePort })),
    ...defined({ destinationIp, destinationPort }),
  }
  return Object.keys(translation).length === 0 ? {} : { translation }
}

function maskDrop(
  drop: NonNullable<FlowMessage['drop']>,
  whole: boolean,
  sees: (namespace: string) => boolean,
): NonNullable<FlowMessage['drop']> {
  const policies = drop.policies?.filter(({ namespace }) => namespace && sees(namespace))
  const { reason, packets } = drop
  return { ...(whole ? drop : defined({ reason, packets })), ...(policies && { policies }) }
}

/** Without the fields that are absent. */
function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }
}
