// The socket programs in the real kernel: what they tell of sockets that open, listen and are there, and what a walk over
// thousands of them takes.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { afterEach, describe, expect, it } from 'vitest'
import { Datapath } from '../../../agent/kernel/datapath.js'
import { prebuiltDir } from '../../../agent/kernel/programs.js'
import {
  socket_owner as O,
  socket_record as R,
  socket_flag,
  socket_kind,
} from '../../../agent/kernel/socket-layout.gen.js'
import { type SocketSink, SocketWatch } from '../../../agent/kernel/socket-watch.js'
import { bpfDescriptors, collectGarbage, until } from './support.js'

interface Told {
  readonly kind: number
  readonly protocol: number
  readonly flags: number
  readonly local: string
  readonly remote: string
  readonly pid: number
  readonly command: string
  readonly group: string
}

class Collected implements SocketSink {
  readonly sockets: Told[] = []
  readonly groups = new Map<string, readonly string[]>()

  socket(words: Uint32Array, at: number): void {
    const b = Buffer.from(words.buffer, words.byteOffset + at * 4, R.size)
    const end = (address: number, port: number) =>
      `${[...b.subarray(address, address + (b[R.family] === 4 ? 4 : 16))].join('.')}:${b.readUInt16BE(port)}`
    const command = b.toString('utf8', R.owner + O.command, R.owner + O.command + 16)
    this.sockets.push({
      kind: b.readUInt8(R.kind),
      protocol: b.readUInt8(R.protocol),
      flags: b.readUInt8(R.flags),
      local: end(R.local, R.local_port),
      remote: end(R.remote, R.remote_port),
      pid: b.readUInt32LE(R.owner + O.pid),
      command: command.slice(0, Math.max(0, command.indexOf('\0'))),
      group: `${b.readUInt32LE(R.owner + O.cgroup + 4)}:${b.readUInt32LE(R.owner + O.cgroup)}`,
    })
  }

  cgroup(key: string, paths: readonly string[]): void {
    this.groups.set(key, paths)
  }
}

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close()
})

function watch(): SocketWatch {
  const opened = SocketWatch.open({ objectDir: prebuiltDir(), loopback: true })
  closing.push(() => opened.close())
  return opened
}

async function listen(): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => server.close())
  return { server, port: (server.address() as { port: number }).port }
}

