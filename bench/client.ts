// A client of the agent's stream that counts, in a process of its own. Prints READY, then twice a second one line of JSON
// with what it has seen so far (Seen); ends when its server does, or on SIGTERM.
//
//   node client.js URL [--times]     with --times also when each total of each UDP flow came

import { WebSocket } from 'ws'
import { Event, StreamMessage } from '../ui-stream/protocol/messages.js'
import { Path, Subprotocol } from '../ui-stream/protocol/names.js'
import { ProtocolNumber } from '../ui-stream/protocol/protocol-number.js'
import { countFrame, type FrameCounts } from './count-frame.js'

export interface Seen extends FrameCounts {
  /** Told as lost, by stage and unit. */
  lost: Record<string, number>
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
  times: {},
  historyBytes: 0,
}

async function historyBytes(): Promise<void> {
  const text = await (await fetch(`${url.replace(/^ws/, 'http')}/metrics`)).text()
  seen.historyBytes = Number(/^vethflow_history_bytes(?:\{.*\})? (\S+)$/m.exec(text)?.[1] ?? 0)
}

function tell(): void {
  process.stdout.write(`${JSON.stringify(seen)}\n`)
}

/** When the totals of UDP flows came. */
function noteTimes(frame: Uint8Array): void {
  const nowUs = (performance.timeOrigin + performance.now()) * 1000
  for (const flow of StreamMessage.decode(frame).flows) {
    if (flow.protocol !== ProtocolNumber.UDP || flow.event === Event.EVENT_DROPPED) continue
    const key = `${flow.source?.port}/${flow.destination?.ip?.[3]}`
    seen.times[key] ??= []
    seen.times[key].push([Number(flow.forward?.totalPackets ?? 0), nowUs])
  }
}

const timer = setInterval(() => {
  historyBytes().then(tell, tell)
}, 500)
const socket = new WebSocket(`${url}${Path.FLOWS}`, Subprotocol.PROTOBUF, { perMessageDeflate: false })
socket.on('open', () => process.stdout.write('READY\n'))
socket.on('message', (frame: Buffer) => {
  const rest = countFrame(frame, seen)
  if (flag === '--times') noteTimes(frame)
  for (const { stage, unit, count } of StreamMessage.decode(frame.subarray(rest)).lost) {
    const key = `${stage}/${unit}`
    seen.lost[key] = (seen.lost[key] ?? 0) + Number(count ?? 0)
  }
})
socket.on('error', (error) => {
  throw error
})
socket.on('close', () => {
  clearInterval(timer)
  tell()
})
process.on('SIGTERM', () => socket.close())
