// The testbed builds what it says, with the real plugins and rules, and leaves nothing behind.

import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import {
  Capture,
  endpoint,
  type Manifest,
  repository,
  run,
  sendFrames,
  Task,
  Testbed,
  tally,
  tcpConnect,
  tcpServer,
  tool,
  udpSend,
  udpServer,
} from './index.js'

let bed: Testbed | undefined
afterEach(async () => {
  await bed?.close()
  bed = undefined
})

function namespaces(prefix: string): string[] {
  return existsSync('/run/netns') ? readdirSync('/run/netns').filter((name) => name.startsWith(prefix)) : []
}

describe('two nodes with the bridge plugin', () => {
  it('come up quickly, connect, translate and go without a trace', async () => {
    const hostLinks = (await run(['ip', '-br', 'link'])).stdout
    const started = performance.now()
    bed = await Testbed.create('pair')
    const [n1, n2] = await Promise.all([bed.node('n1', { zone: 'z1' }), bed.node('n2')])
    const world = await bed.world('outside')
    await bed.routes()
    const made = []
    for (const node of [n1, n2]) {
      made.push(
        ...['a', 'b', 'c'].map((name) => node.pod({ name: `${node.name}-${name}`, namespace: 'shop' })),
      )
    }
    const [a, b, c, d] = await Promise.all(made)
    if (!a || !b || !c || !d) throw new Error('no pods')
    const took = performance.now() - started
    console.log(`up in ${took.toFixed(0)} ms`)
    expect(took).toBeLessThan(3_000)
    expect(new Set([a.ip, b.ip, c.ip, d.ip]).size).toBe(4)
    expect(a.ip).toMatch(/^10\.244\.1\./)
    expect(d.ip).toMatch(/^10\.244\.2\./)
    expect(await n1.ifindex(a.hostVeth)).toBe(a.hostIfindex)

    const service = {
      namespace: 'shop',
      name: 'web',
      type: 'NodePort' as const,
      clusterIP: '10.96.0.20',
      ports: [{ name: 'http', port: 80, targetPort: 8080, nodePort: 30080 }],
      backends: [b, d],
    }
    const empty = {
      namespace: 'shop',
      name: 'empty',
      clusterIP: '10.96.0.21',
      ports: [{ port: 80, targetPort: 1 }],
      backends: [],
    }
    await bed.services([service, empty])
    const [onB, onD] = await Promise.all([tcpServer(b, 8080), tcpServer(d, 8080)])

    const direct = await tcpConnect(a, endpoint(d.ip, 8080), { count: 20, bytesOut: 3000, bytesIn: 50_000 })
    expect(direct).toMatchObject({ ok: 20, refused: 0, failed: 0, bytesOut: 60_000, bytesIn: 1_000_000 })
    const viaService = await tcpConnect(a, '10.96.0.20:80', { count: 40, bytesOut: 100, bytesIn: 100 })
    expect(viaService).toMatchObject({ ok: 40, bytesOut: 4_000, bytesIn: 4_000 })
    const hairpin = await tcpConnect(b, '10.96.0.20:80', { count: 20 })
    expect(hairpin.ok).toBe(20)
    const fromNode = await tcpConnect(n1, '10.96.0.20:80', { count: 10 })
    expect(fromNode.ok).toBe(10)
    const fromOutside = await tcpConnect(world, endpoint(n1.ip, 30080), { count: 20 })
    expect(fromOutside.ok).toBe(20)
    expect((await tcpConnect(a, '10.96.0.21:80')).refused).toBe(1)
    expect((await tcpConnect(a, endpoint(c.ip, 81))).refused).toBe(1)
    await n1.drop(`ip daddr ${d.ip} tcp dport 8081`)
    expect((await tcpConnect(a, endpoint(d.ip, 8081), { connectTimeout: 300 })).timedOut).toBe(1)

    const [fromB, fromD] = [await onB.stop(), await onD.stop()]
    expect(fromB.ok + fromD.ok).toBe(20 + 40 + 20 + 10 + 20)
    expect(fromB.ok).toBeGreaterThan(0)
    expect(fromD.failed + fromB.failed).toBe(0)

    // What the world sees of a pod is its node.
    const onWorld = await tcpServer(world, 80)
    expect((await tcpConnect(a, endpoint(world.ip, 80))).ok).toBe(1)
    const entries = await n1.conntrack()
    expect(entries.some((line) => line.includes(`src=${a.ip}`) && line.includes(`dst=${n1.ip}`))).toBe(true)
    await onWorld.stop()

    const { prefix, directory } = bed
    await bed.close()
    expect(namespaces(prefix)).toEqual([])
    expect(existsSync(directory)).toBe(false)
    expect((await run(['ip', '-br', 'link'])).stdout).toBe(hostLinks)
  })
})

