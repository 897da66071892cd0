// The generated protobuf messages under short names, as server and clients use them. Adds nothing to them.
// `FlowMessage` and the like are what encode() takes; decode() returns the same with defaults in the prototype.

import { vethflow } from '../../proto/gen/vethflow.js'

export const Flow = vethflow.v1.Flow
export const Endpoint = vethflow.v1.Endpoint
export const Tcp = vethflow.v1.Tcp
export const StreamMessage = vethflow.v1.StreamMessage
export const ClientMessage = vethflow.v1.ClientMessage
export const Event = vethflow.v1.Event
export const EndpointKind = vethflow.v1.EndpointKind
export const Direction = vethflow.v1.Direction
export const Verdict = vethflow.v1.Verdict
export const EndReason = vethflow.v1.EndReason
export const TcpState = vethflow.v1.TcpState
export const TunnelType = vethflow.v1.TunnelType
export const Way = vethflow.v1.Way
export const End = vethflow.v1.End
export const HookDirection = vethflow.v1.HookDirection
export const Stage = vethflow.v1.Stage
export const Unit = vethflow.v1.Unit

export type FlowMessage = vethflow.v1.Flow.$Properties
export type EndpointMessage = vethflow.v1.Endpoint.$Properties
export type ServiceMessage = vethflow.v1.Service.$Properties
export type CountersMessage = vethflow.v1.Counters.$Properties
export type PolicyMessage = vethflow.v1.Policy.$Properties
export type DropMessage = vethflow.v1.Drop.$Properties
export type ViewMessage = vethflow.v1.View.$Properties
export type TcpMessage = vethflow.v1.Tcp.$Properties
export type TunnelMessage = vethflow.v1.Tunnel.$Properties
export type LostMessage = vethflow.v1.Lost.$Properties
export type StatusMessage = vethflow.v1.Status.$Properties
export type HistoryMessage = vethflow.v1.History.$Properties
export type ErrorMessage = vethflow.v1.Error.$Properties
export type StreamMessageMessage = vethflow.v1.StreamMessage.$Properties
export type SubscribeMessage = vethflow.v1.Subscribe.$Properties
export type FilterMessage = vethflow.v1.Filter.$Properties
