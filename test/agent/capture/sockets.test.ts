// The tables of sockets, fed with records as the kernel writes them: what is found by a flow's ends, and what is not.

import { describe, expect, it } from 'vitest'
import { AgingIndex } from '../../../agent/capture/aging-index.js'
import { SocketWalks } from '../../../agent/capture/socket-walks.js'
import { Sockets } from '../../../agent/capture/sockets.js'
import { parseAddress } from '../../../agent/identity/address.js'
import {
  socket_owner as O,
  socket_record as R,
  socket_flag,
  socket_kind,
} from '../../../agent/kernel/socket-layout.gen.js'

const OWN = 4_026_531_833
const POD = 4_026_532_177
const OTHER = 4_026_532_178
const { SOCKET_CONNECTED, SOCKET_BOUND, SOCKET_UNBOUND } = socket_kind
const { SOCKET_INHERITED, SOCKET_FOUND, SOCKET_IPV6_ONLY } = socket_flag

interface Told {
  readonly kind?: number
  readonly protocol?: number
  readonly flags?: number
  readonly netns?: number
  readonly local: string
  readonly remote?: string
  readonly pid?: number
  readonly start?: bigint
  readonly command?: string | Uint8Array
  readonly group?: bigint
  readonly timeUs?: number
}

function split(end: string): [Uint32Array, number] {
  const colon = end.lastIndexOf(':')
  const words = parseAddress(end.slice(0, colon).replace(/^\[|\]$/g, ''))
  if (words === undefined) throw new Error(end)
  return [Uint32Array.from(words), Number(end.slice(colon + 1))]
}

