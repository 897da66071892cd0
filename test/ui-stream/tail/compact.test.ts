import { describe, expect, test } from 'vitest'

import { Event, type FlowMessage } from '../../../ui-stream/protocol/messages.js'
import { coloured, plain } from '../../../ui-stream/tail/colour.js'
import { compactFormat, compactHeader } from '../../../ui-stream/tail/compact.js'
import { width } from '../../../ui-stream/tail/text.js'
import { CORPUS, flow, pod, v4, web, world } from './flows.js'

process.env.TZ = 'UTC'

/** Columns of text; paints of colour taken off first. */
function bare(line: string): string {
  return line.replaceAll(/\u001b\[\d+m/g, '')
}

/** The column at which each of `marks` begins, measured as a terminal does. */
function columnOf(line: string, index: number): number {
  return width(line.slice(0, index))
}

describe('compact lines', () => {
  test('say what happened as people read it', () => {
    const format = compactFormat(120, plain)
    expect(CORPUS.map(format).map((line) => `${line}|`)).toMatchInlineSnapshot(`
      [
        "05:06:07.089 n1         shop/web-…-fgph8:41234  -> shop/cart:80 (cart-…-zxcvb:8080)  TCP    OPENED       60B    0B|",
        "05:06:07.089 ip-10…2-34 shop/web-…-fgph8:41234  -> shop/cart:80 (cart-…-zxcvb)       TCP    CLOSED     1.2kB 346kB 1.2ms|",
        "05:06:07.089 n1         kub…tem/coredns-…-abcde -> 8.8.8.8:53                        UDP    DROPPED    NETFILTER_DROP x3|",
        "05:06:07.089 n1         node/n1:50000           -> shop/db-0:5432                    TCP    REFUSED      60B   40B|",
        "05:06:07.089 n1         [2001:db8::…:3333:4444] -> [fd00::1]                         ICMPv6 UNANSWERED 123MB    0B|",
        "05:06:07.089 n1         a/x:65535               -> b/y:1                             SCTP   UPDATED     999B 1.0kB|",
        "05:06:07.089 n1         a-…st/a-worklo…c9-q2w3e -> ob…ty/victori…storage:8481 (…-12) TCP    UPDATED    999MB 1.0GB 999ms|",
        "05:06:07.089 n1         255.255.255.255         -> one.one.one.one                   255    UPDATED       0B    0B|",
        "05:06:07.089 n1         100.100.100.100:65535   -> 例え.テスト:443                   TCP    UPDATED       0B    0B  15us|",
        "05:06:07.089            ?                       -> ?                                 0      UPDATED       0B    0B|",
        "05:06:07.089 n1         shop/web-…-fgph8:41234  -> shop/nothing-behind:80            TCP    UPDATED       0B    0B|",
      ]
    `)
  })

  test.each([120, 160, 237])('stand in columns at %i', (columns) => {
    const format = compactFormat(columns, plain)
    const arrows = new Set<number>()
    const protocols = new Set<number>()
    for (const flow of CORPUS) {
      const line = format(flow)
      expect(width(line), line).toBeLessThanOrEqual(columns)
      arrows.add(columnOf(line, line.indexOf(' -> ')))
      const rest = /(TCP|UDP|SCTP|ICMPv6|255|0) +(OPENED|UPDATED|CLOSED|DROPPED|REFUSED|UNANSWERED)/.exec(
        line,
      )
      expect(rest, line).not.toBeNull()
      protocols.add(columnOf(line, rest?.index ?? -1))
    }
    expect(arrows.size).toBe(1)
    expect(protocols.size).toBe(1)
  })

  test.each([120, 200])('have a header over their columns at %i', (columns) => {
    const header = compactHeader(columns)
    const line = compactFormat(columns, plain)(CORPUS[1]!)
    expect(width(header)).toBe(columns)
    for (const [name, value] of [
      ['SOURCE', 'shop/web'],
      ['DESTINATION', 'shop/cart'],
      ['PROTO', 'TCP'],
      ['OUTCOME', 'CLOSED'],
    ] as const) {
      expect(header.indexOf(name)).toBe(line.indexOf(value))
    }
    for (const [name, value] of [
      ['OUT ', '1.2kB '],
      ['BACK', '346kB'],
      ['RTT', '1.2ms'],
    ] as const) {
      expect(header.lastIndexOf(name) + name.length).toBe(line.lastIndexOf(value) + value.length)
    }
  })

  test('use what a wider terminal gives to names', () => {
    const narrow = compactFormat(120, plain)(CORPUS[0]!)
    const wide = compactFormat(200, plain)(CORPUS[0]!)
    expect(narrow).not.toContain('web-859d8b7c4f-fgph8')
    expect(wide).toContain('shop/web-859d8b7c4f-fgph8:41234')
    expect(wide).toContain('shop/cart:80 (cart-5d4f8c7b99-zxcvb:8080)')
  })

  test('never cut a port in its middle, nor what the client addressed', () => {
    for (const columns of [120, 130, 140, 150, 160, 180, 200, 300]) {
      const format = compactFormat(columns, plain)
      for (const one of CORPUS) {
        const [left = '', right = ''] = format(one).split(' -> ')
        const ports = [...left.slice(23).matchAll(/[^:[]:(\d+) *$/g)].map(([, port]) => Number(port))
        expect([[], [one.source?.port]]).toContainEqual(ports)
        const addressed = one.service?.port ?? one.destination?.port
        if (addressed) expect(right).toMatch(new RegExp(`^\\S+:${addressed} `))
      }
    }
  })

  test('give up what says least first', () => {
    const source = (columns: number) =>
      compactFormat(columns, plain)(CORPUS[2]!).slice(24).split(' -> ')[0]?.trimEnd()
    expect([120, 140, 160, 200].map(source)).toEqual([
      'kub…tem/coredns-…-abcde',
      'kube-system/coredns-…-abcde',
      'kube-system/coredns-…-abcde:53412',
      'kube-system/coredns-7c65d6cfc9-abcde:53412',
    ])
    const frontend = flow({
      source: web,
      destination: { ...pod('shop', 'frontend-5d4f8c7b99-x2k8p', 'frontend', '10.0.0.9', 8080) },
      service: { namespace: 'shop', name: 'frontend', type: 'NodePort', port: 30080 },
    })
    const destination = (columns: number) =>
      /-> (.*?) +TCP/.exec(compactFormat(columns, plain)(frontend))?.[1]
    expect([120, 124, 140, 160, 180].map(destination)).toEqual([
      'shop/frontend:30080 (…-x2k8p)',
      'shop/frontend:30080 (…-x2k8p:8080)',
      'shop/frontend:30080 (frontend-…-x2k8p:8080)',
      'shop/frontend:30080 (frontend-5d4f8c7b99-x2k8p:8080)',
      'shop/frontend:30080 (frontend-5d4f8c7b99-x2k8p:8080)',
    ])
  })

  test('count bytes since the last record, and in all once the connection has closed', () => {
    const counted = { forward: { bytes: 5, totalBytes: 900 }, reverse: { bytes: 0, totalBytes: 12_345 } }
    const bytes = (event: NonNullable<FlowMessage['event']>) =>
      /(\S+) +(\S+)$/.exec(compactFormat(120, plain)(flow({ source: web, event, ...counted })))?.slice(1)
    expect(bytes(Event.EVENT_OPENED)).toEqual(['5B', '0B'])
    expect(bytes(Event.EVENT_UPDATED)).toEqual(['5B', '0B'])
    expect(bytes(Event.EVENT_CLOSED)).toEqual(['900B', '12kB'])
  })

  test('say nothing in brackets where nobody answered for a service', () => {
    const legacy = flow({
      source: web,
      destination: world(v4('10.96.0.33'), 80),
      service: { namespace: 'shop', name: 'legacy', type: 'ClusterIP', ip: v4('10.96.0.33'), port: 80 },
    })
    expect(compactFormat(120, plain)(legacy)).toMatch(/-> shop\/legacy:80 +TCP/)
  })

  test('colour changes no column and marks what went wrong', () => {
    for (const flow of CORPUS) {
      const line = compactFormat(120, coloured)(flow)
      expect(bare(line).trimEnd()).toBe(compactFormat(120, plain)(flow))
    }
    const format = compactFormat(120, coloured)
    expect(format(CORPUS[2]!)).toMatch(/\u001b\[31mDROPPED/)
    expect(format(CORPUS[3]!)).toMatch(/\u001b\[31mREFUSED/)
    expect(format(CORPUS[4]!)).toMatch(/\u001b\[33mUNANSWERED/)
    expect(format(CORPUS[5]!)).not.toMatch(/\u001b\[3[13]m/)
  })
})