describe('the ways between nodes and pods', () => {
  it('vxlan carries pods over real devices', async () => {
    bed = await Testbed.create('vxlan')
    const [n1, n2] = await Promise.all([bed.node('n1'), bed.node('n2')])
    await bed.vxlan({ vni: 7 })
    const [a, b] = await Promise.all([n1.pod({ name: 'a' }), n2.pod({ name: 'b' })])
    const server = await tcpServer(b, 9000)
    const before = await n1.counters('flannel.7')
    const sent = await tcpConnect(a, endpoint(b.ip, 9000), { bytesOut: 200_000, bytesIn: 16 })
    expect(sent).toMatchObject({ ok: 1, bytesOut: 200_000, bytesIn: 16 })
    const after = await n1.counters('flannel.7')
    expect(after.txBytes - before.txBytes).toBeGreaterThan(200_000)
    expect((await server.stop()).bytesIn).toBe(200_000)
  })

  it('ptp, exact addresses, host ports and addresses that pass on', async () => {
    bed = await Testbed.create('ptp')
    const [n1, n2] = await Promise.all([bed.node('n1', { cni: 'ptp' }), bed.node('n2', { cni: 'bridge' })])
    await bed.routes()
    const world = await bed.world('outside')
    const hostPorts = [{ hostPort: 8088, containerPort: 80, protocol: 'tcp' as const }]
    const [a, b] = await Promise.all([
      n1.pod({ name: 'a', ip: '10.244.1.77' }),
      n2.pod({ name: 'b', hostPorts }),
    ])
    expect(a.ip).toBe('10.244.1.77')
    await tcpServer(b, 80)
    expect((await tcpConnect(a, endpoint(b.ip, 80), { count: 3 })).ok).toBe(3)
    expect((await tcpConnect(world, endpoint(n2.ip, 8088), { count: 3 })).ok).toBe(3)
    await a.delete()
    const heir = await n1.pod({ name: 'heir', ip: '10.244.1.77' })
    expect(heir.ip).toBe('10.244.1.77')
    expect((await tcpConnect(heir, endpoint(b.ip, 80))).ok).toBe(1)
  })

  it('IPv6 where the nodes have ranges of it', async () => {
    bed = await Testbed.create('six')
    const [n1, n2] = await Promise.all([
      bed.node('n1', { ip6: 'fd00:18::2', podCidr6: 'fd00:244:1::/64' }),
      bed.node('n2', { ip6: 'fd00:18::3', podCidr6: 'fd00:244:2::/64' }),
    ])
    await bed.routes()
    const [a, b] = await Promise.all([n1.pod({ name: 'a' }), n2.pod({ name: 'b' })])
    const to = endpoint(b.ip6 ?? '', 80)
    await tcpServer(b, 80, { address: '::' })
    expect((await tcpConnect(a, to, { count: 5, bytesOut: 1000 })).ok).toBe(5)
  })

  it('a port of this machine leads into a namespace', async () => {
    bed = await Testbed.create('forward')
    const n1 = await bed.node('n1')
    await tcpServer(n1, 4280, { address: '127.0.0.1' })
    const { port } = await bed.forward(n1, '127.0.0.1:4280')
    const local = await bed.start([
      await tool('traffic'),
      ...[
        'tcp-connect',
        '--to',
        `127.0.0.1:${port}`,
        '--count',
        '50',
        '--bytes-out',
        '100000',
        '--bytes-in',
        '300000',
      ],
    ])
    expect(JSON.parse(await local.done())).toMatchObject({ ok: 50, bytesOut: 5_000_000, bytesIn: 15_000_000 })
  })

  it('recorded rules of kube-proxy load as they are', async () => {
    bed = await Testbed.create('recorded')
    const [n1, n2] = await Promise.all([bed.node('n1'), bed.node('n2')])
    await bed.routes()
    // The cluster they were recorded in: shop/web is 10.96.136.227:80 with these two pods.
    const [web1, web2, client1, client2] = await Promise.all([
      n1.pod({ name: 'web', ip: '10.244.1.3' }),
      n2.pod({ name: 'web', ip: '10.244.2.3' }),
      n1.pod({ name: 'client', ip: '10.244.1.9' }),
      n2.pod({ name: 'client', ip: '10.244.2.9' }),
    ])
    const servers = await Promise.all([tcpServer(web1, 8080), tcpServer(web2, 8080)])
    const fixtures = join(repository, 'test/fixtures/kube-proxy')
    await n1.loadNft(join(fixtures, 'n1.nft'))
    await n2.loadIptables(join(fixtures, 'n1.iptables-save'))
    await n2.loadIptables(join(fixtures, 'n1.ip6tables-save'), 6)
    for (const client of [client1, client2]) {
      expect((await tcpConnect(client, '10.96.136.227:80', { count: 32 })).ok).toBe(32)
      // default/kubernetes had no endpoints.
      expect((await tcpConnect(client, '10.96.0.1:443')).refused).toBe(1)
    }
    const reports = await Promise.all(servers.map((server) => server.stop()))
    for (const report of reports) expect(report.ok).toBeGreaterThan(0)
    expect(reports.reduce((sum, report) => sum + report.ok, 0)).toBe(64)
  })
})

