// A client of the agent's stream that counts, in a process of its own. Prints READY, then twice a second one line of JSON
// with what it has seen so far (Seen); ends when its server does, or on SIGTERM.
//
//   node client.js URL [--times]     with --times also when each total of each UDP flow came

import { connect } from '../ui-stream/client/index.js'

export interface Seen {
  opened: { tcp: number; udp: number }
  closed: { tcp: number; udp: number }
  records: number
  /** Packets of all records' deltas. */
  packets: number
  /** Told as lost, by stage and unit. */
  lost: Record<string, number>
  gaps: number
  /** By `source port/last byte of the destination`: total packets and when they came, us since the epoch. */
  times: Record<string, [number, number][]>
  historyBytes: number
}

const [url = '', flag] = process.argv.slice(2)
const seen: Seen = {
  opened: { tcp: 0, udp: 0 },
  closed: { tcp: 0, udp: 0 },
  records: 0,
  packets: 0,
  lost: {},
  gaps: 0,
  times: {},
  historyBytes: 0,
}
const OPENED = 1
const CLOSED = 3
const TCP = 6
const UDP = 17

async function historyBytes(): Promise<void> {
  const text = await (await fetch(`${url.replace(/^ws/, 'http')}/metrics`)).text()
  seen.historyBytes = Number(/^vethflow_history_bytes(?:\{.*\})? (\S+)$/m.exec(text)?.[1] ?? 0)
}

const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
const tell = (): void => {
  process.stdout.write(`${JSON.stringify(seen)}\n`)
}
const timer = setInterval(() => {
  historyBytes().then(tell, tell)
}, 500)

for await (const message of connect({ server: url, signal: stop.signal, reconnect: false })) {
  if (message.type === 'connected') process.stdout.write('READY\n')
  else if (message.type === 'lost') {
    const key = `${message.lost.stage}/${message.lost.unit}`
    seen.lost[key] = (seen.lost[key] ?? 0) + Number(message.lost.count ?? 0)
  } else if (message.type === 'gap') seen.gaps++
  else if (message.type === 'flows') {
    const nowUs = (performance.timeOrigin + performance.now()) * 1000
    for (const flow of message.flows) {
      seen.records++
      seen.packets += Number(flow.forward?.packets ?? 0) + Number(flow.reverse?.packets ?? 0)
      const protocol = flow.protocol === TCP ? 'tcp' : flow.protocol === UDP ? 'udp' : undefined
      if (protocol === undefined) continue
      if (flow.event === OPENED) seen.opened[protocol]++
      else if (flow.event === CLOSED) seen.closed[protocol]++
      if (flag !== '--times' || protocol !== 'udp') continue
      const key = `${flow.source?.port}/${flow.destination?.ip?.[3]}`
      seen.times[key] ??= []
      seen.times[key].push([Number(flow.forward?.totalPackets ?? 0), nowUs])
    }
  }
}
clearInterval(timer)
tell()