/** A struct socket_record as bytes. */
function record(told: Told): Uint32Array {
  const bytes = Buffer.alloc(R.size)
  bytes.writeBigUInt64LE(BigInt((told.timeUs ?? 1_000_000) * 1000), R.time)
  bytes.writeUInt8(told.kind ?? SOCKET_CONNECTED, R.kind)
  const six = told.local.startsWith('[')
  bytes.writeUInt8(six ? 6 : 4, R.family)
  bytes.writeUInt8(told.protocol ?? 6, R.protocol)
  bytes.writeUInt8(told.flags ?? 0, R.flags)
  bytes.writeUInt32LE(told.netns ?? POD, R.netns)
  for (const [end, address, port] of [
    [told.local, R.local, R.local_port],
    [told.remote, R.remote, R.remote_port],
  ] as const) {
    if (end === undefined) continue
    const [words, number] = split(end)
    if (six) for (let i = 0; i < 4; i++) bytes.writeUInt32BE(words[i] ?? 0, address + i * 4)
    else bytes.writeUInt32BE(words[3] ?? 0, address)
    bytes.writeUInt16BE(number, port)
  }
  bytes.writeBigUInt64LE(told.start ?? 5n, R.owner + O.start)
  bytes.writeBigUInt64LE(told.group ?? 0n, R.owner + O.cgroup)
  bytes.writeUInt32LE(told.pid ?? 100, R.owner + O.pid)
  const command = told.command ?? 'cmd'
  bytes.set(
    (typeof command === 'string' ? Buffer.from(command) : command).subarray(0, 16),
    R.owner + O.command,
  )
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

class Bench {
  readonly forgotten: string[] = []
  readonly sockets = new Sockets(OWN, (key) => this.forgotten.push(key))

  tell(...told: readonly Told[]): this {
    for (const one of told) this.sockets.socket(record(one), 0)
    return this
  }

  find(local: string, remote: string, { protocol = 6, netns = 0, since = 1_000_000 } = {}) {
    const [from, fromPort] = split(local)
    const [to, toPort] = split(remote)
    return this.sockets.find(from, fromPort, to, toPort, 0, protocol, netns, since)
  }

  command(local: string, remote: string, options = {}): string | undefined {
    return this.find(local, remote, options)?.command
  }
}

const A = '10.0.0.1:40000'
const B = '10.0.0.2:80'

describe('connected sockets', () => {
  it('are found by both ends, either family, and nobody else’s are', () => {
    const bench = new Bench().tell(
      { local: A, remote: B, command: 'curl' },
      { local: '[fd00::1]:40000', remote: '[fd00::2]:80', command: 'wget' },
    )
    expect(bench.command(A, B)).toBe('curl')
    expect(bench.command('[fd00::1]:40000', '[fd00::2]:80')).toBe('wget')
    expect(bench.command(B, A)).toBeUndefined()
    expect(bench.command(A, '10.0.0.2:81')).toBeUndefined()
    expect(bench.command(A, B, { protocol: 17 })).toBeUndefined()
  })

  it('of an earlier use of the ports are not taken for those of a later connection', () => {
    const bench = new Bench().tell({ local: A, remote: B, command: 'old', timeUs: 5_000_000 })
    expect(bench.command(A, B, { since: 5_000_500 })).toBe('old')
    expect(bench.command(A, B, { since: 9_000_000 })).toBeUndefined()
    // one that may be older than what was seen of it
    expect(bench.command(A, B, { since: 0 })).toBe('old')
    bench.tell({ local: A, remote: B, command: 'new', pid: 101, timeUs: 9_000_100 })
    expect(bench.command(A, B, { since: 9_000_000 })).toBe('new')
  })

  it('belong to the process that was told, not to those that a walk finds sharing them', () => {
    const bench = new Bench().tell({ local: A, remote: B, command: 'parent', pid: 1 })
    bench.sockets.walkBegins()
    bench.tell({ local: A, remote: B, command: 'child', pid: 2, flags: SOCKET_FOUND, timeUs: 2_000_000 })
    expect(bench.command(A, B)).toBe('parent')
  })

  it('that were accepted belong to the worker that a walk finds, or that closes them', () => {
    const bench = new Bench().tell({
      local: B,
      remote: A,
      command: 'master',
      pid: 1,
      flags: SOCKET_INHERITED,
    })
    expect(bench.command(B, A)).toBe('master')
    bench.sockets.walkBegins()
    bench.tell({ local: B, remote: A, command: 'worker', pid: 2, flags: SOCKET_FOUND, timeUs: 2_000_000 })
    expect(bench.command(B, A)).toBe('worker')
    bench.tell({ local: B, remote: A, command: 'closer', pid: 3, timeUs: 3_000_000 })
    expect(bench.command(B, A)).toBe('closer')
  })

  it('found by a walk belong to the first that has them, until the next walk', () => {
    const bench = new Bench()
    bench.sockets.walkBegins()
    bench.tell(
      { local: A, remote: B, command: 'first', pid: 1, flags: SOCKET_FOUND, timeUs: 2_000_000 },
      { local: A, remote: B, command: 'second', pid: 2, flags: SOCKET_FOUND, timeUs: 2_000_100 },
    )
    expect(bench.command(A, B)).toBe('first')
    expect(bench.sockets.found).toBe(1)
    bench.sockets.walkBegins()
    bench.tell({ local: A, remote: B, command: 'third', pid: 3, flags: SOCKET_FOUND, timeUs: 3_000_000 })
    expect(bench.command(A, B)).toBe('third')
  })

  it('over loopback addresses are told apart by their namespace', () => {
    const [x, y] = ['127.0.0.1:5000', '127.0.0.1:6000']
    const bench = new Bench().tell(
      { local: x, remote: y, command: 'mine', netns: OWN },
      { local: x, remote: y, command: 'pod', netns: POD },
      { local: x, remote: y, command: 'other', netns: OTHER },
    )
    bench.sockets.setNamespace(7, POD)
    bench.sockets.setNamespace(8, OTHER)
    expect([0, 7, 8, 9].map((netns) => bench.command(x, y, { netns }))).toEqual([
      'mine',
      'pod',
      'other',
      undefined,
    ])
    bench.sockets.setNamespace(8, undefined)
    expect(bench.command(x, y, { netns: 8 })).toBeUndefined()
  })
})

describe('bound sockets', () => {
  const listen = { kind: SOCKET_BOUND, netns: OWN }
  const local = (bench: Bench, ...addresses: readonly string[]) =>
    bench.sockets.setLocalAddresses(addresses.map((address) => parseAddress(address) ?? []))

  it('at an address come before those at any, IPv4 before IPv6', () => {
    const bench = new Bench().tell(
      { ...listen, local: '[::]:53', command: 'any6', pid: 1 },
      { ...listen, local: '10.0.0.1:53', command: 'exact', pid: 3 },
    )
    local(bench, '10.0.0.1', '10.0.0.9', 'fd00::1')
    const command = (end: string) => bench.command(end, end.startsWith('[') ? '[fd00::9]:9' : B)
    expect(command('10.0.0.1:53')).toBe('exact')
    expect(command('10.0.0.9:53')).toBe('any6')
    expect(command('[fd00::1]:53')).toBe('any6')
    bench.tell({ ...listen, local: '0.0.0.0:53', command: 'any4', pid: 2 })
    expect(command('10.0.0.9:53')).toBe('any4')
    expect(command('[fd00::1]:53')).toBe('any6')
    expect(command('10.0.0.9:54')).toBeUndefined()
  })

  it('at any IPv6 address take no IPv4 when they say so', () => {
    const bench = new Bench().tell({ ...listen, local: '[::]:53', flags: SOCKET_IPV6_ONLY })
    local(bench, '10.0.0.1', 'fd00::1')
    expect(bench.find('10.0.0.1:53', B)).toBeUndefined()
    expect(bench.find('[fd00::1]:53', '[fd00::2]:9')).toBeDefined()
  })

  it('are in their namespace only, and an address that was seen in two is in neither for a while', () => {
    const bench = new Bench().tell(
      { kind: SOCKET_BOUND, netns: POD, local: '0.0.0.0:53', command: 'dns' },
      { kind: SOCKET_BOUND, netns: OTHER, local: '0.0.0.0:53', command: 'foreign' },
    )
    expect(bench.command('10.0.0.1:53', B)).toBeUndefined()
    bench.tell({ netns: POD, local: A, remote: B })
    expect(bench.command('10.0.0.1:53', B)).toBe('dns')
    bench.tell({ netns: OTHER, local: '10.0.0.1:40001', remote: B, timeUs: 2_000_000 })
    expect(bench.command('10.0.0.1:53', B)).toBeUndefined()
    bench.tell({ netns: OTHER, local: '10.0.0.1:40002', remote: B, timeUs: 13_000_000 })
    expect(bench.command('10.0.0.1:53', B)).toBe('foreign')
  })

  it('are gone when they listen no more, unless another process has taken the place', () => {
    const bench = new Bench().tell({ ...listen, local: '[::]:80', pid: 1, command: 'one' })
    local(bench, '10.0.0.1')
    bench.tell({ ...listen, kind: SOCKET_UNBOUND, local: '[::]:80', pid: 2 })
    expect(bench.command('10.0.0.1:80', A)).toBe('one')
    bench.tell({ ...listen, kind: SOCKET_UNBOUND, local: '[::]:80', pid: 1 })
    expect(bench.find('10.0.0.1:80', A)).toBeUndefined()
  })

  it('that began to listen later have nothing to do with a connection that was refused before', () => {
    const bench = new Bench().tell({ ...listen, local: '0.0.0.0:80', timeUs: 5_000_000 })
    local(bench, '10.0.0.1')
    expect(bench.find('10.0.0.1:80', A, { since: 4_900_000 })).toBeUndefined()
    expect(bench.find('10.0.0.1:80', A, { since: 5_100_000 })).toBeDefined()
    expect(bench.find('10.0.0.1:80', A, { since: 0 })).toBeDefined()
  })

  it('of UDP are believed for a minute after a walk', () => {
    const found = { ...listen, protocol: 17, flags: SOCKET_FOUND, local: '0.0.0.0:53' }
    const bench = new Bench()
    local(bench, '10.0.0.1')
    bench.sockets.walkBegins()
    bench.tell({ ...found, command: 'dns', timeUs: 2_000_000 })
    const command = () => bench.command('10.0.0.1:53', B, { protocol: 17 })
    expect(command()).toBe('dns')
    bench.tell({ local: A, remote: B, timeUs: 61_000_000 })
    expect(command()).toBe('dns')
    bench.tell({ local: A, remote: B, timeUs: 63_000_000 })
    expect(command()).toBeUndefined()
    bench.sockets.walkBegins()
    bench.tell({ ...found, command: 'next', pid: 9, timeUs: 64_000_000 })
    expect(command()).toBe('next')
  })
})

describe('processes', () => {
  it('are one object as long as pid, beginning and name are the same', () => {
    const bench = new Bench().tell({ local: A, remote: B }, { local: B, remote: A })
    expect(bench.find(A, B)).toBe(bench.find(B, A))
    bench.tell({ local: B, remote: A, start: 6n })
    expect(bench.find(A, B)).not.toBe(bench.find(B, A))
    bench.tell({ local: A, remote: B, start: 6n, command: 'exec' })
    expect([bench.command(A, B), bench.command(B, A)]).toEqual(['exec', 'cmd'])
  })

  it('may be called anything', () => {
    const names: readonly (readonly [string | Uint8Array, string])[] = [
      ['\u001b[31mred\n', '\u001b[31mred\n'],
      ['sixteen-bytes-no-zero'.slice(0, 16), 'sixteen-bytes-no'],
      [Uint8Array.of(0xff, 0xfe, 0x41), '\ufffd\ufffdA'],
      [Uint8Array.of(0xe2, 0x98), '\ufffd'],
      ['', ''],
      ['☃ ☃', '☃ ☃'],
    ]
    for (const [bytes, said] of names)
      expect(new Bench().tell({ local: A, remote: B, command: bytes }).command(A, B)).toBe(said)
  })

  it('have a group whose name may come before or after', () => {
    const bench = new Bench().tell({ local: A, remote: B, group: 0x200000003n })
    expect(bench.find(A, B)?.group?.paths).toEqual([])
    bench.sockets.cgroup('2:3', ['/x'])
    expect(bench.find(A, B)?.group?.paths).toEqual(['/x'])
    bench.tell({ local: B, remote: A, pid: 200, group: 0x200000003n })
    expect(bench.find(B, A)?.group).toBe(bench.find(A, B)?.group)
  })

  it('of which only the group is known are nobody', () => {
    const bench = new Bench().tell({ local: A, remote: B, pid: 0, command: '', group: 3n })
    expect(bench.find(A, B)).toMatchObject({ pid: 0, command: '' })
    expect(new Bench().tell({ local: A, remote: B, pid: 0, command: '' }).find(A, B)).toBeUndefined()
  })

  it('and groups are bounded; what has to go is told', () => {
    const bench = new Bench()
    for (let i = 0; i < 5_000; i++) bench.sockets.cgroup(`0:${i}`, ['/x'])
    expect(bench.forgotten).toEqual(Array.from({ length: 904 }, (_, i) => `0:${i}`))
    for (let i = 0; i < 10_000; i++) bench.tell({ local: A, remote: B, pid: i + 1 })
    expect(bench.sockets.owners.size).toBe(8_192)
  })
})

it('what is no record is passed over', () => {
  const bench = new Bench()
  for (let i = 0; i < 1_000; i++) {
    const words = new Uint32Array(R.size / 4)
    for (let w = 0; w < words.length; w++) words[w] = Math.imul(i * 31 + w, 0x9e3779b1) >>> 0
    bench.sockets.socket(words, 0)
  }
  expect(bench.sockets.size).toBeLessThan(50)
})

describe('an index that ages', () => {
  it('grows to its capacity, then lets go of the oldest, and slots stay what they are', () => {
    const index = new AgingIndex(1, 2_000)
    const slots = new Map<number, number>()
    for (let key = 1; key <= 5_000; key++) {
      const slot = index.put(Uint32Array.of(key))
      expect(slot).toBeLessThan(2_000)
      slots.set(key, slot)
      expect(index.find(Uint32Array.of(key))).toBe(slot)
      if (key > 2_000) expect(index.find(Uint32Array.of(key - 2_000))).toBe(-1)
    }
    expect(index.size).toBe(2_000)
    for (let key = 3_001; key <= 5_000; key++) expect(index.find(Uint32Array.of(key))).toBe(slots.get(key))
    expect(new Set([...slots].filter(([key]) => key > 3_000).map(([, slot]) => slot)).size).toBe(2_000)
  })
})

describe('walks', () => {
  it('begin at once, then when ends were told without a process, rarer while they find nothing', async () => {
    let now = 0
    let tookMs = 1
    const walked: number[] = []
    const bench = new Bench()
    let finds = false
    let port = 1
    const walks = new SocketWalks(
      {
        walkSockets: async (sink) => {
          walked.push(now)
          if (finds) sink.socket(record({ local: `10.0.0.1:${port++}`, remote: B, flags: SOCKET_FOUND }), 0)
          return tookMs
        },
      },
      bench.sockets,
      () => now,
    )
    const run = async (until: number, missed: (at: number) => number) => {
      for (; now < until; now += 100) {
        walks.consider(missed(now))
        await new Promise(setImmediate)
      }
    }
    await run(20_000, () => 0)
    expect(walked).toEqual([0])
    // 4 s after the first, which found nothing either, then 8, 16, 32, 60, 60
    await run(200_000, (at) => at)
    expect(walked).toEqual([0, 20_000, 28_000, 44_000, 76_000, 136_000, 196_000])
    finds = true
    walked.length = 0
    await run(264_000, (at) => at)
    expect(walked).toEqual([256_000, 258_000, 260_000, 262_000])
    // a walk takes no more than a fiftieth of the time, as far as two in a row say so
    tookMs = 1000
    walked.length = 0
    await run(400_000, (at) => at)
    expect(walked).toEqual([264_000, 266_000, 316_000, 366_000])
  })
})
