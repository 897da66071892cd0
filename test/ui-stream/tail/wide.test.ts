import { describe, expect, test } from 'vitest'

import { EndReason, Event, TcpState, TunnelType, Verdict } from '../../../ui-stream/protocol/messages.js'
import { coloured, plain } from '../../../ui-stream/tail/colour.js'
import { compactFormat } from '../../../ui-stream/tail/compact.js'
import { connectionText, errorText, lostText, Tally } from '../../../ui-stream/tail/notices.js'
import { width } from '../../../ui-stream/tail/text.js'
import { wideFormat } from '../../../ui-stream/tail/wide.js'
import { CORPUS, cart, cartService, counters, flow, pod, v4, v6, web } from './flows.js'

process.env.TZ = 'UTC'

const FULL = flow({
  event: Event.EVENT_CLOSED,
  verdict: Verdict.VERDICT_REFUSED,
  source: web,
  destination: cart,
  service: { ...cartService, type: 'NodePort' },
  direction: 2,
  forward: { packets: 2, bytes: 120, totalPackets: 12, totalBytes: 1520 },
  reverse: counters(1, 40),
  tcp: {
    state: TcpState.TCP_STATE_CLOSED,
    flags: { forward: 2, reverse: 20 },
    handshakeRttUs: 87,
  },
  endReason: EndReason.END_REASON_RST,
  observations: [
    { interface: 'veth0a1b2c', direction: 1 },
    { interface: 'eth0', direction: 2 },
  ],
  translation: { sourceIp: v4('192.168.1.10'), sourcePort: 61000 },
  tunnel: { type: TunnelType.TUNNEL_TYPE_VXLAN, id: 42, source: v4('1.1.1.1'), destination: v4('2.2.2.2') },
  icmp: { type: 3, code: 1 },
  dns: { query: 'cart.shop.svc' },
  initiatorInferred: true,
  unseen: 2,
  own: true,
})

describe('wide lines', () => {
  test('say all that a record says', () => {
    expect([FULL, CORPUS[2]!, CORPUS[9]!].map(wideFormat(plain))).toMatchInlineSnapshot(`
      [
        "2026-03-04 05:06:07.089 n1               7        EGRESS  shop/web-859d8b7c4f-fgph8(10.244.1.7):41234      -> shop/cart-5d4f8c7b99-zxcvb(10.244.2.9):8080      shop/cart:80 NodePort            TCP    CLOSED  REFUSED         2/120B of 12/1.5kB          1/40B of 1/40B        87us CLOSED       syn|rst,ack                      RST     veth0a1b2c:in+1    as=192.168.1.10:61000 tunnel=VXLAN/42 icmp=3/1 dns=cart.shop.svc reverse-unseen initiator-inferred own",
        "2026-03-04 05:06:07.089 n1               7        -       kube-system/coredns-7c65d6cfc9-abcde(10.244.0.3):53412 -> 8.8.8.8:53                                       -                                UDP    DROPPED DROPPED           0/0B of 0/0B               0/0B of 0/0B            - -            -                                -       -                  drop=NETFILTER_DROP x3",
        "2026-03-04 05:06:07.089                  7        -       ?                                                -> ?                                                -                                0      UPDATED -                 0/0B of 0/0B               0/0B of 0/0B            - -            -                                -       -",
      ]
    `)
  })

  test('keep their columns unless a name is longer', () => {
    const starts = new Set<number>()
    for (const one of [FULL, ...CORPUS.filter((_, index) => index !== 1 && index !== 6 && index !== 2)]) {
      const line = wideFormat(plain)(one)
      const verdict = / (OPENED|UPDATED|CLOSED|DROPPED) +(-|FORWARDED|DROPPED|REFUSED|UNANSWERED) /.exec(line)
      expect(verdict, line).not.toBeNull()
      starts.add(width(line.slice(0, verdict?.index)))
    }
    expect(starts.size).toBe(1)
  })

  test('shorten nothing', () => {
    for (const one of CORPUS) expect(wideFormat(plain)(one)).not.toContain('…')
  })
})

describe('hostile text in any field', () => {
  const EVIL = '\u001b[2J\u009b31m\r\n\u202e\u200b\u0007\u2028é'
  const evil = flow({
    nodeName: EVIL,
    agentId: EVIL,
    event: Event.EVENT_DROPPED,
    source: { ...pod(EVIL, EVIL, EVIL, '10.0.0.1', 1), labels: { [EVIL]: EVIL } },
    destination: { kind: 3, ip: v6(1, 2, 3, 4, 5, 6, 7, 8), port: 2, names: [EVIL] },
    service: { namespace: EVIL, name: EVIL, type: EVIL, port: 3 },
    drop: { reason: EVIL, packets: 9, function: EVIL, interface: EVIL },
    observations: [{ interface: EVIL, direction: 1 }],
    dns: { query: EVIL },
  })
  const harmful = /[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/

  test.each([
    ['compact', compactFormat(120, plain)],
    ['compact, very wide', compactFormat(2000, plain)],
    ['wide', wideFormat(plain)],
    [
      'compact in colour',
      (one: typeof evil) => compactFormat(120, coloured)(one).replaceAll(/\u001b\[\d\d?m/g, ''),
    ],
  ])('%s', (_name, format) => {
    const line = format(evil)
    expect(line).not.toMatch(harmful)
    expect(line).toContain('\\x1b')
  })

  test('notices', () => {
    for (const text of [
      lostText({ nodeName: EVIL, count: 1 }),
      errorText({ code: EVIL, message: EVIL }),
      connectionText({ type: 'disconnected', server: EVIL, reason: EVIL, retryInMs: 1 }, false),
      connectionText({ type: 'gap', reason: EVIL, sinceUs: 0, untilUs: 0 }, false),
    ]) {
      expect(text).not.toMatch(harmful)
      expect(text).toContain('\\x1b')
    }
  })
})

test('the summary counts records, packets and gaps apart', () => {
  const tally = new Tally()
  expect(tally.summary()).toBe('0 flows shown, 0 lost')
  tally.flows = 1
  tally.lost({ unit: 1, count: 3 })
  tally.lost({ unit: 1, count: 4 })
  tally.lost({ unit: 2, count: 5 })
  tally.gaps = 1
  expect(tally.summary()).toBe('1 flow shown, 7 lost, 5 packets not accounted for, 1 gap of unknown size')
})