describe('traffic is exact', () => {
  it('with offloads off sockets, veth and datagrams agree to the packet', async () => {
    bed = await Testbed.create('exact')
    const n1 = await bed.node('n1')
    const [a, b] = await Promise.all([n1.pod({ name: 'a' }), n1.pod({ name: 'b' })])
    await Promise.all([a.bothOffloads(false), b.bothOffloads(false)])
    await n1.quiet()
    const [tcp, udp] = await Promise.all([tcpServer(b, 80), udpServer(b, 53)])
    await tcpConnect(a, endpoint(b.ip, 80))
    const before = await a.counters('eth0')
    const client = await tcpConnect(a, endpoint(b.ip, 80), {
      count: 50,
      rate: 500,
      bytesOut: 30_000,
      bytesIn: 30_000,
    })
    const datagrams = await udpSend(a, endpoint(b.ip, 53), {
      count: 5_000,
      size: 100,
      sockets: 10,
      window: 64,
    })
    const after = await a.counters('eth0')
    expect(client).toMatchObject({ connections: 50, ok: 50 })
    expect(datagrams).toMatchObject({ sent: 5_000, received: 5_000, bytes: 500_000, errors: 0 })
    expect(after.txPackets - before.txPackets).toBe(client.segmentsOut + datagrams.sent)
    expect(after.rxPackets - before.rxPackets).toBe(client.segmentsIn + datagrams.received)
    const server = await tcp.stop()
    // One more connection than the measured ones; what one side sent the other received.
    expect(server).toMatchObject({ connections: 51, ok: 51, bytesIn: 51 * 30_000 - 30_000 + 16 })
    expect(await udp.stop()).toEqual({ received: 5_000, bytes: 500_000, sent: 5_000 })
  })

  it('a capture tells the same as the sockets', async () => {
    bed = await Testbed.create('capture')
    const n1 = await bed.node('n1', { ip6: 'fd00:18::2', podCidr6: 'fd00:244:1::/64' })
    const [a, b] = await Promise.all([n1.pod({ name: 'a' }), n1.pod({ name: 'b' })])
    await Promise.all([a.bothOffloads(false), b.bothOffloads(false)])
    // Two CPUs may reorder, and a SACK option would make an acknowledgement longer.
    await Promise.all([a, b].map((pod) => pod.sysctl({ 'ipv4/tcp_sack': 0 })))
    await tcpServer(b, 80, { address: '::' })
    const capture = await Capture.start(n1, a.hostVeth, 'tcp')
    const v4 = await tcpConnect(a, endpoint(b.ip, 80), { count: 30, bytesOut: 5_000, bytesIn: 40_000 })
    const v6 = await tcpConnect(a, endpoint(b.ip6 ?? '', 80), { count: 10, bytesOut: 70_000 })
    const packets = await capture.stop()
    const from = (source: string | undefined) => tally(packets, (packet) => packet.source === source)
    expect(from(a.ip).packets).toBe(v4.segmentsOut)
    expect(from(b.ip).packets).toBe(v4.segmentsIn)
    expect(from(a.ip6).packets).toBe(v6.segmentsOut)
    expect(from(b.ip6).packets).toBe(v6.segmentsIn)
    const payload = packets
      .filter((packet) => packet.source === a.ip)
      .reduce((sum, packet) => sum + packet.bytes, 0)
    // 20 octets of IP, 20 of TCP, 12 of timestamps. A SYN has MSS and window scale, too: 8 more.
    expect(payload).toBe(v4.bytesOut + v4.segmentsOut * 52 + 30 * 8)
    expect(packets.filter(({ tcpFlags, source }) => tcpFlags === 2 && source === a.ip)).toHaveLength(30)
  })

  it('connections end by FIN or RST, from chosen ports, or go unanswered', async () => {
    bed = await Testbed.create('ends')
    const n1 = await bed.node('n1')
    const [a, b] = await Promise.all([n1.pod({ name: 'a' }), n1.pod({ name: 'b' })])
    const server = await tcpServer(b, 80)
    const to = endpoint(b.ip, 80)
    const chosen = await tcpConnect(a, to, { count: 5, sourcePort: 20_000, ports: true })
    expect(chosen.ports).toEqual([20_000, 20_001, 20_002, 20_003, 20_004])
    expect((await tcpConnect(a, to, { count: 7, reset: true, bytesIn: 10 })).ok).toBe(7)
    const report = await server.stop()
    expect(report).toMatchObject({ connections: 12, ok: 5, reset: 7 })
    const nobody = await tcpConnect(a, endpoint('10.244.1.200', 80), { connectTimeout: 200 })
    expect(nobody.timedOut + nobody.failed).toBe(1)
  })

  it('frames leave as they were given', async () => {
    bed = await Testbed.create('frames')
    const n1 = await bed.node('n1')
    const a = await n1.pod({ name: 'a' })
    await a.sysctl({ 'ipv6/conf/all/disable_ipv6': 1 })
    const before = await n1.counters(a.hostVeth)
    const frame = `ffffffffffff02000000000188b5${'00'.repeat(46)}`
    expect(await sendFrames(a, 'eth0', [frame], { count: 100 })).toEqual({ sent: 100, bytes: 6_000 })
    const after = await n1.counters(a.hostVeth)
    expect(after.rxPackets - before.rxPackets).toBe(100)
    expect(after.rxBytes - before.rxBytes).toBe(6_000)
  })
})

