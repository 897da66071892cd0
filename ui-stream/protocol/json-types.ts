// The JSON objects of the stream as types (docs/contract.md): what `vethflow.v1.json` frames and `tail -o json` hold.
// Absent means not known. Types only.

export interface CountersJson {
  packets: number
  bytes: number
  totalPackets: number
  totalBytes: number
}

export interface WorkloadJson {
  kind?: string
  name?: string
}

export interface EndpointJson {
  kind?: string
  ip?: string
  port?: number
  namespace?: string
  pod?: string
  workload?: WorkloadJson
  nodeName?: string
  zone?: string
  group?: string
  labels?: Record<string, string>
  names?: string[]
  process?: { pid?: number; command?: string; container?: string }
}

export interface ServiceJson {
  namespace?: string
  name?: string
  type?: string
  portName?: string
  ip?: string
  port?: number
  ingresses?: string[]
}

export interface TranslationJson {
  sourceIp?: string
  sourcePort?: number
  destinationIp?: string
  destinationPort?: number
}

export interface PolicyJson {
  namespace?: string
  name?: string
  direction?: string
  allows: boolean
}

export interface DropJson {
  reason?: string
  packets: number
  function?: string
  hook?: string
  interface?: string
  policies?: PolicyJson[]
}

export interface TcpJson {
  state?: string
  flags?: { forward: string[]; reverse: string[] }
  handshakeRttUs?: number
  smoothedRttUs?: number
  retransmits?: { forward: number; reverse: number }
  outOfOrder?: number
  zeroWindows?: number
  resetBy?: string
}

export interface DnsJson {
  query?: string
  type?: string
  responseCode?: string
  latencyUs?: number
  answers?: string[]
}

export interface TunnelJson {
  type?: string
  id?: number
  source?: string
  destination?: string
}

export interface ObservationJson {
  interface?: string
  direction?: string
}

export interface ViewJson {
  nodeName?: string
  forward: CountersJson
  reverse: CountersJson
}

export interface FlowJson {
  id: number
  agentId?: string
  event?: string
  time?: string
  startTime?: string
  endTime?: string
  nodeName?: string
  ipVersion?: number
  protocol: string
  source?: EndpointJson
  destination?: EndpointJson
  service?: ServiceJson
  translation?: TranslationJson
  direction?: string
  forward: CountersJson
  reverse: CountersJson
  verdict?: string
  drop?: DropJson
  policies?: PolicyJson[]
  tcp?: TcpJson
  dns?: DnsJson
  icmp?: { type: number; code: number }
  tunnel?: TunnelJson
  observations?: ObservationJson[]
  views?: ViewJson[]
  initiatorInferred?: boolean
  unseen?: string
  own?: boolean
  endReason?: string
}

export interface LostJson {
  nodeName?: string
  stage?: string
  unit?: string
  count: number
  since?: string
  until?: string
}

export interface InterfaceStatusJson {
  name?: string
  index?: number
  attach?: string
  role?: string
  problem?: string
}

export interface FeatureStatusJson {
  name?: string
  enabled: boolean
  reason?: string
}

export interface ResourceStatusJson {
  name?: string
  synced: boolean
  objects: number
  ageMs: number
  restarts: number
  lastError?: string
}

export interface StatusJson {
  nodeName?: string
  agentId?: string
  version?: string
  capturing: boolean
  connected: boolean
  problem?: string
  interfaces: InterfaceStatusJson[]
  features: FeatureStatusJson[]
  lost: LostJson[]
  flowsPerSecond: number
  connections: number
  maxConnections: number
  identitySource?: string
  resources: ResourceStatusJson[]
  /** Pods of this node that no hook of their own sees. */
  uncoveredPods: { namespace?: string; pod?: string; reason?: string }[]
  clients: number
  uptimeMs: number
  historyBytes: number
  time?: string
}

export interface ErrorJson {
  code: string
  message: string
}

/** Where history begins, for those who asked. */
export interface HistoryJson {
  /** Time of the oldest record that is kept; absent where none is. */
  begins?: string
  records: number
  /** When this run of the server began. */
  started?: string
  resumed: boolean
}

/** One JSON frame: exactly one of flow, lost, status, error and history; cursor beside flow only. */
export interface FrameJson {
  flow?: FlowJson
  cursor?: string
  lost?: LostJson
  status?: StatusJson
  error?: ErrorJson
  history?: HistoryJson
}