/** A child that says `ready` and lives until it is killed. */
async function child(script: string, ...args: string[]): Promise<ChildProcess> {
  const started = spawn('perl', ['-MIO::Socket::INET', '-e', script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  closing.push(() => started.kill('SIGKILL'))
  await once(createInterface({ input: started.stdout }), 'line')
  return started
}

describe('a socket', () => {
  it('that connects, that is accepted and that listens is told with its process', async () => {
    const watching = watch()
    const told = new Collected()
    const { port } = await listen()
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'close')
    const local = `127.0.0.1:${port}`
    await until('all of it', 2000, () => {
      watching.read(told)
      return told.sockets.filter((one) => one.local === local || one.remote === local).length >= 3
    })
    const about = told.sockets.filter(
      (one) => one.local.endsWith(`:${port}`) || one.remote.endsWith(`:${port}`),
    )
    const mine = { pid: process.pid, protocol: 6 }
    const client = about.find((one) => one.remote.endsWith(`:${port}`))
    expect(about.find((one) => one.kind === socket_kind.SOCKET_BOUND)).toMatchObject({
      ...mine,
      flags: socket_flag.SOCKET_OWN_NETNS,
      local: `127.0.0.1:${port}`,
    })
    expect(client).toMatchObject({ ...mine, kind: socket_kind.SOCKET_CONNECTED })
    expect(about).toContainEqual(
      expect.objectContaining({
        ...mine,
        flags: socket_flag.SOCKET_OWN_NETNS | socket_flag.SOCKET_INHERITED,
        remote: client?.local,
      }),
    )
    expect(client?.command).not.toBe('')
    const group = told.groups.get(client?.group ?? '')
    expect(group?.every((path) => path.startsWith('/'))).toBe(true)
  })

  it('that is refused is told, too', async () => {
    const watching = watch()
    const told = new Collected()
    const { server, port } = await listen()
    await new Promise((resolve) => server.close(resolve))
    const refused = await child(
      'my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => shift); $| = 1; print "ready\\n"; sleep 60',
      String(port),
    )
    await until('the refused one', 2000, () => {
      watching.read(told)
      return told.sockets.some((one) => one.pid === refused.pid && one.remote === `127.0.0.1:${port}`)
    })
    expect(told.sockets.find((one) => one.pid === refused.pid)).toMatchObject({ command: 'perl' })
  })

  it('that was there before is found by a walk, and by that alone', async () => {
    const there = await child(
      `my $t = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1");
       my $u = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1");
       my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $t->sockport);
       $| = 1; print "ready\\n"; sleep 60`,
    )
    const watching = watch()
    const told = new Collected()
    watching.read(told)
    expect(told.sockets.filter((one) => one.pid === there.pid)).toEqual([])
    await watching.walk(told)
    const mine = told.sockets.filter((one) => one.pid === there.pid)
    expect(mine.every((one) => (one.flags & socket_flag.SOCKET_FOUND) !== 0 && one.command === 'perl')).toBe(
      true,
    )
    const bound = { kind: socket_kind.SOCKET_BOUND, remote: '0.0.0.0:0' }
    expect(mine).toContainEqual(expect.objectContaining({ ...bound, protocol: 6 }))
    expect(mine).toContainEqual(expect.objectContaining({ ...bound, protocol: 17 }))
    expect(mine).toContainEqual(expect.objectContaining({ kind: socket_kind.SOCKET_CONNECTED, protocol: 6 }))
    // from now on what it accepts is told as its own
    const tcp = mine.find((one) => one.protocol === 6 && one.kind === socket_kind.SOCKET_BOUND)
    const port = Number(tcp?.local.split(':')[1])
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    await until('the accepted one', 2000, () => {
      watching.read(told)
      return told.sockets.some(
        (one) => one.local === `127.0.0.1:${port}` && (one.flags & socket_flag.SOCKET_INHERITED) !== 0,
      )
    })
    expect(told.sockets.findLast((one) => one.local === `127.0.0.1:${port}`)).toMatchObject({
      pid: there.pid,
    })
    socket.destroy()
  })

  it('is one of thousands: a walk finds them all and never holds up the event loop for long', async () => {
    const many = 4_000
    const there = await child(
      `my @all; for (1..${many}) { push @all, IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1") or die $! }
       $| = 1; print "ready\\n"; sleep 60`,
    )
    const watching = watch()
    const counted = { sockets: 0 }
    const sink: SocketSink = {
      socket: (words, at) => {
        if (words[at + (R.owner + O.pid) / 4] === there.pid) counted.sockets++
      },
      cgroup: () => undefined,
    }
    await watching.walk(sink)
    counted.sockets = 0
    collectGarbage()
    const delay = monitorEventLoopDelay({ resolution: 1 })
    const cpu = process.cpuUsage()
    delay.enable()
    await watching.walk(sink)
    delay.disable()
    const { user, system } = process.cpuUsage(cpu)
    const { ms, sockets } = watching.lastWalk
    console.log(
      `a walk over ${sockets} sockets: ${ms.toFixed(1)} ms, CPU ${((user + system) / 1000).toFixed(1)} ms, ` +
        `event loop held up for at most ${(delay.max / 1e6).toFixed(1)} ms`,
    )
    expect(counted.sockets).toBe(many)
    expect(ms).toBeLessThan(2_000)
  }, 30_000)
})

it('nothing is left when it is closed, in the middle of a walk or not', async () => {
  const before = bpfDescriptors().length
  const watching = watch()
  expect(bpfDescriptors().length).toBeGreaterThan(before)
  const walk = watching.walk(new Collected())
  watching.close()
  await walk
  await watching.walk(new Collected())
  expect(bpfDescriptors().length).toBe(before)
})

it('a datapath that cannot watch sockets does all the rest, and says why', () => {
  const datapath = Datapath.open({ maxConnections: 1024, ringBytes: 65536, disable: new Set(['sockets']) })
  try {
    const features = new Map(datapath.status().features.map((feature) => [feature.name, feature]))
    expect(features.get('sockets')).toMatchObject({ enabled: false, reason: 'switched off' })
    expect(features.get('socket_walk')).toMatchObject({ enabled: false, reason: 'needs sockets' })
    expect(datapath.socketNetns).toBeUndefined()
  } finally {
    datapath.close()
  }
})
