// Names as of when packets flew, while pods, owners and services come and go. The clock is the test's own.

import { beforeEach, describe, expect, test } from 'vitest'

import { Cluster } from '../../../agent/identity/cluster.js'
import { ClusterIdentity } from '../../../agent/identity/identity.js'
import type { Name } from '../../../agent/identity/names.js'
import { batchOf, nameOf, nameRows } from './batch.js'

let nowMs: number
let cluster: Cluster
let identity: ClusterIdentity

beforeEach(() => {
  nowMs = Date.UTC(2026, 10, 21)
  cluster = new Cluster('n1', () => nowMs * 1000)
  identity = new ClusterIdentity('kubernetes', cluster, undefined)
  cluster.upsert('Node', { metadata: { name: 'n1' }, spec: { podCIDR: '10.0.0.0/24' } })
  for (const kind of ['Pod', 'Service', 'EndpointSlice', 'Node', 'Job'] as const) cluster.commit(kind)
})

function pod(
  name: string,
  ip: string,
  more: { owner?: [string, string]; uid?: string; phase?: string } = {},
) {
  const { owner, uid = `u-${name}`, phase = 'Running' } = more
  const ownerReferences = owner === undefined ? [] : [{ kind: owner[0], name: owner[1], controller: true }]
  return {
    metadata: { name, namespace: 'shop', uid, ownerReferences },
    spec: { nodeName: 'n1' },
    status: { phase, podIP: ip },
  }
}

function nameObject(address: string): Name | undefined {
  return identity.name(batchOf([{ source: '192.0.2.1', destination: address, start: nowMs }])).destination[0]
}

