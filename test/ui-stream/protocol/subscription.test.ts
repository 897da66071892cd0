import { describe, expect, it } from 'vitest'
import { filterNames, parseFilters } from '../../../ui-stream/protocol/filters.js'
import { ClientMessage } from '../../../ui-stream/protocol/messages.js'
import {
  follows,
  formatQuery,
  fromSubscribeJson,
  fromSubscribeMessage,
  parseQuery,
  type Subscription,
  toSubscribeJson,
  toSubscribeMessage,
  wantsHistory,
} from '../../../ui-stream/protocol/subscription.js'

const full: Subscription = {
  filters: [
    { name: 'from-pod', values: ['default/web', 'shop/api'], negate: false },
    { name: 'label', values: ['app in (a,b)'], negate: true },
    { name: 'port', values: ['80-90'], negate: false },
  ],
  expression: 'flow.x > 1 && y',
  last: 20,
  sinceUs: 1_790_000_000_000_001,
  untilUs: 1_790_000_000_000_002,
  cursor: 'run:7',
  follow: true,
  labels: true,
  own: true,
  status: true,
}

describe('Subscription', () => {
  it('goes through query, protobuf and JSON unchanged', () => {
    expect(parseQuery(new URLSearchParams(formatQuery(full).toString()), 0)).toEqual(full)
    const bytes = ClientMessage.encode({ subscribe: toSubscribeMessage(full) }).finish()
    expect(fromSubscribeMessage(ClientMessage.decode(bytes).subscribe!)).toEqual(full)
    expect(fromSubscribeJson(JSON.parse(JSON.stringify(toSubscribeJson(full))), 0)).toEqual(full)
    const empty = { filters: [] }
    expect(parseQuery(formatQuery(empty), 0)).toEqual(empty)
    expect(fromSubscribeMessage(toSubscribeMessage(empty))).toEqual(empty)
    expect(fromSubscribeJson(toSubscribeJson(empty), 0)).toEqual(empty)
  })

  it('or-s a repeated name and keeps negated ones apart', () => {
    expect(parseQuery(new URLSearchParams('pod=a&not.pod=b&pod=c&not.pod=d'), 0).filters).toEqual([
      { name: 'pod', values: ['a', 'c'], negate: false },
      { name: 'pod', values: ['b', 'd'], negate: true },
    ])
  })

  it('follows when nothing of history is asked for, or when told to', () => {
    const ask = (query: string): [boolean, boolean] => {
      const subscription = parseQuery(new URLSearchParams(query), 1e12)
      return [follows(subscription), wantsHistory(subscription)]
    }
    expect(ask('')).toEqual([true, false])
    expect(ask('follow=false')).toEqual([true, false])
    expect(ask('last=5')).toEqual([false, true])
    expect(ask('last=5&follow=true')).toEqual([true, true])
    expect(ask('since=5m')).toEqual([false, true])
    expect(ask('cursor=a:1')).toEqual([true, true])
    expect(ask('until=5m&follow')).toEqual([true, true])
  })

  it.each([
    ['typo=1', 'BAD_QUERY', 'typo'],
    ['not.last=1', 'BAD_QUERY', 'not.last'],
    ['last=-1', 'BAD_QUERY', 'last'],
    ['last=1.5', 'BAD_QUERY', 'last'],
    ['last=99999999', 'BAD_QUERY', 'last'],
    ['since=', 'BAD_QUERY', 'since'],
    ['own=maybe', 'BAD_QUERY', 'own'],
    ['cursor=nonsense', 'BAD_CURSOR', 'cursor'],
    ['from-protocol=tcp', 'BAD_QUERY', 'from-protocol'],
  ])('refuses %s', (query, code, text) => {
    expect(() => parseQuery(new URLSearchParams(query), 0)).toThrow(
      expect.objectContaining({ code, exitCode: 2, message: expect.stringContaining(text) }),
    )
  })

  it.each([
    [null],
    [[]],
    ['x'],
    [{ filter: [] }],
    [{ filters: {} }],
    [{ filters: [null] }],
    [{ filters: [{ name: 1, values: [] }] }],
    [{ filters: [{ name: 'pod', values: 'a' }] }],
    [{ filters: [{ name: 'pod', values: [1] }] }],
    [{ filters: [{ name: 'pod', values: ['a'], negate: 'no' }] }],
    [{ last: '5x' }],
    [{ last: 1e9 }],
    [{ since: 5 }],
    [{ cursor: 5 }],
    [{ follow: 'true' }],
    [{ expression: {} }],
  ])('refuses the JSON %j', (value) => {
    expect(() => fromSubscribeJson(value, 0)).toThrow(expect.objectContaining({ code: 'BAD_QUERY' }))
  })
})

describe('parseFilters', () => {
  const parse = (name: string, value: string): unknown =>
    parseFilters([{ name, values: [value], negate: false }])

  it.each([
    ['pod', ''],
    ['pod', '/x'],
    ['pod', 'a/b/c'],
    ['pod', 'a b'],
    ['namespace', 'a/b'],
    ['namespace', ''],
    ['workload', 'Deployment/'],
    ['workload', 'a/b/c'],
    ['service', '/web'],
    ['node', ''],
    ['label', 'a=b=c,'],
    ['ip', '10.0.0.0/33'],
    ['ip', 'localhost'],
    ['port', '0'],
    ['port', '65536'],
    ['port', '90-80'],
    ['port', '80-'],
    ['dns', ''],
    ['protocol', 'quic'],
    ['protocol', '256'],
    ['verdict', 'unspecified'],
    ['verdict', 'toString'],
    ['drop-reason', 'a b'],
    ['tcp-flags', 'syn+ack'],
    ['direction', 'up'],
    ['interface', ''],
    ['event', 'OPEN'],
    ['pod', 'x'.repeat(2000)],
  ])('%s does not take %j, and says what it takes', (name, value) => {
    const takes = filterNames().find((filter) => filter.name === name)!.takes
    expect(() => parse(name, value)).toThrow(
      expect.objectContaining({
        code: 'BAD_FILTER',
        exitCode: 2,
        message: expect.stringMatching(new RegExp(`^${name}=`)),
      }),
    )
    expect(() => parse(name, value)).toThrow(takes)
  })

  it('names the filters when there is none of that name', () => {
    expect(() => parse('pods', 'x')).toThrow('pod, namespace, workload, service, node, label, ip, port, dns')
    expect(() => parse('from-event', 'OPENED')).toThrow('There is no filter "from-event"')
    expect(() => parse('hasOwnProperty', 'x')).toThrow('There is no filter')
    expect(() => parseFilters([{ name: 'pod', values: [], negate: false }])).toThrow('pod needs a value')
  })

  it('bounds how many there are', () => {
    const many = (count: number, values: number) =>
      Array.from({ length: count }, () => ({
        name: 'port',
        values: Array<string>(values).fill('80'),
        negate: false,
      }))
    expect(parseFilters(many(64, 4))).toHaveLength(64)
    expect(() => parseFilters(many(65, 1))).toThrow('Too many filters')
    expect(() => parseFilters(many(1, 257))).toThrow('Too many filters')
  })

  it('lists every name of the contract', () => {
    const ends = ['pod', 'namespace', 'workload', 'service', 'node', 'label', 'ip', 'port', 'dns']
    const names = ends.flatMap((name) => [name, `from-${name}`, `to-${name}`])
    const rest = 'protocol verdict drop-reason tcp-flags direction interface event'.split(' ')
    expect(new Set(filterNames().map((filter) => filter.name))).toEqual(new Set([...names, ...rest]))
  })
})
