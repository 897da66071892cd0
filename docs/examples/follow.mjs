// Follows vethflow's stream and prints one JSON object a line: node follow.mjs [URL] [FILTER=VALUE ...]
// Needs the npm package ws. Takes compressed frames as they are (vethflow.v1.protobuf+deflate needs the schema in
// proto/vethflow/v1; here vethflow.v1.json, which needs nothing). Reconnects and goes on behind the last flow.

import WebSocket from 'ws'

const [url = 'ws://127.0.0.1:4280/v1/flows', ...words] = process.argv.slice(2)
const query = words.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)])
/** Done, not understood, refused: asking again is no use. */
const FINAL = new Set([1000, 1002, 1008])
let cursor
let tries = 0

function connect() {
  const asked = new URLSearchParams(
    cursor === undefined ? query : query.filter(([name]) => name !== 'last' && name !== 'since'),
  )
  if (cursor !== undefined) {
    asked.set('cursor', cursor)
    asked.set('follow', 'true')
  }
  const token = process.env.VETHFLOW_TOKEN
  const socket = new WebSocket(`${url}?${asked}`, 'vethflow.v1.json', {
    maxPayload: 4 * 1024 * 1024,
    headers: token ? { authorization: `Bearer ${token}` } : {},
  })
  socket.on('open', () => {
    tries = 0
  })
  socket.on('message', (text) => {
    const frame = JSON.parse(text)
    cursor = frame.cursor ?? cursor
    if (frame.flow) console.log(JSON.stringify(frame.flow))
    if (frame.lost)
      console.error(`lost ${frame.lost.count || 'some'} ${frame.lost.unit} at ${frame.lost.stage}`)
    if (frame.error) console.error(`${frame.error.code}: ${frame.error.message}`)
  })
  socket.on('error', (error) => console.error(error.message))
  socket.on('close', (code) => {
    if (FINAL.has(code)) {
      process.exitCode = code === 1000 ? 0 : 1
      return
    }
    tries++
    setTimeout(connect, Math.min(15_000, 250 * 2 ** tries) * (0.5 + Math.random() / 2))
  })
}

connect()