describe('pods', () => {
  test('a record of a pod that has gone is named by it, also its last packets', () => {
    cluster.upsert('Pod', pod('a', '10.0.0.1'))
    const began = nowMs
    nowMs += 60_000
    cluster.remove('Pod', pod('a', '10.0.0.1'))
    const late = { source: '10.0.0.1', destination: '192.0.2.1' }
    expect(nameRows(identity, [{ ...late, start: began + 1000, end: nowMs - 1000 }])[0]?.source).toBe(
      'shop/a',
    )
    expect(nameRows(identity, [{ ...late, start: began + 1000, end: nowMs + 3000 }])[0]?.source).toBe(
      'shop/a',
    )
    expect(nameRows(identity, [{ ...late, start: nowMs + 3000 }])[0]?.source).toBe('unknown')
  })

  test('a connection that is older than the knowledge of its pod is named in its next record', () => {
    cluster.upsert('Pod', pod('a', '10.0.0.1'))
    nowMs += 3_600_000
    cluster.remove('Pod', pod('a', '10.0.0.1'))
    nowMs += 3_600_000
    const start = nowMs
    const row = { source: '10.0.0.1', destination: '192.0.2.1', start }
    expect(nameRows(identity, [{ ...row, end: start }])[0]?.source).toBe('unknown')
    nowMs += 15_000
    cluster.upsert('Pod', pod('b', '10.0.0.1'))
    expect(nameRows(identity, [{ ...row, end: nowMs + 1 }])[0]?.source).toBe('shop/b')
  })

  test('all addresses of a pod are its own, and each by itself passes on', () => {
    const dual = pod('dual', '10.0.0.1')
    const status = { ...dual.status, podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00:10::1' }, { ip: '10.0.0.1' }] }
    cluster.upsert('Pod', { ...dual, status })
    expect(['10.0.0.1', 'fd00:10::1'].map((address) => nameOf(identity, address, nowMs))).toEqual([
      'shop/dual',
      'shop/dual',
    ])
    const before = nowMs
    nowMs += 60_000
    cluster.upsert('Pod', { ...dual, status: { ...dual.status, podIPs: [{ ip: '10.0.0.1' }] } })
    nowMs += 60_000
    expect(nameOf(identity, 'fd00:10::1', nowMs)).toBe('unknown')
    expect(nameOf(identity, 'fd00:10::1', before)).toBe('shop/dual')
    expect(nameOf(identity, '10.0.0.1', nowMs)).toBe('shop/dual')
    // Somebody else has taken the second one meanwhile: saying it again takes nothing back.
    cluster.upsert('Pod', pod('other', '10.0.0.1'))
    cluster.upsert('Pod', { ...dual, status: { ...dual.status, conditions: [] } })
    expect(nameOf(identity, '10.0.0.1', nowMs)).toBe('shop/other')
  })

  test('a pod on the host network holds nothing, whatever its status lists', () => {
    const host = pod('host', '172.18.0.9')
    cluster.upsert('Pod', { ...host, spec: { nodeName: 'n1', hostNetwork: true } })
    expect(nameOf(identity, '172.18.0.9', nowMs)).toBe('world')
    expect(cluster.pods.count()).toBe(1)
  })

  test('a flow that began before its pod was known is named in its next record', () => {
    const start = nowMs
    const row = { source: '10.0.0.9', destination: '192.0.2.1', start }
    expect(nameRows(identity, [{ ...row, end: start }])[0]?.source).toBe('unknown')
    nowMs += 2000
    cluster.upsert('Pod', pod('late', '10.0.0.9'))
    // --update-interval: 5 s after the first.
    expect(nameRows(identity, [{ ...row, end: start + 5000 }])[0]?.source).toBe('shop/late')
    // Also when it has said nothing since: its packets flew shortly before the pod was known.
    expect(nameRows(identity, [{ ...row, end: start }])[0]?.source).toBe('shop/late')
  })

  test('the same name with another uid is another pod', () => {
    cluster.upsert('Pod', pod('db-0', '10.0.0.1', { uid: 'first' }))
    const before = nowMs
    nowMs += 60_000
    cluster.upsert('Pod', pod('db-0', '10.0.0.2', { uid: 'second', owner: ['StatefulSet', 'db'] }))
    expect(nameOf(identity, '10.0.0.1', before)).toBe('shop/db-0')
    expect(nameOf(identity, '10.0.0.1', nowMs)).toBe('unknown')
    expect(nameOf(identity, '10.0.0.2', nowMs)).toBe('shop/db-0 StatefulSet/db')
    expect(cluster.pods.count()).toBe(1)
  })

  test('one that finishes gives its address up, and a list that leaves it out takes it away', () => {
    cluster.upsert('Pod', pod('job', '10.0.0.1'))
    cluster.upsert('Pod', pod('other', '10.0.0.2'))
    nowMs += 60_000
    cluster.upsert('Pod', pod('job', '10.0.0.1', { phase: 'Succeeded' }))
    cluster.upsert('Pod', pod('next', '10.0.0.1'))
    // An event about the finished one comes late; it takes nothing back.
    cluster.upsert('Pod', pod('job', '10.0.0.1', { phase: 'Succeeded' }))
    expect(nameOf(identity, '10.0.0.1', nowMs)).toBe('shop/next')
    cluster.begin('Pod')
    cluster.upsert('Pod', pod('next', '10.0.0.1'))
    // A list that breaks off takes nothing away.
    expect(nameOf(identity, '10.0.0.2', nowMs)).toBe('shop/other')
    cluster.begin('Pod')
    cluster.upsert('Pod', pod('next', '10.0.0.1'))
    cluster.commit('Pod')
    expect(nameOf(identity, '10.0.0.2', nowMs)).toBe('unknown')
    expect(nameOf(identity, '10.0.0.1', nowMs)).toBe('shop/next')
  })

  test('an address that passes on 1,000 times, with word of it 200 ms late', () => {
    const counts = { right: 0, unknown: 0, wrong: 0 }
    const record = (holder: string, start: number, end: number) => {
      const said = nameRows(identity, [{ source: '10.0.0.1', destination: '192.0.2.1', start, end }])[0]
        ?.source
      if (said === `shop/${holder}`) counts.right++
      else if (said === 'unknown') counts.unknown++
      else counts.wrong++
    }
    for (let i = 0; i < 1000; i++) {
      const holder = `p${i}`
      const alive = nowMs
      // Its first connection opens before anybody knows it.
      nowMs += 50
      record(holder, nowMs, nowMs)
      nowMs += 150
      cluster.upsert('Pod', pod(holder, '10.0.0.1'))
      for (let second = 1; second <= 20; second++) {
        nowMs += 1000
        record(holder, alive + 50, nowMs)
      }
      const died = nowMs
      nowMs += 200
      cluster.remove('Pod', pod(holder, '10.0.0.1'))
      // What it had open is closed when it has been idle.
      record(holder, alive + 50, died)
      nowMs += 800
    }
    expect(counts).toEqual({ right: 21_000, unknown: 1000, wrong: 0 })
    expect(cluster.addresses.tombstones).toBe(1000)
  })
})

describe('names change when they must, and only then', () => {
  test('an owner that becomes known, and what is no business of the pod', () => {
    cluster.upsert('Pod', pod('a', '10.0.0.1', { owner: ['Job', 'backup-1'] }))
    const before = nameObject('10.0.0.1')
    expect(before?.workload).toEqual({ kind: 'Job', name: 'backup-1' })
    const job = (name: string, by: string) => ({
      metadata: {
        name,
        namespace: 'shop',
        ownerReferences: [{ kind: 'CronJob', name: by, controller: true }],
      },
    })
    cluster.upsert('Job', job('other-1', 'other'))
    cluster.upsert('Node', { metadata: { name: 'n7', labels: { 'topology.kubernetes.io/zone': 'z7' } } })
    expect(nameObject('10.0.0.1')).toBe(before)
    cluster.upsert('Job', job('backup-1', 'backup'))
    const after = nameObject('10.0.0.1')
    expect(after?.workload).toEqual({ kind: 'CronJob', name: 'backup' })
    // The Job goes before its pod does.
    cluster.remove('Job', job('backup-1', 'backup'))
    cluster.upsert('Job', job('other-2', 'other'))
    expect(nameObject('10.0.0.1')).toBe(after)
  })

  test('a zone that becomes known, a label that changes, a status that does not matter', () => {
    cluster.upsert('Pod', pod('a', '10.0.0.1'))
    const first = nameObject('10.0.0.1')
    expect(first?.zone).toBeUndefined()
    cluster.upsert('Node', { metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z1' } } })
    const second = nameObject('10.0.0.1')
    expect(second?.zone).toBe('z1')
    expect(nameObject('10.0.0.1')).toBe(second)
    const changed = pod('a', '10.0.0.1')
    cluster.upsert('Pod', { ...changed, status: { ...changed.status, conditions: [{ type: 'Ready' }] } })
    expect(nameObject('10.0.0.1')).toBe(second)
    cluster.upsert('Pod', { ...changed, metadata: { ...changed.metadata, labels: { app: 'a' } } })
    expect(nameObject('10.0.0.1')?.labels).toEqual({ app: 'a' })
    expect(second?.labels).toBeUndefined()
  })
})

test('equal labels of 20,000 pods with 15,000 sets between them are one object each, whatever comes and goes', () => {
  const labelled = (i: number, ip: string) => {
    const made = pod(`p${i}`, ip)
    return { ...made, metadata: { ...made.metadata, labels: { app: `a${i % 15_000}`, zone: 'z' } } }
  }
  for (let i = 0; i < 20_000; i++) cluster.upsert('Pod', labelled(i, `10.0.${i >> 8}.${i & 255}`))
  for (let i = 0; i < 5000; i++) {
    const [one, other] = [`10.0.${i >> 8}.${i & 255}`, `10.0.${(i + 15_000) >> 8}.${(i + 15_000) & 255}`]
    expect(nameObject(one)?.labels).toEqual({ app: `a${i}`, zone: 'z' })
    expect(nameObject(one)?.labels).toBe(nameObject(other)?.labels)
  }
})

describe('services', () => {
  const service = (name: string, clusterIP: string, port = 80) => ({
    metadata: { name, namespace: 'shop' },
    spec: {
      type: 'ClusterIP',
      clusterIP,
      clusterIPs: [clusterIP],
      ports: [{ name: 'http', port, protocol: 'TCP' }],
    },
  })
  const slice = (name: string, of: string, addresses: string[], conditions: object = { ready: true }) => ({
    metadata: { name, namespace: 'shop', labels: { 'kubernetes.io/service-name': of } },
    addressType: 'IPv4',
    endpoints: addresses.map((address) => ({ addresses: [address], conditions })),
    ports: [{ name: '', port: 5432, protocol: 'TCP' }],
  })
  const to = (address: string, port: number, start: number) =>
    nameRows(identity, [{ source: '192.0.2.1', destination: address, port, start }])[0]?.service

  test('one that has gone still names the connections that it had, and its address passes on', () => {
    cluster.upsert('Service', service('a', '10.96.0.7'))
    const before = nowMs
    nowMs += 60_000
    cluster.remove('Service', service('a', '10.96.0.7'))
    nowMs += 60_000
    cluster.upsert('Service', service('b', '10.96.0.7'))
    expect(to('10.96.0.7', 80, before)).toBe('shop/a ClusterIP http')
    expect(to('10.96.0.7', 80, nowMs - 30_000)).toBe('absent')
    expect(to('10.96.0.7', 80, nowMs)).toBe('shop/b ClusterIP http')
  })

  test('a port that moves, and the other one stays the same object', () => {
    cluster.upsert('Service', service('a', '10.96.0.7', 80))
    nowMs += 60_000
    cluster.upsert('Service', service('a', '10.96.0.7', 81))
    nowMs += 60_000
    expect(to('10.96.0.7', 80, nowMs)).toBe('absent')
    expect(to('10.96.0.7', 81, nowMs)).toBe('shop/a ClusterIP http')
  })

  test('backends: ready ones, those that still serve, and one that a second service shares', () => {
    cluster.upsert('Service', {
      ...service('db', 'None', 5432),
      spec: { clusterIP: 'None', ports: [{ port: 5432 }] },
    })
    cluster.upsert('Service', service('copy', '10.96.0.8', 5432))
    cluster.upsert('EndpointSlice', slice('db-1', 'db', ['10.0.0.1', '10.0.0.2']))
    expect(to('10.0.0.1', 5432, nowMs)).toBe('shop/db Headless -')
    cluster.upsert('EndpointSlice', slice('copy-1', 'copy', ['10.0.0.2']))
    expect(to('10.0.0.2', 5432, nowMs)).toBe('absent')
    cluster.upsert('EndpointSlice', slice('db-2', 'db', ['10.0.0.1']))
    expect(to('10.0.0.1', 5432, nowMs)).toBe('shop/db Headless -')
    const going = { ready: false, serving: true, terminating: true }
    cluster.upsert('EndpointSlice', slice('db-3', 'db', ['10.0.0.3'], going))
    cluster.upsert('EndpointSlice', slice('db-4', 'db', ['10.0.0.4'], { ready: false, serving: false }))
    expect(to('10.0.0.3', 5432, nowMs)).toBe('shop/db Headless -')
    expect(to('10.0.0.4', 5432, nowMs)).toBe('absent')
    const before = nowMs
    nowMs += 60_000
    cluster.remove('EndpointSlice', slice('copy-1', 'copy', []))
    expect(to('10.0.0.2', 5432, before)).toBe('absent')
    expect(to('10.0.0.2', 5432, nowMs)).toBe('shop/db Headless -')
  })

  test('backends that come and go leave no more behind than is remembered', () => {
    cluster.upsert('Service', service('db', '10.96.0.9', 5432))
    for (let i = 0; i < 400; i++) {
      const addresses = Array.from({ length: 100 }, (_, n) => `10.0.${i % 200}.${n}`)
      cluster.upsert('EndpointSlice', slice('db-1', 'db', addresses))
    }
    expect(cluster.endpointSlices.current).toBe(100)
    nowMs += 1
    expect(to('10.0.199.7', 5432, nowMs)).toBe('shop/db ClusterIP -')
    expect(to('10.0.198.7', 5432, nowMs)).toBe('absent')
    // Forgotten by now, and for earlier times, too.
    expect(to('10.0.1.7', 5432, nowMs - 1)).toBe('absent')
  })
})