describe('nothing stays behind', () => {
  it('what a killed process left is swept, its tasks are dead', async () => {
    // A namespace and a record as a process that is no more would leave them: pid 4194304 is above the largest.
    const prefix = 'vf4194304-gone_'
    await run(['ip', 'netns', 'add', `${prefix}n1`])
    const inside = await run(['sh', '-c', `ip netns exec ${prefix}n1 sleep 600 >/dev/null 2>&1 & echo $!`])
    const pid = inside.stdout.trim()
    await expect.poll(() => readlinkSync(`/proc/${pid}/exe`)).toContain('sleep')
    expect(Testbed.sweepStale()).toContain('vf4194304-')
    expect(namespaces(prefix)).toEqual([])
    expect(isRunning(pid)).toBe(false)
  })

  it('what a process that is killed holds goes with it', async () => {
    const built = join(repository, 'dist/test/testbed/testbed.js')
    const script = `
      const { Testbed } = await import(process.argv[1])
      const bed = await Testbed.create('killed')
      const node = await bed.node('n1')
      const task = await node.start(['sleep', '600'])
      console.log('UP', bed.prefix, task.pid)
      setInterval(() => undefined, 1000)`
    const owner = await Task.start([process.execPath, '--input-type=module', '-e', script, built])
    const [, prefix = '', pid = ''] = await owner.said(/^UP (\S+) (\d+)$/m)
    expect(namespaces(prefix)).toHaveLength(2)
    await owner.stop('SIGKILL')
    await expect.poll(() => namespaces(prefix), { timeout: 5_000 }).toEqual([])
    await expect.poll(() => isRunning(pid)).toBe(false)
    expect(existsSync(`/run/vethflow-testbed/${prefix}bed`)).toBe(false)
  })

  it('a failure half-way is cleaned by close, tasks included', async () => {
    bed = await Testbed.create('half')
    const n1 = await bed.node('n1')
    const task = await n1.start(['sleep', '600'])
    await expect(n1.pod({ name: 'x', ip: '192.0.2.1' })).rejects.toThrow(/192\.0\.2\.1/)
    await expect(n1.exec(['false'])).rejects.toThrow(/exit code 1/)
    const { prefix } = bed
    await bed.close()
    expect(namespaces(prefix)).toEqual([])
    expect(task.end).toMatchObject({ signal: 'SIGTERM' })
  })
})

