// The stream's own numbers for Prometheus, and the registry that other stages may add theirs to. Counts only.

import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

/** What the server asks for when it is scraped. */
export interface Gauges {
  readonly clients: () => number
  readonly queuedBytes: () => number
  readonly historyBytes: () => number
  readonly historyRecords: () => number
}

/** Every name begins with vethflow_; what the process itself takes comes under prom-client's default names. */
export class StreamMetrics {
  readonly registry = new Registry()
  /** Records published to the stream. */
  readonly published: Counter
  /** Records handed to clients' sockets, and thrown away for clients that were too slow. */
  readonly sent: Counter
  readonly dropped: Counter
  /** What other stages lost, as told to clients. */
  readonly lost: Counter<'stage' | 'unit'>
  readonly rejected: Counter<'reason'>

  /** `whole`: of a whole process, with what that takes. */
  constructor(gauges: Gauges, whole = true) {
    const registers = [this.registry]
    const counter = (name: string, help: string): Counter => new Counter({ name, help, registers })
    this.published = counter(
      'vethflow_stream_records_published_total',
      'Flow records published to the stream',
    )
    this.sent = counter('vethflow_stream_records_sent_total', 'Flow records sent, summed over clients')
    this.dropped = counter('vethflow_stream_records_dropped_total', 'Flow records that slow clients lost')
    this.lost = new Counter({
      name: 'vethflow_lost_total',
      help: 'Records or packets lost before the stream',
      labelNames: ['stage', 'unit'],
      registers,
    })
    this.rejected = new Counter({
      name: 'vethflow_stream_rejected_total',
      help: 'Connections that were refused, by reason',
      labelNames: ['reason'],
      registers,
    })
    const gauge = (name: string, help: string, read: () => number): Gauge =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read())
        },
      })
    gauge('vethflow_stream_clients', 'Clients that are connected', gauges.clients)
    gauge('vethflow_stream_queued_bytes', 'Bytes that wait for clients', gauges.queuedBytes)
    gauge('vethflow_history_bytes', 'Bytes that history takes', gauges.historyBytes)
    gauge('vethflow_history_records', 'Flow records in history', gauges.historyRecords)
    // the loop's delay is measured by a timer of its own: at the usual 10 ms it would cost more than an idle agent
    if (whole) collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 250 })
  }
}
