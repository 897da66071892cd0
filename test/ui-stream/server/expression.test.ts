import { afterEach, describe, expect, it } from 'vitest'
import type { FlowMessage } from '../../../ui-stream/protocol/messages.js'
import { Subprotocol } from '../../../ui-stream/protocol/names.js'
import { Expression } from '../../../ui-stream/server/filter/expression.js'
import { Client, closeAll, numbered, openServer, range } from './harness.js'

afterEach(closeAll)

const FLOW: FlowMessage = {
  id: 7,
  event: 3,
  timeUs: 1_790_000_000_123_456,
  nodeName: 'n1',
  ipVersion: 4,
  protocol: 6,
  source: {
    kind: 1,
    ip: Uint8Array.of(10, 244, 1, 5),
    port: 40000,
    namespace: 'shop',
    pod: 'web-0',
    workload: { kind: 'StatefulSet', name: 'web' },
  },
  destination: {
    kind: 3,
    ip: Uint8Array.of(93, 184, 216, 34),
    port: 443,
    names: ['www.example.com', 'example.com'],
  },
  forward: { packets: 10, bytes: 2000, totalPackets: 10, totalBytes: 2000 },
  reverse: { packets: 8, bytes: 9000, totalPackets: 8, totalBytes: 9000 },
  verdict: 1,
  tcp: { state: 5, flags: { forward: 27, reverse: 18 }, handshakeRttUs: 800 },
}

describe('Expression', () => {
  it.each([
    ['source.namespace == "shop" && destination.port == 443', true],
    ['destination.port in [80, 443]', true],
    ['reverse.bytes > 4.0 * forward.bytes', true],
    ['reverse.bytes > 5.0 * forward.bytes', false],
    ['verdict == "FORWARDED" && event == "CLOSED" && protocol == "TCP"', true],
    ['destination.names.exists(n, n.endsWith(".com"))', true],
    ['destination.names.all(n, n.startsWith("www."))', false],
    ['source.pod.matches("^web-[0-9]+$")', true],
    ['source.pod.matches("^db-")', false],
    ['has(source.workload.name) && source.workload.name == "web"', true],
    ['"syn" in tcp.flags.forward', true],
    ['tcp.handshakeRttUs >= 500 && tcp.handshakeRttUs < 1000', true],
    ['time > timestamp("2026-01-01T00:00:00Z")', true],
    ['has(service.name)', false],
    ['!has(service.name)', true],
    ['size(source.pod) == 5', true],
    // What is not there makes no flow pass, but for what stands beside it.
    ['service.name == "web"', false],
    ['service.name == "web" || id == 7.0', true],
    ['source.labels["app"] == "web"', false],
    ['1 / 0 == 1', false],
  ])('%s is %s', (text, passes) => {
    expect(new Expression(text).passes(FLOW)).toBe(passes)
  })

  it.each([
    ['1 +', 'EOF'],
    ['nothing == 1', 'Unknown variable: nothing'],
    ['verdict', 'it says string'],
    ['id + 1', 'no such overload'],
    ['source.pod.split("").size() > 1', 'there is no function "split"'],
    ['[1].map(x, x + x).size() > 1', 'there is no function "map"'],
    ['[1].filter(x, true).size() > 1', 'there is no function "filter"'],
    ['cel.bind(x, 1, x == 1)', 'there is no function'],
    ['[1].exists(x, [2].exists(y, y == x))', 'one another'],
    ['source.pod.matches(verdict)', 'one literal text'],
    ['source.pod.matches("(")', 'no regular expression'],
    ['source.pod.matches("a{1000}")', 'repeat 20 times'],
    [`source.pod.matches("${'(a|b)'.repeat(40)}")`, '128 characters'],
    ['time.getHours("Europe/Berlin") == 1', 'no time zone'],
    [`id == 1.0${' || id == 1.0'.repeat(170)}`, '2048 characters'],
    [`${'('.repeat(200)}true${')'.repeat(200)}`, 'maxDepth'],
    [`id in [${'1.0,'.repeat(100)}1.0]`, 'maxListElements'],
  ])('%s is refused', (text, reason) => {
    expect(() => new Expression(text)).toThrow(
      expect.objectContaining({ code: 'BAD_FILTER', message: expect.stringContaining(reason) }),
    )
  })

  it('matches in linear time what makes other engines wait', () => {
    const expression = new Expression('source.pod.matches("^(a+)+$") || source.pod.matches("(x+x+)+y")')
    const flow = { ...FLOW, source: { ...FLOW.source, pod: `${'a'.repeat(120)}${'x'.repeat(120)}` } }
    expression.passes(flow)
    const began = performance.now()
    for (let i = 0; i < 20; i++) expect(expression.passes(flow)).toBe(false)
    expect(performance.now() - began).toBeLessThan(1000)
  })
})

describe('filter= on the stream', () => {
  it.each([Subprotocol.PROTOBUF, Subprotocol.JSON])(
    'is anded to the other filters, by %s',
    async (subprotocol) => {
      const server = await openServer()
      const text = encodeURIComponent('destination.port == 80 || destination.port == 8080')
      const live = await Client.open(server, `?protocol=tcp&filter=${text}`, subprotocol)
      const plain = await Client.open(server, '?protocol=tcp&to-port=80&to-port=8080')
      await Promise.all([live.sync(), plain.sync()])
      for (let first = 1; first <= 3000; first += 500) server.publish(numbered(first, 500))
      const wanted = range(1, 3000).filter((id) => {
        const { flows } = numbered(id - ((id - 1) % 500), 500)
        const row = (id - 1) % 500
        return flows.protocol[row] === 6 && [80, 8080].includes(flows.destinationPort[row]!)
      })
      expect(wanted.length).toBeGreaterThan(200)
      await live.until(() => live.received >= wanted.length)
      await plain.sync()
      expect(live.ids).toEqual(wanted)
      expect(plain.ids).toEqual(wanted)

      const last = await Client.open(server, `?protocol=tcp&last=100&filter=${text}`, subprotocol)
      expect(await last.closed()).toBe(1000)
      expect(last.ids).toEqual(wanted.slice(-100))
      const all = await Client.open(server, `?protocol=tcp&last=100000&filter=${text}`, subprotocol)
      expect(await all.closed()).toBe(1000)
      expect(all.ids).toEqual(wanted)
      const since = await Client.open(
        server,
        `?since=2026-09-21T14:13:20.002Z&protocol=tcp&filter=${text}`,
        subprotocol,
      )
      expect(await since.closed()).toBe(1000)
      expect(since.ids).toEqual(wanted.filter((id) => id >= 2000))
    },
  )

  it('does not keep others waiting, and what it is too slow for is told', async () => {
    const server = await openServer({ historyBytes: 512 * 1024, clientQueueRecords: 1000 })
    const slow = await Client.open(server, `?filter=${encodeURIComponent('source.port >= 0.0 || true')}`)
    const quick = await Client.open(server)
    await Promise.all([slow.sync(), quick.sync()])
    let latest = 0
    for (let first = 1; first <= 20_000; first += 1000) {
      const began = performance.now()
      server.publish(numbered(first, 1000))
      await quick.until(() => quick.received >= first + 999)
      latest = Math.max(latest, performance.now() - began)
    }
    expect(quick.lost).toBe(0)
    await slow.until(() => slow.received + slow.lost >= 20_000)
    await slow.sync()
    expect(slow.received + slow.lost).toBe(20_000)
    expect(new Set(slow.ids).size).toBe(slow.received)
  })
})