/** False for a process that is gone or waits for its parent to notice. */
function isRunning(pid: string): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

describe('manifests', () => {
  it('say who owns what', async () => {
    bed = await Testbed.create('manifests')
    const n1 = await bed.node('n1', { zone: 'z1' })
    const [web, db, job] = await Promise.all([
      n1.pod({
        name: 'web-x-1',
        namespace: 'shop',
        owner: { kind: 'Deployment', name: 'web' },
        labels: { app: 'web' },
      }),
      n1.pod({ name: 'db-0', namespace: 'shop', owner: { kind: 'StatefulSet', name: 'db' } }),
      n1.pod({ name: 'report-1-abcde', namespace: 'shop', owner: { kind: 'CronJob', name: 'report' } }),
    ])
    await bed.services([
      {
        namespace: 'shop',
        name: 'web',
        clusterIP: '10.96.0.9',
        ports: [{ port: 80, targetPort: 8080 }],
        backends: [web],
      },
    ])
    const list = JSON.parse(readFileSync(join(bed.writeManifests(), 'cluster.json'), 'utf8')) as {
      items: Manifest[]
    }
    const find = (kind: string, name: string) =>
      list.items.find((item) => item.kind === kind && item.metadata.name.startsWith(name))
    const owners = (item: Manifest | undefined) =>
      item?.metadata.ownerReferences?.map(({ kind, name, uid }) => {
        expect(find(kind, name)?.metadata.uid).toBe(uid)
        return `${kind}/${name}`
      })
    expect(owners(find('Pod', 'web-x-1'))?.[0]).toMatch(/^ReplicaSet\/web-/)
    expect(owners(find('ReplicaSet', 'web-'))).toEqual(['Deployment/web'])
    expect(owners(find('Pod', 'db-0'))).toEqual(['StatefulSet/db'])
    expect(owners(find('Pod', 'report-1-abcde'))).toEqual(['Job/report-1'])
    expect(owners(find('Job', 'report-1'))).toEqual(['CronJob/report'])
    expect(find('Pod', 'web-x-1')).toMatchObject({
      status: { podIP: web.ip, hostIP: n1.ip },
      spec: { nodeName: 'n1' },
    })
    expect(find('Pod', 'db-0')).toMatchObject({ status: { podIP: db.ip } })
    expect(find('Pod', 'report')).toMatchObject({ status: { podIP: job.ip } })
    expect(find('EndpointSlice', 'web-')).toMatchObject({ endpoints: [{ addresses: [web.ip] }] })
    expect(find('Node', 'n1')?.metadata.labels).toMatchObject({ 'topology.kubernetes.io/zone': 'z1' })
  })
})
